"""The transport that httpx is given: a fresh connection for each exchange, nothing kept, nothing shared."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import httpx

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.connecting import connect
from sidecar.transport.observing import observe
from sidecar.transport.progress import CONNECT, RESOLVE, TLS, Progress
from sidecar.transport.reading import Exchanged
from sidecar.transport.request import Prepared, prepare
from sidecar.transport.resolving import Resolver
from sidecar.transport.route import Route
from sidecar.transport.tls import look_again, trust_public_authorities, wrap
from sidecar.transport.tunnel import dig

BUFFER_BYTES: Final = 65_536
PROXY_PORT: Final = 80

_AS_HTTPX: Mapping[Unreached, type[httpx.TransportError]] = {
    Unreached.TIMED_OUT: httpx.ReadTimeout,
    Unreached.CUT_OFF: httpx.ReadError,
    Unreached.PROTOCOL_BROKEN: httpx.RemoteProtocolError,
}


class _Shared(threading.local):
    """What all connections of a thread, and so of its loop, read into: it is parsed before anybody else reads."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER_BYTES))


_shared = _Shared()


class FreshTransport(httpx.AsyncBaseTransport):
    """Speaks HTTP/1.1 over one connection an exchange. Errors are httpx's, each caused by a TargetUnreachable."""

    def __init__(self, route: Route, resolver: Resolver) -> None:
        """Connect as `route` says, to the addresses that `resolver` finds."""
        self._route = route
        self._resolver = resolver
        self._proxy = httpx.URL(route.proxy_url) if route.proxy_url else None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return the answer once its headers are there. Raises: httpx.TransportError."""
        patience_seconds = (request.extensions.get("timeout") or {}).get("read")
        try:
            async with _patience(patience_seconds):
                exchanged = await self.begin(await self.prepare(request), Progress())
        except TargetUnreachable as error:
            raise _as_httpx(error) from error
        return httpx.Response(
            exchanged.status,
            headers=exchanged.headers,
            stream=_Body(exchanged, patience_seconds),
            extensions={
                "http_version": b"HTTP/" + exchanged.version.encode("ascii"),
                "reason_phrase": exchanged.reason,
            },
        )

    async def prepare(self, request: httpx.Request) -> Prepared:
        """Return what `begin` takes, as often as the same is to be asked. Raises: TargetUnreachable (LOCAL_FAULT)."""
        return await prepare(request, self._proxy)

    async def begin(self, prepared: Prepared, progress: Progress) -> Exchanged:
        """Send a request over a connection of its own, and return once the headers of the answer are there.

        The caller closes it. Raises: TargetUnreachable.
        """
        observed = observe(prepared.method, prepared.url)
        exchanged = Exchanged(progress, _shared.buffer, is_head=prepared.method == "HEAD")
        try:
            await self._connect(prepared, exchanged, progress)
            shown = observed.headers if observed is not None and self._route.shows_trace else {}
            exchanged.send(prepared.content(shown))
            await exchanged.head()
        except BaseException as error:
            exchanged.close()
            if observed is not None:
                observed.failed(_as_httpx(error) if isinstance(error, TargetUnreachable) else error)
            raise
        if observed is not None:
            observed.answered(exchanged, progress)
        return exchanged

    async def _connect(self, prepared: Prepared, exchanged: Exchanged, progress: Progress) -> None:
        loop = asyncio.get_running_loop()
        connection = await self._open(prepared, progress)
        if not prepared.is_secure:
            await loop.create_connection(lambda: exchanged, sock=connection)
            return
        progress.enter(TLS, loop.time())
        name = self._route.server_name or prepared.host
        try:
            await wrap(connection, name, self._tls, exchanged, progress)
        except TargetUnreachable as error:
            progress.enter(None, loop.time())
            progress.failure = error
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                await look_again(lambda: self._open(prepared, Progress()), name, progress)
            raise

    @property
    def _tls(self) -> ssl.SSLContext:
        return self._route.tls or trust_public_authorities()

    async def _open(self, prepared: Prepared, progress: Progress) -> socket.socket:
        """Return a socket that is connected to the target, if need be through a proxy's tunnel."""
        now, via = asyncio.get_running_loop().time, self._proxy
        name, port = prepared.host, prepared.port
        if via is not None:
            name, port = via.raw_host.decode("ascii"), via.port or PROXY_PORT
        progress.enter(RESOLVE, now())
        addresses = await self._resolver.resolve(name, port, self._route.family)
        progress.enter(CONNECT, now())
        connection, address = await connect(addresses)
        progress.address = address.host
        if via is not None and prepared.is_secure:
            try:
                await dig(connection, prepared.host, prepared.port, via)
            except BaseException:
                connection.close()
                raise
        return connection


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchanged: Exchanged, patience_seconds: float | None) -> None:
        self._exchanged = exchanged
        self._patience_seconds = patience_seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (chunk := await self._next()) is not None:
                yield chunk
        except TargetUnreachable as error:
            raise _as_httpx(error) from error

    async def _next(self) -> bytes | None:
        async with _patience(self._patience_seconds):
            return await self._exchanged.chunk()

    async def aclose(self) -> None:
        self._exchanged.close()


def _patience(seconds: float | None) -> AbstractAsyncContextManager[None]:
    """Hold httpx's own timeout, for clients that use it; `sidecar.wire.exchange` has a deadline instead."""
    return contextlib.nullcontext() if seconds is None else _at_most(seconds)


@contextlib.asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TargetUnreachable(Unreached.TIMED_OUT, "httpx's timeout") from error


def _as_httpx(error: TargetUnreachable) -> httpx.TransportError:
    """Return what code that knows httpx alone expects."""
    return _AS_HTTPX.get(error.cause, httpx.ConnectError)(str(error))
