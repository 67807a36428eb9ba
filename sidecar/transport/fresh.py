"""The transport that httpx is given: a fresh connection for each exchange, nothing kept, nothing shared."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Final

import httpx

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.connecting import connect
from sidecar.transport.observing import around
from sidecar.transport.progress import CONNECT, EXTENSION, RESOLVE, TLS, Progress
from sidecar.transport.reading import Exchanged
from sidecar.transport.request import request_bytes
from sidecar.transport.resolving import Resolver
from sidecar.transport.route import Route
from sidecar.transport.tls import look_again, trust_public_authorities, wrap
from sidecar.transport.tunnel import dig

BUFFER_BYTES: Final = 65_536
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}

_AS_HTTPX: Mapping[Unreached, type[httpx.TransportError]] = {
    Unreached.TIMED_OUT: httpx.ReadTimeout,
    Unreached.CUT_OFF: httpx.ReadError,
    Unreached.PROTOCOL_BROKEN: httpx.RemoteProtocolError,
}


class FreshTransport(httpx.AsyncBaseTransport):
    """Speaks HTTP/1.1 over one connection an exchange. Errors are httpx's, each caused by a TargetUnreachable."""

    def __init__(self, route: Route, resolver: Resolver) -> None:
        """Connect as `route` says, to the addresses that `resolver` finds."""
        self._route = route
        self._resolver = resolver
        self._proxy = httpx.URL(route.proxy_url) if route.proxy_url else None
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return the answer once its headers are there. Raises: httpx.TransportError."""
        progress: Progress = request.extensions.get(EXTENSION) or Progress()
        with around(request) as told:
            patience_seconds = (request.extensions.get("timeout") or {}).get("read")
            try:
                async with _patience(patience_seconds):
                    exchanged = await self._exchange(request, progress)
            except TargetUnreachable as error:
                raise _as_httpx(error) from error
            response = httpx.Response(
                exchanged.status,
                headers=exchanged.headers,
                stream=_Body(exchanged, patience_seconds),
                extensions={
                    "http_version": b"HTTP/" + exchanged.version.encode("ascii"),
                    "reason_phrase": exchanged.reason,
                },
            )
            if told is not None:
                told(response, progress)
            return response

    async def _exchange(self, request: httpx.Request, progress: Progress) -> Exchanged:
        content = await request_bytes(request, self._proxy if request.url.scheme == "http" else None)
        exchanged = Exchanged(progress, self._buffer, is_head=request.method == "HEAD")
        try:
            await self._connect(request.url, exchanged, progress)
            exchanged.send(content)
            await exchanged.head()
        except BaseException:
            exchanged.close()
            raise
        return exchanged

    async def _connect(self, url: httpx.URL, exchanged: Exchanged, progress: Progress) -> None:
        loop, host = asyncio.get_running_loop(), url.raw_host.decode("ascii")
        connection = await self._open(url, progress)
        if url.scheme != "https":
            await loop.create_connection(lambda: exchanged, sock=connection)
            return
        progress.enter(TLS, loop.time())
        try:
            await wrap(connection, host, self._tls, exchanged, progress)
        except TargetUnreachable as error:
            progress.enter(None, loop.time())
            progress.failure = error
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                await look_again(lambda: self._open(url, Progress()), host, progress)
            raise

    @property
    def _tls(self) -> ssl.SSLContext:
        return self._route.tls or trust_public_authorities()

    async def _open(self, url: httpx.URL, progress: Progress) -> socket.socket:
        """Return a socket that is connected to the target, if need be through a proxy's tunnel."""
        loop, host, port = asyncio.get_running_loop(), url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]
        via = self._proxy
        name, at = (host, port) if via is None else (via.raw_host.decode("ascii"), via.port or _PORTS["http"])
        progress.enter(RESOLVE, loop.time())
        addresses = await self._resolver.resolve(name, at, self._route.family)
        progress.enter(CONNECT, loop.time())
        connection, address = await connect(addresses)
        progress.address = address.host
        if via is not None and url.scheme == "https":
            try:
                await dig(connection, host, port, via)
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


@contextlib.asynccontextmanager
async def _patience(seconds: float | None) -> AsyncIterator[None]:
    """Hold httpx's own timeout, for clients that use it; `sidecar.wire.exchange` has a deadline instead."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TargetUnreachable(Unreached.TIMED_OUT, "httpx's timeout") from error


def _as_httpx(error: TargetUnreachable) -> httpx.TransportError:
    """Return what code that knows httpx alone expects."""
    return _AS_HTTPX.get(error.cause, httpx.ConnectError)(str(error))
