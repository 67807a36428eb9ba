"""What hostile servers do, beside what `tests.scripted` can."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cache

import trustme

from tests.scripted import Act, Scripted

NEVER = asyncio.Event  # what nobody sets


def drip(content: bytes) -> Act:
    """Send one byte a second."""

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in content:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1)

    return act


@contextlib.asynccontextmanager
async def connected(act: Act, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Serve `act` on the bare connection: no request is waited for."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await act(reader, writer)
        except OSError:
            pass  # the other side hung up
        finally:
            writer.transport.abort()

    def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Scripted(url=f"http://127.0.0.1:{port}", port=port)
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.wait(handlers) if handlers else None
        await server.wait_closed()


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def trusting() -> ssl.SSLContext:
    """A client that trusts that authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@cache
def certified(name: str, days: int = 9, *, by_itself: bool = False) -> tuple[ssl.SSLContext, datetime]:
    """A server's side of TLS for `name`, and when its certificate ends."""
    now = datetime.now(UTC).replace(microsecond=0)
    ends_at = now + timedelta(days=days)
    issuer = trustme.CA() if by_itself else authority()
    certificate = issuer.issue_cert(name, not_before=now - timedelta(days=99), not_after=ends_at)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context, ends_at
