"""The HTTP side: the page, metrics, health, readiness. Nothing here looks at anything by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from sidecar.config.settings import Scope
from sidecar.errors import SidecarError
from sidecar.web.encoding import encoded
from sidecar.web.guard import Door, SafeHeaders
from sidecar.web.pages import Pages, StatusView

ANSWER_SECONDS = 5.0  # for what the page and readiness ask of others


def web_app(
    *,
    status: Callable[[], Awaitable[StatusView]],
    registry: CollectorRegistry,
    ready: Callable[[], Awaitable[str | None]],
    door: Door,
    routes: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """Return the application.

    `status` fills the page. `ready` returns why Sidecar is not ready (its configuration, its state; never whether
    Supabase is up), or None. Where `door` knows tokens, the page and /metrics need one with the scope `read`.
    `routes` are served beside these.
    """
    pages = Pages()
    served = _Served(pages, status, registry, ready, door)
    safe = {
        "Content-Security-Policy": pages.policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    app = Starlette(
        routes=[
            Route("/", served.page),
            Route("/metrics", served.metrics),
            Route("/-/healthy", served.healthy),
            Route("/-/ready", served.readiness),
            *routes,
        ],
        exception_handlers={HTTPException: _refusal, Exception: _fault},
    )
    return SafeHeaders(app, safe)  # around everything, so that answers to faults carry them too


class _Served:
    def __init__(
        self,
        pages: Pages,
        status: Callable[[], Awaitable[StatusView]],
        registry: CollectorRegistry,
        ready: Callable[[], Awaitable[str | None]],
        door: Door,
    ) -> None:
        self._pages = pages
        self._status = status
        self._registry = registry
        self._ready = ready
        self._door = door

    async def page(self, request: Request) -> Response:
        self._door.admit(request, Scope.READ)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                view = await self._status()
        except TimeoutError:
            return HTMLResponse(self._pages.blind(f"no answer within {ANSWER_SECONDS:g} s"), 503)
        except SidecarError as error:
            return HTMLResponse(self._pages.blind(str(error)), 503)
        return HTMLResponse(self._pages.status(view))

    async def metrics(self, request: Request) -> Response:
        self._door.admit(request, Scope.READ)
        return await asyncio.to_thread(encoded, request, self._registry)

    async def healthy(self, _request: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def readiness(self, _request: Request) -> Response:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reason = await self._ready()
        except TimeoutError:
            reason = f"no answer within {ANSWER_SECONDS:g} s"
        except SidecarError as error:
            reason = str(error)
        if reason is None:
            return JSONResponse({"ready": True})
        return JSONResponse({"ready": False, "reason": reason}, 503)


async def _refusal(request: Request, error: Exception) -> Response:
    """Answer 401, 403, 404, 405, 413 and the like as JSON."""
    status, detail, headers = 500, "", None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, error.headers
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        # The server would go on reading a body that nobody wants, as long as somebody sends it.
        headers = {**(headers or {}), "Connection": "close"}
    return JSONResponse({"error": detail}, status, headers)


async def _fault(_request: Request, _error: Exception) -> Response:
    """Say no more than that it is ours; the server logs it."""
    return JSONResponse({"error": "internal error"}, 500)
