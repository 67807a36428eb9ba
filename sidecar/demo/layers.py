"""What stands between the sample backend's endpoints and the network, from the outermost inwards."""

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWERS_BEFORE_FLAP = 3


class Manner(StrEnum):
    """How the backend answers, whatever it is asked."""

    STEADY = "steady"
    SLOW = "slow"
    FLAPPING = "flapping"  # three good answers, three bad ones, and so on
    DEAD = "dead"  # the host's edge answers in its place


class Edge:
    """The host in front of the backend: where it is slow, flapping or dead."""

    def __init__(self, app: ASGIApp, *, manner: Manner, slow_seconds: float) -> None:
        self._app = app
        self._manner = manner
        self._slow_seconds = slow_seconds
        self._answers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the manner says, or let the request through."""
        bad_turn = self._manner is Manner.FLAPPING and next(self._answers) // ANSWERS_BEFORE_FLAP % 2 == 1
        if self._manner is Manner.DEAD or bad_turn:
            body = {"status": "error", "code": 502, "message": "Application failed to respond"}
            return await JSONResponse({**body, "request_id": uuid.uuid4().hex}, status_code=502)(scope, receive, send)
        if self._manner is Manner.SLOW:
            await asyncio.sleep(self._slow_seconds)
        return await self._app(scope, receive, send)


class Tracking:
    """Numbers each request and times it; where switched on, reflects any Origin on errors as velro does."""

    def __init__(self, app: ASGIApp, *, foreign_origin_reflected: bool) -> None:
        self._app = app
        self._reflected = foreign_origin_reflected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through and add the headers to its answer."""
        request_id = uuid.uuid4().hex
        started = time.perf_counter()
        scope.setdefault("state", {})["request_id"] = request_id
        origin = dict(scope.get("headers", [])).get(b"origin")

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                milliseconds = (time.perf_counter() - started) * 1000
                added = {
                    b"x-request-id": request_id.encode(),
                    b"x-response-time": f"{milliseconds:.2f}ms".encode(),
                    b"server-timing": f"app;dur={milliseconds:.2f}".encode(),
                }
                if self._reflected and origin and message["status"] >= 400:
                    added |= {b"access-control-allow-origin": origin, b"access-control-allow-credentials": b"true"}
                message["headers"] = [*message["headers"], *added.items()]
            await send(message)

        await self._app(scope, receive, numbered)


class Gate:
    """Asks for a token everywhere but on public paths, and so answers 401 on paths that do not exist, too."""

    PUBLIC = ("/health", "/openapi.json", "/api/v1/generations/models/supported")

    def __init__(self, app: ASGIApp, *, user_of: Callable[[str], str | None]) -> None:
        self._app = app
        self._user_of = user_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, with its user in the state, or refuse it."""
        if scope["type"] == "http" and scope["path"].rstrip("/") not in self.PUBLIC and scope["method"] != "OPTIONS":
            scheme, _, token = Request(scope).headers.get("authorization", "").partition(" ")
            user = self._user_of(token) if scheme.lower() == "bearer" else None
            if user is None:
                detail = "Invalid or expired token" if token else "Missing authentication token"
                request_id = scope["state"]["request_id"]
                body = {"detail": detail, "request_id": request_id, "error": "unauthorized"}
                return await JSONResponse(body, status_code=401)(scope, receive, send)
            scope["state"]["user"] = user
        return await self._app(scope, receive, send)
