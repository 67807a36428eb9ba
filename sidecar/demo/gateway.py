"""The gateway in front of a hosted Supabase project: it knows the keys, and gives its own answers for wrong ones.

Bodies and hints are those of the design (Supabase, B1). Its refusals have no `code`; only PostgREST's have one.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import jwt
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANON, SERVICE = "anon", "service_role"

_KEY_LIFETIME = timedelta(days=3650)
_TOKEN_LIFETIME = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A project's keys of both families. Shown with their values left out."""

    anon: str
    service: str
    publishable: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(...)"


def sign(claims: Mapping[str, Any], secret: str) -> str:
    """Return a JWT (HS256) with these claims."""
    return jwt.encode(dict(claims), secret, algorithm="HS256")


def make_keys(jwt_secret: str, ref: str, *, now: datetime) -> Keys:
    """Return the keys of a project. The opaque ones depend on secret and `ref` alone, the others on `now` too."""
    times = {"iat": int(now.timestamp()), "exp": int((now + _KEY_LIFETIME).timestamp())}

    def legacy(role: str) -> str:
        return sign({"iss": "supabase", "ref": ref, "role": role, **times}, jwt_secret)

    def opaque(kind: str) -> str:
        digest = hmac.digest(jwt_secret.encode(), f"{ref}:{kind}".encode(), hashlib.sha256).hex()
        return f"sb_{kind}_{digest[:22]}_{digest[22:30]}"

    return Keys(anon=legacy(ANON), service=legacy(SERVICE), publishable=opaque("publishable"), secret=opaque("secret"))


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: str
    message: str
    hint: str


_NO_KEY = _Refusal(
    "UNAUTHORIZED_MISSING_API_KEY",
    "No API key found in request",
    "No apikey request header or url param was found.",
)
_INVALID = _Refusal(
    "UNAUTHORIZED_INVALID_API_KEY",
    "Invalid API key",
    "Double check your Supabase `anon` or `service_role` API key.",
)
_UNREGISTERED = _Refusal(
    "UNAUTHORIZED_UNREGISTERED_API_KEY",
    "Unregistered API key",
    "Double check the provided API key as it is not registered for this project.",
)
_IN_BROWSER = _Refusal(
    "UNAUTHORIZED_SECRET_API_KEY_IN_BROWSER",
    "Forbidden use of secret API key in browser",
    "Secret API keys can only be used in a protected environment and should never be used in a browser.",
)
_ANON_AT_ROOT = _Refusal(
    "UNAUTHORIZED_INVALID_API_KEY",
    "Invalid API key",
    "Only the `service_role` API key can be used for this endpoint.",
)
_PUBLISHABLE_AT_ROOT = _Refusal(
    "UNAUTHORIZED_SECRET_API_KEY_REQUIRED",
    "Secret API key required",
    "Only secret API keys can be used for this endpoint.",
)


def _legacy_disabled(at: datetime) -> _Refusal:
    hint = (
        f"Your legacy API keys (anon, service_role) were disabled on {at.isoformat()}."
        " Re-enable them in the Supabase dashboard, or use the new publishable and secret API keys."
    )
    return _Refusal("UNAUTHORIZED_LEGACY_API_KEYS_DISABLED", "Legacy API keys are disabled", hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """An ASGI application that lets requests with a good key through to `rest` and `auth`."""

    rest: ASGIApp
    auth: ASGIApp
    keys: Keys
    jwt_secret: str
    project_ref: str
    legacy_disabled_at: datetime | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        named = self._naming(send)
        for prefix, service in (("/rest/v1", self.rest), ("/auth/v1", self.auth)):
            inner = scope["path"].removeprefix(prefix)
            if inner != scope["path"] and inner[:1] in {"", "/"}:
                at_root = service is self.rest and inner in {"", "/"}
                admitted = self._admit(Headers(scope=scope), scope["query_string"], at_root=at_root)
                if isinstance(admitted, _Refusal):
                    await _refuse(admitted, scope, receive, named)
                else:
                    await service(_forwarded(scope, inner or "/", admitted), receive, named)
                return
        await JSONResponse({"message": "no Route matched with those values"}, 404)(scope, receive, named)

    def _naming(self, send: Send) -> Send:
        """Wrap `send` so that every answer names the project."""

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["sb-project-ref"] = self.project_ref
                headers["sb-request-id"] = str(uuid.uuid4())
                headers["sb-gateway-version"] = "1"
            await send(message)

        return named

    def _admit(self, headers: Headers, query_string: bytes, *, at_root: bool) -> str | _Refusal | None:
        """Return what `Authorization` becomes, or why the request goes no further."""
        key = headers.get("apikey") or dict(parse_qsl(query_string.decode("latin-1"))).get("apikey")
        if not key:
            return _NO_KEY
        opaque = key.startswith("sb_")
        role = self._role_of_opaque(key) if opaque else self._role_of_legacy(key)
        if role is None:
            return _UNREGISTERED if opaque else _INVALID
        if not opaque and self.legacy_disabled_at is not None:
            return _legacy_disabled(self.legacy_disabled_at)
        if opaque and role == SERVICE and "mozilla" in headers.get("user-agent", "").lower():
            return _IN_BROWSER
        if at_root and role != SERVICE:
            return _PUBLISHABLE_AT_ROOT if opaque else _ANON_AT_ROOT
        # Rights follow Authorization, not the key: a key only stands in where no other token was sent.
        authorization = headers.get("authorization")
        if opaque and authorization in {None, f"Bearer {key}"}:
            return f"Bearer {self._token(role)}"
        return authorization

    def _role_of_opaque(self, key: str) -> str | None:
        for registered, role in ((self.keys.publishable, ANON), (self.keys.secret, SERVICE)):
            if hmac.compare_digest(key.encode(), registered.encode()):
                return role
        return None

    def _role_of_legacy(self, key: str) -> str | None:
        """Return the role of a key that this project signed. An expired one passes: telling so is left to PostgREST."""
        try:
            claims = json.loads(jwt.api_jws.decode(key, self.jwt_secret, algorithms=["HS256"]))
        except (jwt.InvalidTokenError, ValueError):
            return None
        role = claims.get("role") if isinstance(claims, dict) else None
        return role if role in {ANON, SERVICE} else None

    def _token(self, role: str) -> str:
        expires = datetime.now().astimezone() + _TOKEN_LIFETIME
        return sign(
            {"iss": "supabase", "ref": self.project_ref, "role": role, "exp": int(expires.timestamp())}, self.jwt_secret
        )


async def _refuse(refusal: _Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    body = {"message": refusal.message, "hint": refusal.hint}
    await JSONResponse(body, 401, {"sb-error-code": refusal.code})(scope, receive, send)


def _forwarded(scope: Scope, path: str, authorization: str | None) -> Scope:
    """Return the request as the service behind sees it: its own path, and no key."""
    headers = [(name, value) for name, value in scope["headers"] if name not in {b"apikey", b"authorization"}]
    if authorization is not None:
        headers.append((b"authorization", authorization.encode("latin-1")))
    kept = [part for part in scope["query_string"].split(b"&") if not part.startswith(b"apikey=")]
    raw_path = scope.get("raw_path") or scope["path"].encode()
    inner = b"/" + raw_path.split(b"/", 3)[3] if raw_path.count(b"/") > 2 else b"/"
    return {**scope, "path": path, "raw_path": inner, "headers": headers, "query_string": b"&".join(kept)}
