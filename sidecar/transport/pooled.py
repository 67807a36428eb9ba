"""Connections that are kept, on opt-in: httpx's own transport, its phases and certificate told like ours."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final

import httpx

from sidecar.transport.certificates import certificate_of
from sidecar.transport.progress import CONNECT, EXTENSION, PROCESSING, TLS, TRANSFER, Progress

CONNECTIONS_AT_MOST: Final = 32
IDLE_AT_MOST: Final = 16

# httpcore resolves names inside `connect`.
_BEGINS: Mapping[str, str] = {
    "connection.connect_tcp.started": CONNECT,
    "connection.start_tls.started": TLS,
    "http11.send_request_headers.started": PROCESSING,
    "http11.receive_response_body.started": TRANSFER,
}


class PooledTransport(httpx.AsyncBaseTransport):
    """Keeps connections for the next exchange; for what asks the same server again and again."""

    def __init__(self, tls: ssl.SSLContext, *, idle_seconds: float = 5.0, server_name: str | None = None) -> None:
        """Trust as `tls` says, `server_name` in the place of the URL's host; keep connections for `idle_seconds`."""
        self._server_name = server_name
        limits = httpx.Limits(
            max_connections=CONNECTIONS_AT_MOST,
            max_keepalive_connections=IDLE_AT_MOST,
            keepalive_expiry=idle_seconds,
        )
        self._inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, and return the answer once its headers are there."""
        if self._server_name is not None:
            request.extensions = {**request.extensions, "sni_hostname": self._server_name}
        progress: Progress | None = request.extensions.get(EXTENSION)
        if progress is None:
            return await self._inner.handle_async_request(request)
        loop, told = asyncio.get_running_loop(), progress

        async def trace(event: str, _info: Mapping[str, object]) -> None:
            if event in _BEGINS:
                told.enter(_BEGINS[event], loop.time())
            elif event == "http11.receive_response_body.complete":
                told.enter(None, loop.time())

        request.extensions = {**request.extensions, "trace": trace}
        response = await self._inner.handle_async_request(request)
        stream = response.extensions.get("network_stream")
        if stream is not None:
            _learn(stream.get_extra_info("ssl_object"), stream.get_extra_info("server_addr"), progress)
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


def _learn(tls: ssl.SSLObject | None, peer: tuple[str, int] | None, progress: Progress) -> None:
    progress.address = peer[0] if peer else None
    if tls is not None:
        cipher = tls.cipher()
        progress.certificate = certificate_of(tls)
        progress.tls_version, progress.tls_cipher = tls.version(), cipher[0] if cipher else None
