"""The clients of a kind's probe: one for each way to connect."""

import ssl
from dataclasses import replace

import httpx

from sidecar.checks.context import ProbeContext
from sidecar.wire import Route, open_client

FRESH_AT_MOST = 1024  # clients over fresh connections that are remembered; they hold nothing


class Clients:
    """Opens a client when it is first asked for. One that keeps connections is closed when the process ends."""

    def __init__(self, context: ProbeContext) -> None:
        """Connect with the context's resolver, and trust as it does where a route does not say."""
        self._context = context
        self._fresh: dict[Route, httpx.AsyncClient] = {}
        self._kept: dict[Route, httpx.AsyncClient] = {}

    async def of(self, route: Route) -> httpx.AsyncClient:
        """Return the client of a route."""
        found = (self._kept if route.keep_alive else self._fresh).get(route)
        return found if found is not None else await self._open(route)

    async def _open(self, route: Route) -> httpx.AsyncClient:
        tls: ssl.SSLContext = route.tls or self._context.tls
        client = open_client(route=replace(route, tls=tls), resolver=self._context.resolver)
        if route.keep_alive:
            self._kept[route] = await self._context.closing.enter_async_context(client)
            return client
        if len(self._fresh) >= FRESH_AT_MOST:
            self._fresh.clear()
        self._fresh[route] = client
        return client
