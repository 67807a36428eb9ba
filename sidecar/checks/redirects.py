"""Where a redirect leads, and what may travel along: nothing that was configured ever reaches another origin."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from sidecar.wire import Answer

_KEEPS_METHOD = frozenset({307, 308})
_REDIRECTS = frozenset({301, 302, 303}) | _KEEPS_METHOD
_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a look."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    content: bytes | None


def redirected(request: Request, answer: Answer) -> Request | None:
    """Return the request that the answer asks for, or None when the answer itself is to be judged.

    That is so without a usable Location, and where following would carry a body to another origin.
    """
    target = _target(request.url, answer)
    if target is None:
        return None
    keeps = answer.status in _KEEPS_METHOD or request.method in ("GET", "HEAD")
    method = request.method if keeps else "GET"
    content = request.content if keeps else None
    is_same_origin = _origin(target) == _origin(request.url)
    if content is not None and not is_same_origin:
        return None
    headers = request.headers if is_same_origin else {}
    if content is None:
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return Request(method=method, url=target, headers=headers, content=content)


def _target(url: httpx.URL, answer: Answer) -> httpx.URL | None:
    location = answer.headers.get("location", "")
    if answer.status not in _REDIRECTS or not location:
        return None
    try:
        target = url.join(location).copy_with(userinfo=b"", fragment=None)
    except (httpx.InvalidURL, ValueError):
        return None
    if target.scheme not in _PORTS or not target.host or not is_port(target.port):
        return None
    return None if _is_link_local(target.host) and not _is_link_local(url.host) else target


def _is_link_local(host: str) -> bool:
    """Tell whether nobody but this machine's own network answers there: metadata services of clouds, above all."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_link_local
    except ValueError:
        return False


def is_port(port: int | None) -> bool:
    """Tell whether a URL's port can exist: httpx takes any number, and connecting there raises OverflowError."""
    return port is None or 0 < port < 65_536


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or _PORTS[url.scheme]
