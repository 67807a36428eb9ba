"""A real HTTP server on a free port that says exactly what a test wrote down, well-formed or not."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it arrived. Header names are lower-case; of repeated query keys the last one counts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


Wire: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Act: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Script: TypeAlias = Callable[[Asked], Act]


def reply(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> Act:
    """Answer whole: bytes and text as they are, anything else as JSON, None as an empty body."""
    if isinstance(body, bytes | str):
        content, kind = (body if isinstance(body, bytes) else body.encode()), "text/plain"
    else:
        content, kind = (b"" if body is None else json.dumps(body).encode()), "application/json; charset=utf-8"
    sent = {"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close", **(headers or {})}
    return raw(head(status, sent) + content)


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return a status line and headers; statuses without a standard phrase are fine."""
    phrase = HTTPStatus(status).phrase if status in {known.value for known in HTTPStatus} else "Unlisted"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode()


def html(status: int) -> Act:
    """Answer with a page, as proxies do."""
    return reply(status, "<!DOCTYPE html><html><body>oops</body></html>", {"Content-Type": "text/html; charset=UTF-8"})


def raw(content: bytes) -> Act:
    """Send these bytes and close."""

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return act


def silent() -> Act:
    """Say nothing until the other side gives up."""

    async def act(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    return act


def then_silent(content: bytes) -> Act:
    """Send these bytes, and say nothing more until the other side gives up."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        await reader.read()

    return act


def reset(content: bytes = b"") -> Act:
    """Send these bytes, then reset the connection."""

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        peer = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return act


def endless(content: bytes, chunk: bytes = b"x" * 65_536) -> Act:
    """Send `content`, then `chunk` again and again until the other side hangs up."""

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        while True:
            writer.write(chunk)
            await writer.drain()

    return act


@dataclass(slots=True)
class Scripted:
    """A running server: where it listens, and what it was asked."""

    url: str
    port: int
    asked: list[Asked] = field(default_factory=list)


@contextlib.asynccontextmanager
async def scripted(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Serve `script` on 127.0.0.1 until the block ends."""
    handlers: set[asyncio.Task[None]] = set()
    server_is: list[Scripted] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await _read(reader)
            if asked is not None:
                server_is[0].asked.append(asked)
                await script(asked)(reader, writer)
        except OSError:
            pass  # the other side hung up, as some of these tests mean it to
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    server_is.append(Scripted(url=f"{'https' if tls else 'http'}://127.0.0.1:{port}", port=port))
    try:
        yield server_is[0]
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.wait(handlers) if handlers else None
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = lines[0].split(" ", 2)
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    return Asked(method=method, path=url.path, query=query, headers=headers, body=body)


def unused_port() -> int:
    """Return a port on which nothing listens right now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
