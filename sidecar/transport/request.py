"""One request as bytes."""

import re
from collections.abc import Iterable

import httpx

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.tunnel import authorization

_UNFIT = re.compile(rb"[\r\n\0]")
_OURS = frozenset({b"connection", b"transfer-encoding", b"content-length"})


async def request_bytes(request: httpx.Request, forward_to: httpx.URL | None) -> bytes:
    """Return the whole request; with `forward_to` as a forwarding proxy wants it.

    Raises: TargetUnreachable (LOCAL_FAULT) for a header that would end early: it never leaves.
    """
    url = request.url
    target = url.raw_path if forward_to is None else b"%s://%s%s" % (url.raw_scheme, url.netloc, url.raw_path)
    body = await _body(request)
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _OURS]
    headers.append((b"Connection", b"close"))
    if body or request.method in ("POST", "PUT", "PATCH"):
        headers.append((b"Content-Length", b"%d" % len(body)))
    secret = authorization(forward_to) if forward_to is not None else None
    if secret is not None:
        headers.append((b"Proxy-Authorization", secret))
    _refuse_breaks(headers)
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (request.method.encode("ascii"), target, lines, body)


def _refuse_breaks(headers: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if _UNFIT.search(name) or _UNFIT.search(value):
            raise TargetUnreachable(Unreached.LOCAL_FAULT, "a header of ours holds a line break")


async def _body(request: httpx.Request) -> bytes:
    stream = request.stream
    if isinstance(stream, httpx.AsyncByteStream):
        return b"".join([part async for part in stream])
    raise TargetUnreachable(Unreached.LOCAL_FAULT, "a body that cannot be read here")
