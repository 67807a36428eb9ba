"""One answer, read as it arrives: the parser is llhttp (through httptools), the bounds are ours."""

import asyncio
import ssl
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.progress import PROCESSING, TRANSFER, Progress

HEAD_BYTES_AT_MOST: Final = 65_536  # status line and headers, interim answers (103 and the like) included
OVERHEAD_AT_MOST: Final = 16  # bytes of chunk sizes, extensions and trailers for each byte of body, beyond the head's
BUFFERED_BYTES: Final = 65_536  # read ahead of whoever consumes
_INTERIM = range(100, 200)


class Exchanged(asyncio.BufferedProtocol):
    """The client's side of one exchange on one connection.

    Use: `send`, then `head` until there is an answer, then `chunk` until it is None, then `close`.
    """

    def __init__(self, progress: Progress, buffer: memoryview, *, is_head: bool) -> None:
        """Read into `buffer`, which connections of one loop share: what is read is parsed before the next read."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.version = "1.1"
        self.reason = b""
        self._progress = progress
        self._buffer = buffer
        self._is_head = is_head
        self._parser = HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._wakes: asyncio.Future[None] | None = None
        self._failure: TargetUnreachable | None = None
        self._has_head = self._is_whole = self._is_paused = self._ends_with_connection = False
        self._overhead = self._body = 0
        self._ready = bytearray()  # joined here: a million chunks of one byte each must not take a million turns

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Write the whole request; from here on the target is at work."""
        if self._transport is not None:
            self._progress.enter(PROCESSING, self._loop.time())
            self._transport.write(request)

    async def head(self) -> None:
        """Wait for status and headers. Raises: TargetUnreachable."""
        while not self._has_head:
            await self._more()

    def headers_by_name(self) -> dict[str, str]:
        """Return the headers, names in lower case; what is repeated is joined by commas."""
        joined: dict[str, str] = {}
        for raw_name, raw_value in self.headers:
            name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    async def chunk(self) -> bytes | None:
        """Return the next bytes of the body, None after the last. Raises: TargetUnreachable."""
        while not self._ready:
            if self._is_whole:
                return None
            await self._more()
        found = bytes(self._ready)
        self._ready.clear()
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return found

    def close(self) -> None:
        """Let the connection go at once; nothing is waited for, in TLS neither."""
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._wakes = self._loop.create_future()
        try:
            await self._wakes
        finally:
            self._wakes = None

    def _wake(self) -> None:
        if self._wakes is not None and not self._wakes.done():
            self._wakes.set_result(None)

    def _fail(self, cause: Unreached, detail: str) -> None:
        if self._failure is None and not self._is_whole:
            self._failure = TargetUnreachable(cause, detail)
        self.close()

    # What the connection tells.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the shared buffer."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what has arrived."""
        self._overhead += nbytes
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except HttpParserUpgrade:
            self._fail(Unreached.PROTOCOL_BROKEN, "another protocol, which nobody asked for")
        except HttpParserError as error:
            if not self._is_whole:  # what follows the answer is nobody's concern
                self._fail(Unreached.PROTOCOL_BROKEN, type(error).__name__)
        if self._overhead > HEAD_BYTES_AT_MOST + OVERHEAD_AT_MOST * self._body and not self._is_whole:
            what = "chunk sizes and trailers" if self._has_head else "status line and headers"
            self._fail(Unreached.PROTOCOL_BROKEN, f"too many bytes of {what}")
        if len(self._ready) >= BUFFERED_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Take the end of the connection as the end of a body that has no other."""
        if self._has_head and self._ends_with_connection and not self._is_whole:
            self.on_message_complete()
        self._fail(Unreached.CUT_OFF, "closed before the answer was whole")
        self._wake()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Take a lost connection as the end of everything."""
        self._transport = None
        cause = Unreached.TLS_FAILED if isinstance(error, ssl.SSLError) else Unreached.CUT_OFF
        self._fail(cause, type(error).__name__ if error else "closed before the answer was whole")
        self._wake()

    # What the parser tells.

    def on_status(self, reason: bytes) -> None:
        """Keep the reason phrase; it may come in pieces."""
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes after the head are trailers."""
        if not self._has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Know the answer, unless it is an interim one."""
        self.status = self._parser.get_status_code()
        if self.status in _INTERIM or self._has_head:
            return
        self.version = self._parser.get_http_version()
        self._has_head = True
        self._progress.enter(TRANSFER, self._loop.time())
        named = {name.lower() for name, _ in self.headers}
        self._ends_with_connection = not named & {b"content-length", b"transfer-encoding"}
        if self._is_head:
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._is_whole:
            return
        self._overhead -= len(body)
        self._body += len(body)
        self._ready += body

    def on_message_complete(self) -> None:
        """End the answer, or an interim one."""
        if not self._has_head:  # an interim answer: the real one is still to come
            self.headers.clear()
            self.reason = b""
            return
        if not self._is_whole:
            self._is_whole = True
            self._progress.enter(None, self._loop.time())


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
