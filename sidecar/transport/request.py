"""One request as bytes, made once for as many exchanges as ask the same."""

import re
from dataclasses import dataclass, field

import httpx

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.tunnel import authorization

_UNFIT = re.compile(rb"[\r\n\0]")
_OURS = frozenset({b"connection", b"transfer-encoding", b"content-length"})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to be sent; what an observer adds goes between `head` and `body`."""

    method: str
    url: httpx.URL = field(repr=False)
    host: str
    port: int
    head: bytes = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_secure(self) -> bool:
        """Whether it goes over TLS."""
        return self.url.scheme == "https"

    def content(self, added: dict[str, str]) -> bytes:
        """Return the bytes to send, with headers that were `added`."""
        if not added:
            return b"%s\r\n%s" % (self.head, self.body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in added.items())
        return b"%s%s\r\n%s" % (self.head, lines.encode("ascii"), self.body)


async def prepare(request: httpx.Request, forward_to: httpx.URL | None) -> Prepared:
    """Return the request as it will be sent; with `forward_to` as a forwarding proxy wants it.

    Raises: TargetUnreachable (LOCAL_FAULT) for a header that would end early: it never leaves.
    """
    url = request.url
    forwarded = forward_to is not None and url.scheme == "http"
    target = b"%s://%s%s" % (url.raw_scheme, url.netloc, url.raw_path) if forwarded else url.raw_path
    body = await _body(request)
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _OURS]
    headers.append((b"Connection", b"close"))
    if body or request.method in ("POST", "PUT", "PATCH"):
        headers.append((b"Content-Length", b"%d" % len(body)))
    secret = authorization(forward_to) if forward_to is not None and forwarded else None
    if secret is not None:
        headers.append((b"Proxy-Authorization", secret))
    for name, value in headers:
        if _UNFIT.search(name) or _UNFIT.search(value):
            raise TargetUnreachable(Unreached.LOCAL_FAULT, "a header of ours holds a line break")
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return Prepared(
        method=request.method,
        url=url,
        host=url.raw_host.decode("ascii"),
        port=url.port or _PORTS[url.scheme],
        head=b"%s %s HTTP/1.1\r\n%s" % (request.method.encode("ascii"), target, lines),
        body=body,
    )


async def _body(request: httpx.Request) -> bytes:
    stream = request.stream
    if isinstance(stream, httpx.AsyncByteStream):
        return b"".join([part async for part in stream])
    raise TargetUnreachable(Unreached.LOCAL_FAULT, "a body that cannot be read here")
