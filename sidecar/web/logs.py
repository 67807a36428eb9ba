"""`POST /api/v1/logs`: what log drains send is counted and forgotten. Nothing of it is ever stored or told."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sidecar.config.settings import Scope
from sidecar.web.guard import Door
from sidecar.web.records import (
    BODY_BYTES_AT_MOST,
    JSON_TYPES,
    LINE_TYPES,
    SENT_BYTES_AT_MOST,
    Malformed,
    TooLarge,
    records,
    unzipped,
)

BODY_SECONDS = 10.0
PATIENCE = 4  # a body longer than this many times what is taken is not listened to
AT_ONCE = 4  # bodies that are read or counted at the same time

Take: TypeAlias = Callable[[Sequence[str]], int]  # counts records, from a thread
Taker: TypeAlias = Callable[[], Take | None]  # None while no check takes what is drained


def log_routes(door: Door, taker: Taker) -> list[BaseRoute]:
    """Return the route. `taker` is asked for each request, since a reload may change whether anybody takes logs."""
    return [Route("/api/v1/logs", _Logs(door, taker).post, methods=["POST"])]


class _Logs:
    """The endpoint."""

    def __init__(self, door: Door, taker: Taker) -> None:
        self._door = door
        self._taker = taker
        self._busy = asyncio.Semaphore(AT_ONCE)

    async def post(self, request: Request) -> Response:
        """Answer 202 with counts once every record was counted, and count none of a body that is refused."""
        self._door.admit_named(request, Scope.INGEST)
        take = self._taker()
        if take is None:
            raise HTTPException(404, "no check takes what is drained: none has drain: true")
        by_line = _by_line(request)
        zipped = _zipped(request)
        if self._busy.locked():
            raise HTTPException(503, "too many bodies at once", {"Retry-After": "1"})
        async with self._busy:
            body = await _body(request, SENT_BYTES_AT_MOST if zipped else BODY_BYTES_AT_MOST)
            try:
                number, matches = await asyncio.to_thread(_count, take, body, zipped=zipped, by_line=by_line)
            except TooLarge as error:
                raise HTTPException(413, str(error)) from error
            except Malformed as error:
                raise HTTPException(400, str(error)) from error
        return JSONResponse({"records": number, "matches": matches}, 202)


def _count(take: Take, body: bytes, *, zipped: bool, by_line: bool) -> tuple[int, int]:
    found = records(unzipped(body) if zipped else body, by_line=by_line)
    return len(found), take(found)


def _by_line(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in JSON_TYPES | LINE_TYPES:
        raise HTTPException(415, "send application/json or application/x-ndjson")
    return kind in LINE_TYPES


def _zipped(request: Request) -> bool:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise HTTPException(415, "send no content coding but gzip")
    return coding == "gzip"


async def _body(request: Request, bytes_at_most: int) -> bytes:
    """Read the body, and of one that is too long as much more as lets its sender hear of it: a reset tells nothing."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= bytes_at_most:
                    chunks.append(chunk)
                elif size > PATIENCE * bytes_at_most:
                    break
    except TimeoutError as error:
        raise HTTPException(408, f"no complete body within {BODY_SECONDS:g} s") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the body ends too early") from error
    if size > bytes_at_most:
        raise HTTPException(413, f"more than {bytes_at_most} bytes")
    return b"".join(chunks)
