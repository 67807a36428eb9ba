"""How a connection is made."""

import ssl
from dataclasses import dataclass, field
from enum import StrEnum

import httpx


class Family(StrEnum):
    """Which addresses of a name may be used."""

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a connection is made. A proxy is used only when it is named here; the environment is ignored.

    `tls` is whom to trust, and which certificate of ours to show; None trusts the public authorities. `server_name` is
    the name that the certificate must be for, where that is not the URL's host. `shows_trace` lets the target hear of
    our span (`traceparent`). A kept connection waits `idle_seconds` for the next exchange.

    Raises: ValueError for a proxy that is not `http://[user:password@]host[:port]`; the message does not repeat it.
    """

    family: Family = Family.ANY
    proxy_url: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    keep_alive: bool = False
    idle_seconds: float = 5.0
    server_name: str | None = None
    shows_trace: bool = True

    def __post_init__(self) -> None:
        """Refuse a proxy that could not be spoken to."""
        if self.proxy_url is None:
            return
        try:
            proxy = httpx.URL(self.proxy_url)
        except httpx.InvalidURL:
            raise ValueError("the proxy is not a URL") from None
        if proxy.scheme != "http" or not proxy.host or proxy.raw_path not in (b"", b"/"):
            raise ValueError("the proxy must be http://[user:password@]host[:port]")
