"""Through a proxy: the request line that a forwarding proxy wants, and a tunnel for TLS."""

import asyncio
import base64
import socket

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.reading import HEAD_BYTES_AT_MOST


def authorization(proxy: httpx.URL) -> bytes | None:
    """Return the value of `Proxy-Authorization`, None without a user."""
    if not proxy.userinfo:
        return None
    return b"Basic " + base64.b64encode(f"{proxy.username}:{proxy.password}".encode())


async def dig(connection: socket.socket, host: str, port: int, proxy: httpx.URL) -> None:
    """Ask the proxy on a connected socket for a tunnel to the target.

    Raises: TargetUnreachable (CONNECT_FAILED when the proxy says no, PROTOCOL_BROKEN when it does not speak HTTP).
    """
    loop = asyncio.get_running_loop()
    name = f"[{host}]" if ":" in host else host
    asked = f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n".encode("ascii")
    secret = authorization(proxy)
    if secret is not None:
        asked += b"Proxy-Authorization: " + secret + b"\r\n"
    try:
        await loop.sock_sendall(connection, asked + b"\r\n")
        told = b""
        while b"\r\n\r\n" not in told:
            more = await loop.sock_recv(connection, 4096)
            if not more:
                raise TargetUnreachable(Unreached.CONNECT_FAILED, "the proxy closed the connection")
            told += more
            if len(told) > HEAD_BYTES_AT_MOST:
                raise TargetUnreachable(Unreached.PROTOCOL_BROKEN, "too many bytes of the proxy's headers")
    except OSError as error:
        raise TargetUnreachable(Unreached.CONNECT_FAILED, f"{type(error).__name__} from the proxy") from error
    status = _status(told)
    if not 200 <= status < 300:
        raise TargetUnreachable(Unreached.CONNECT_FAILED, f"the proxy answered {status}")
    if not told.endswith(b"\r\n\r\n"):  # whoever speaks before our handshake is not the target
        raise TargetUnreachable(Unreached.PROTOCOL_BROKEN, "the proxy sent more than its answer")


def _status(head: bytes) -> int:
    parser = HttpResponseParser(object())
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        raise TargetUnreachable(Unreached.PROTOCOL_BROKEN, f"{type(error).__name__} from the proxy") from error
    status: int = parser.get_status_code()
    return status
