"""Where a redirect leads, and what may travel along: nothing that was configured ever reaches another origin."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx

from sidecar.domain.reach import leads_inwards, reach_of
from sidecar.wire import Answer

MAX_REDIRECTS = 5  # where nobody says otherwise
_KEEPS_METHOD = frozenset({307, 308})
_REDIRECTS = frozenset({301, 302, 303}) | _KEEPS_METHOD
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a look. `is_home` until a redirect has led to another origin, and never again after that."""

    method: str
    url: httpx.URL = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    is_home: bool = True


@dataclass(frozen=True, slots=True)
class Forbidden:
    """A redirect that nobody may follow. `detail` holds nothing of the answer."""

    detail: str


Onward: TypeAlias = Request | Forbidden | None


def redirected(request: Request, answer: Answer, *, is_proxied: bool = False) -> Onward:
    """Return the request that the answer asks for, or None when the answer itself is to be judged.

    That is so without a usable Location, and where following would carry a body to another origin. With `is_proxied`
    the peer that answered says nothing about where the origin is.
    """
    location = answer.headers.get("location", "")
    if answer.status not in _REDIRECTS or not location:
        return None
    target = _target(request.url, location)
    if target is None or isinstance(target, Forbidden):
        return target
    if _leads_inwards(request.url, None if is_proxied else answer.address, target):
        return Forbidden("a redirect that leads to an address further inside")
    keeps = answer.status in _KEEPS_METHOD or request.method in ("GET", "HEAD")
    content = request.content if keeps else None
    stays = origin_of(target) == origin_of(request.url)
    if content is not None and not stays:
        return None
    headers = request.headers if stays else {}
    if content is None:
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return Request(
        method=request.method if keeps else "GET",
        url=target,
        headers=headers,
        content=content,
        is_home=request.is_home and stays,
    )


def _target(url: httpx.URL, location: str) -> httpx.URL | Forbidden | None:
    try:
        target = url.join(location).copy_with(userinfo=b"", fragment=None)
    except (httpx.InvalidURL, ValueError):
        return None
    if target.scheme not in _PORTS:
        return Forbidden("a redirect to a scheme other than http and https")
    return target if target.host and is_port(target.port) else None


def _leads_inwards(url: httpx.URL, peer: str | None, target: httpx.URL) -> bool:
    """Tell whether a literal address lies further inside than the origin: metadata services of clouds, above all."""
    literal = _literal(target.host)
    if literal is None:
        return False
    return leads_inwards(_literal(url.host) or peer, [literal])


def _literal(host: str) -> str | None:
    """Return the address that a host is, in whatever notation; None for a name, which only a resolver knows."""
    bare = host.rstrip(".").lower()
    if bare == "localhost" or bare.endswith(".localhost"):
        return "127.0.0.1"
    try:
        reach_of(bare)
    except ValueError:
        pass
    else:
        return bare
    try:  # 2130706433, 0x7f.1 and 127.1 are 127.0.0.1 to every resolver
        return socket.inet_ntoa(socket.inet_aton(bare)) if re.fullmatch(r"[0-9a-fx.]+", bare) else None
    except OSError:
        return None


def is_port(port: int | None) -> bool:
    """Tell whether a URL's port can exist: httpx takes any number, and connecting there raises OverflowError."""
    return port is None or 0 < port < 65_536


def origin_of(url: httpx.URL) -> tuple[str, str, int]:
    """Return what two URLs of one origin have in common."""
    return url.scheme, url.host, url.port or _PORTS[url.scheme]
