"""Serve an ASGI application inside our own event loop, without handing over the process's signals."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn's own handler stops at once and raises them again for ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 picks a free one. Raises: OSError when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off for a socket that says it speaks TCP only; else small answers wait 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, bound: socket.socket, *, drain_seconds: int = 2) -> AsyncIterator[str]:
    """Serve `app` on a bound socket for the time of the block; yield its base URL, without a trailing slash."""
    host, port = bound.getsockname()[:2]
    config = uvicorn.Config(
        app,
        http="h11",  # named, so that which parser reads strangers' requests does not hang on what else is installed
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=drain_seconds,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.serve(sockets=[bound]), name=f"http {port}")
        while not server.started and not task.done():  # noqa: ASYNC110  # see below
            await asyncio.sleep(0.005)  # uvicorn offers no event to wait for
        try:
            yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        finally:
            server.should_exit = True
            await asyncio.wait([task])  # also when the block failed: a cancelled uvicorn leaves its sockets open
