"""Who may read, and the headers that every answer carries."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.config.settings import Scope as Right
from sidecar.config.settings import Token


class Door:
    """Lets a request in when it carries a token with the right; everybody when there are no tokens."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Keep digests only."""
        self.follow(tokens)

    def follow(self, tokens: Sequence[Token]) -> None:
        """Know these tokens only, from now on."""
        self._tokens = [(token.name, token.scopes, _digest(token.value.reveal())) for token in tokens if token.value]
        self._open = not tokens

    def admit(self, request: Request, right: Right) -> str:
        """Return the token's name, '' where none is needed.

        Raises: HTTPException 401 without a known token, 403 when it has not the right.
        """
        if self._open:
            return ""
        known = self._known(request.headers)
        if known is None:
            raise HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": 'Bearer realm="sidecar"'})
        name, rights = known
        if right not in rights:
            raise HTTPException(403, f"the token {name} lacks the scope {right}")
        return name

    def admit_named(self, request: Request, right: Right) -> str:
        """Return the token's name; for what changes something, where nobody comes in unnamed.

        A web page can send requests to loopback, so that being on this machine proves nothing.
        Raises: HTTPException 403 where there are no tokens at all, else what `admit` raises.
        """
        if self._open:
            raise HTTPException(403, f"name a token with the scope {right} under server.tokens")
        return self.admit(request, right)

    def _known(self, headers: Headers) -> tuple[str, frozenset[Right]] | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = _digest(given.strip())
        found: tuple[str, frozenset[Right]] | None = None
        for name, rights, expected in self._tokens:  # all of them, so that time tells nothing about the place
            if hmac.compare_digest(digest, expected):
                found = (name, rights)
        return found if scheme.lower() == "bearer" else None


def _digest(value: str) -> bytes:
    """Digest first: compared values are then of one length, whatever was sent."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()


class SafeHeaders:
    """Adds headers that let a browser do nothing with an answer but show it."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        """Wrap `app`; what it sets itself is left."""
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and add the headers to the answer."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely)
