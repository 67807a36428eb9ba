"""A small stand-in for GoTrue over `auth.users`: health, admin reading, password and refresh grants.

Sessions live in memory. PostgreSQL renders the users, whichever of GoTrue's columns the table has.
"""

import contextlib
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sidecar.demo.gateway import SERVICE, sign
from sidecar.demo.rest.catalogue import Pool
from sidecar.demo.rest.session import connections

_TOKEN_SECONDS = 3600
_USERS_ON_A_PAGE = 50
_ADMINS = frozenset({SERVICE, "supabase_admin"})

# Columns are reached through JSON, so that those which a table lacks read as null.
_USERS = """
select (jsonb_build_object('id', j->'id', 'aud', coalesce(j->>'aud', 'authenticated'),
          'role', coalesce(j->>'role', 'authenticated'), 'email', coalesce(j->>'email', ''), 'phone', '',
          'app_metadata', coalesce(nullif(j->'raw_app_meta_data', 'null'), '{}'),
          'user_metadata', coalesce(nullif(j->'raw_user_meta_data', 'null'), '{}'),
          'is_anonymous', coalesce((j->>'is_anonymous')::boolean, false), 'identities', '[]'::jsonb,
          'created_at', j->'created_at', 'updated_at', coalesce(nullif(j->'updated_at', 'null'), j->'created_at'))
        || jsonb_strip_nulls(jsonb_build_object('deleted_at', j->'deleted_at', 'banned_until', j->'banned_until'))
       )::text,
       j->>'encrypted_password',
       coalesce((j->>'banned_until')::timestamptz > now(), false)
from (select to_jsonb(u) j, u.id, u.email, u.created_at, u.deleted_at from auth.users u) u """


class AuthError(Exception):
    """A refusal, in GoTrue's words."""

    def __init__(self, status: int, error_code: str, message: str) -> None:
        """Keep what the answer will say."""
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message


@dataclass(frozen=True, slots=True)
class _User:
    """A user as GoTrue's JSON, with what signing in needs to know."""

    text: str
    password_hash: str | None
    banned: bool


@dataclass(slots=True, kw_only=True)
class _Auth:
    pool: Pool
    jwt_secret: str
    sessions: dict[str, str] = field(default_factory=dict)  # session id -> user id
    refresh_tokens: dict[str, str] = field(default_factory=dict)  # token -> session id

    async def health(self, _: Request) -> Response:
        description = "GoTrue is a user registration and authentication API"
        return JSONResponse({"version": "v2.188.0", "name": "GoTrue", "description": description})

    async def admin_users(self, request: Request) -> Response:
        self._require_admin(request)
        page, per_page = _positive(request, "page", 1), _positive(request, "per_page", _USERS_ON_A_PAGE)
        users = await self._find(
            "order by u.created_at desc, u.id limit %s offset %s", [per_page, (page - 1) * per_page]
        )
        async with self.pool.connection() as connection:
            row = await (await connection.execute("select count(*) from auth.users")).fetchone()
        total = row[0] if row else 0
        pages = -(-total // per_page)
        links = [*([_link(request, page + 1, "next")] if pages > page else []), _link(request, pages, "last")]
        listed = ",".join(user.text for user in users)
        return _json(
            f'{{"users":[{listed}],"aud":"authenticated"}}', {"X-Total-Count": str(total), "Link": ", ".join(links)}
        )

    async def admin_user(self, request: Request) -> Response:
        self._require_admin(request)
        try:
            user_id = uuid.UUID(request.path_params["user_id"])
        except ValueError:
            raise AuthError(404, "validation_failed", "user_id must be an UUID") from None
        user = await self._by_id(str(user_id))
        if user is None:
            raise AuthError(404, "user_not_found", "User not found")
        return _json(user.text)

    async def token(self, request: Request) -> Response:
        given = await _body(request)
        match request.query_params.get("grant_type"):
            case "password":
                user = await self._by_password(str(given.get("email") or ""), str(given.get("password") or ""))
                session = str(uuid.uuid4())
                self.sessions[session] = json.loads(user.text)["id"]
            case "refresh_token":
                session, user = await self._by_refresh_token(str(given.get("refresh_token") or ""))
            case _:
                raise AuthError(400, "unsupported_grant_type", "unsupported_grant_type")
        return self._granted(user, session)

    async def user(self, request: Request) -> Response:
        _, user_id = self._session(request)
        user = await self._by_id(user_id)
        if user is None:
            raise AuthError(403, "user_not_found", "User from sub claim in JWT does not exist")
        if user.banned:
            raise AuthError(403, "user_banned", "User is banned")
        return _json(user.text)

    async def logout(self, request: Request) -> Response:
        session, user_id = self._session(request)
        scope = request.query_params.get("scope", "global")
        ended = {
            known
            for known, owner in self.sessions.items()
            if owner == user_id and (scope == "global" or (known == session) == (scope == "local"))
        }
        self.sessions = {known: owner for known, owner in self.sessions.items() if known not in ended}
        self.refresh_tokens = {token: known for token, known in self.refresh_tokens.items() if known not in ended}
        return Response(status_code=204)

    def _claims(self, request: Request) -> Mapping[str, Any]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthError(401, "no_authorization", "This endpoint requires a valid Bearer token")
        try:
            options: Any = {"verify_aud": False, "verify_iat": False, "verify_sub": False}
            claims: dict[str, Any] = jwt.decode(token.strip(), self.jwt_secret, algorithms=["HS256"], options=options)
        except jwt.InvalidTokenError as error:
            reason = "token is expired" if isinstance(error, jwt.ExpiredSignatureError) else "signature is invalid"
            message = f"invalid JWT: unable to parse or verify signature, {reason}"
            raise AuthError(403, "bad_jwt", message) from error
        return claims

    def _require_admin(self, request: Request) -> None:
        if self._claims(request).get("role") not in _ADMINS:
            raise AuthError(403, "not_admin", "User not allowed")

    def _session(self, request: Request) -> tuple[str, str]:
        """Return the session and the user of a signed-in caller."""
        claims = self._claims(request)
        if not claims.get("sub"):
            raise AuthError(403, "bad_jwt", "invalid claim: missing sub claim")
        session = str(claims.get("session_id"))
        if session not in self.sessions:
            raise AuthError(403, "session_not_found", "Session from session_id claim in JWT does not exist")
        return session, str(claims["sub"])

    async def _by_password(self, email: str, password: str) -> _User:
        users = await self._find("where u.email = %s and u.deleted_at is null", [email.lower()])
        if not users or not _matches(password, users[0].password_hash):
            raise AuthError(400, "invalid_credentials", "Invalid login credentials")
        if users[0].banned:
            raise AuthError(400, "user_banned", "User is banned")
        return users[0]

    async def _by_refresh_token(self, token: str) -> tuple[str, _User]:
        session = self.refresh_tokens.pop(token, None)
        user = None if session is None else await self._by_id(self.sessions[session])
        if session is None or user is None:
            message = "Invalid Refresh Token: Refresh Token Not Found"
            raise AuthError(400, "refresh_token_not_found", message)
        if user.banned:
            raise AuthError(400, "user_banned", "Invalid Refresh Token: User Banned")
        return session, user

    def _granted(self, user: _User, session: str) -> Response:
        now = int(time.time())
        known = json.loads(user.text)
        told = {name: known[name] for name in ("aud", "role", "email", "phone", "app_metadata", "user_metadata")}
        told |= {"is_anonymous": known["is_anonymous"], "session_id": session, "aal": "aal1"}
        claims = {**told, "sub": known["id"], "iat": now, "exp": now + _TOKEN_SECONDS}
        refresh_token = secrets.token_urlsafe(9)
        self.refresh_tokens[refresh_token] = session
        return JSONResponse(
            {
                "access_token": sign(claims, self.jwt_secret),
                "token_type": "bearer",
                "expires_in": _TOKEN_SECONDS,
                "expires_at": now + _TOKEN_SECONDS,
                "refresh_token": refresh_token,
                "user": known,
            }
        )

    async def _by_id(self, user_id: str) -> _User | None:
        users = await self._find("where u.id = %s", [user_id])
        return users[0] if users else None

    async def _find(self, clause: str, values: list[object]) -> list[_User]:
        async with self.pool.connection() as connection:
            rows = await (await connection.execute(f"{_USERS}{clause}", values)).fetchall()
        return [_User(*row) for row in rows]


@contextlib.asynccontextmanager
async def auth_app(database_url: str, jwt_secret: str) -> AsyncIterator[ASGIApp]:
    """Hold connections to a database (a superuser's URL) and yield the application that serves its `auth.users`."""
    async with connections(database_url, step_down=False) as pool:
        auth = _Auth(pool=pool, jwt_secret=jwt_secret)
        yield Starlette(
            routes=[
                Route("/health", auth.health),
                Route("/admin/users", auth.admin_users),
                Route("/admin/users/{user_id}", auth.admin_user),
                Route("/token", auth.token, methods=["POST"]),
                Route("/user", auth.user),
                Route("/logout", auth.logout, methods=["POST"]),
            ],
            exception_handlers={AuthError: _refused, psycopg.Error: _failed},
        )


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, AuthError)  # noqa: S101 - Starlette's signature is wider than its promise
    body = {"code": error.status, "error_code": error.error_code, "msg": error.message}
    return JSONResponse(body, error.status)


def _failed(_request: Request, _error: Exception) -> Response:
    body = {"code": 500, "error_code": "unexpected_failure", "msg": "Database error finding users"}
    return JSONResponse(body, 500)


def _json(text: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(text, headers=headers, media_type="application/json")


async def _body(request: Request) -> Mapping[str, Any]:
    try:
        given = json.loads(await request.body())
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise AuthError(400, "bad_json", "Could not parse request body as JSON")
    return given


def _positive(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise AuthError(400, "validation_failed", f"Bad Pagination Parameters: {name}")
    return min(int(text), 2**31)


def _link(request: Request, page: int, relation: str) -> str:
    others = [(name, value) for name, value in parse_qsl(request.url.query) if name != "page"]
    return f'<{request.url.path}?{urlencode([*others, ("page", page)])}>; rel="{relation}"'


def _matches(password: str, password_hash: str | None) -> bool:
    """Check a password against `sha256$salt$hex`, which `schema.sql` explains."""
    kind, _, rest = (password_hash or "").partition("$")
    salt, _, digest = rest.partition("$")
    given = hashlib.sha256(f"{salt}{password}".encode()).hexdigest()
    return kind == "sha256" and hmac.compare_digest(given, digest)
