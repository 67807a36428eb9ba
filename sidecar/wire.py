"""One HTTP exchange, whole or not at all: a deadline, a body cap, exact numbers, and our own errors.

Checks and data share it. It knows HTTP and how Supabase keys are sent; it judges nothing.
"""

import asyncio
import json
import socket
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Any

import httpx

from sidecar.certificate import Certificate
from sidecar.errors import AnswerMalformed, TargetUnreachable, Unreached
from sidecar.transport.connecting import BY_ERRNO
from sidecar.transport.fresh import FreshTransport
from sidecar.transport.pooled import PooledTransport
from sidecar.transport.progress import EXTENSION, RESOLVE, Progress
from sidecar.transport.resolving import Resolver, SystemResolver
from sidecar.transport.route import Family, Route
from sidecar.transport.tls import trust_anybody, trust_public_authorities

__all__ = ["Answer", "Certificate", "Family", "Route", "exchange", "key_headers", "open_client"]

USER_AGENT = f"supabase-sidecar/{version('supabase-sidecar')} httpx/{httpx.__version__}"
RESOLVER = SystemResolver()
BODY_BYTES_AT_MOST = 4 * 1024 * 1024  # a page of 1000 narrow rows is well under 1 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer. Header names are lower-case.

    `phases` maps resolve, connect, tls, processing and transfer to seconds; their sum is never more than the duration.
    `address` is the peer that answered, `transferred_bytes` the size of the body before decompression.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    duration_seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)
    certificate: Certificate | None = None
    address: str | None = None
    http_version: str = "HTTP/1.1"
    transferred_bytes: int = 0
    tls_version: str | None = None
    tls_cipher: str | None = None

    @property
    def certificate_expires_at(self) -> datetime | None:
        """When the server's certificate ends (aware UTC), None without TLS."""
        return self.certificate.expires_at if self.certificate else None

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 shows as the replacement character."""
        return self.content.decode("utf-8", errors="replace")

    def json(self) -> Any:  # noqa: ANN401  # JSON from outside
        """Return the body as JSON with exact numbers (int and Decimal, never float).

        Raises: AnswerMalformed when it is not JSON, is nested too deeply, or holds NaN or Infinity.
        """
        try:
            return json.loads(self.content, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, RecursionError, InvalidOperation) as error:  # the last: an exponent beyond Decimal's
            kind = self.headers.get("content-type", "no content type")
            detail = f"status {self.status} with a body that is not JSON ({kind}, {len(self.content)} bytes)"
            raise AnswerMalformed(detail) from error

    @property
    def server_time(self) -> datetime | None:
        """The `Date` header as aware UTC, None when it is missing or no date."""
        try:
            return parsedate_to_datetime(self.headers["date"]).astimezone(UTC)
        except (KeyError, ValueError, TypeError):
            return None

    def retry_after_seconds(self, now: datetime) -> float | None:
        """Return what `Retry-After` asks for, in seconds from `now`; None when it says nothing usable."""
        asked = self.headers.get("retry-after", "")
        if asked.isascii() and asked.isdigit():
            return float(asked)
        try:
            return max(0.0, (parsedate_to_datetime(asked) - now).total_seconds())
        except (ValueError, TypeError):
            return None


def _refuse_constant(name: str) -> None:
    message = f"{name} is not a JSON number"
    raise ValueError(message)


def key_headers(key: str) -> dict[str, str]:
    """Return how a Supabase key is sent: `sb_` keys as `apikey` alone, JWTs as `apikey` and bearer.

    Source: design 40-supabase.md B1; a bearer that is no JWT is answered 401 PGRST301 by the local gateway.
    """
    if key.startswith("sb_"):
        return {"apikey": key}
    return {"apikey": key, "Authorization": f"Bearer {key}"}


def open_client(
    base_url: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    verify: ssl.SSLContext | bool = True,
    keep_alive: bool = False,
    route: Route | None = None,
    resolver: Resolver = RESOLVER,
) -> httpx.AsyncClient:
    """Return a client of ours: cookies off, environment ignored, redirects off, no retries, an honest User-Agent.

    `route` says how connections are made; without it `verify` and `keep_alive` do. The caller owns the client and
    closes it (`async with`). Kept connections go neither through a proxy nor by a chosen family.
    """
    tls = verify if isinstance(verify, ssl.SSLContext) else None if verify else trust_anybody()
    route = route or Route(tls=tls, keep_alive=keep_alive)
    transport: httpx.AsyncBaseTransport
    if route.keep_alive:
        if route.proxy_url or route.family is not Family.ANY:
            raise ValueError("kept connections go neither through a proxy nor by a chosen family")
        transport = PooledTransport(route.tls or trust_public_authorities())
    else:
        transport = FreshTransport(route, resolver)
    client = httpx.AsyncClient(
        base_url=base_url,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", **(headers or {})},
        transport=transport,
        timeout=None,  # noqa: S113  # `exchange` holds one deadline over everything instead
        trust_env=False,
        follow_redirects=False,
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


async def exchange(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    timeout_seconds: float,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    body_bytes_at_most: int = BODY_BYTES_AT_MOST,
) -> Answer:
    """Send one request and return the complete answer, whatever its status.

    Raises: TargetUnreachable when no complete answer arrived within the deadline and the body cap. The cap counts
    decompressed bytes, so that a small bomb cannot become a large body.
    """
    loop = asyncio.get_running_loop()
    started, progress = loop.time(), Progress()
    request = client.build_request(
        method, url, params=params, headers=headers, content=content, extensions={EXTENSION: progress}
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            response = await client.send(request, stream=True)
            try:
                body, transferred_bytes = await _read(response, body_bytes_at_most)
            finally:
                await response.aclose()
    except TimeoutError as error:
        raise _told(_late(progress, timeout_seconds), progress, loop.time()) from error
    except TargetUnreachable as error:
        raise _told(error, progress, loop.time()) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _told(_translate(error), progress, loop.time()) from error
    ended = loop.time()
    progress.enter(None, ended)
    phases = progress.seconds()
    return Answer(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        content=body,
        duration_seconds=max(ended - started, sum(phases.values())),  # the latter is larger by rounding alone
        phases=phases,
        certificate=progress.certificate,
        address=progress.address,
        http_version=response.http_version,
        transferred_bytes=transferred_bytes,
        tls_version=progress.tls_version,
        tls_cipher=progress.tls_cipher,
    )


def _late(progress: Progress, timeout_seconds: float) -> TargetUnreachable:
    """Name what the deadline cut short: a resolver that is slow says nothing about the target."""
    if progress.failure is not None:
        return progress.failure
    if progress.phase == RESOLVE:
        return TargetUnreachable(Unreached.RESOLVER_FAILED, f"the name was not resolved in {timeout_seconds:g} s")
    return TargetUnreachable(Unreached.TIMED_OUT, f"no complete answer in {timeout_seconds:g} s")


def _told(error: TargetUnreachable, progress: Progress, at: float) -> TargetUnreachable:
    """Return the error with what had been learnt until then."""
    progress.enter(None, at)
    return TargetUnreachable(
        error.cause,
        error.detail,
        phases=progress.seconds(),
        certificate=progress.certificate,
        address=progress.address,
    )


async def _read(response: httpx.Response, body_bytes_at_most: int) -> tuple[bytes, int]:
    """Read the body under the cap, and count its bytes as they came.

    httpx would inflate a whole chunk at once, and stacked codings without end.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip"):
        raise TargetUnreachable(Unreached.PROTOCOL_BROKEN, "a content coding that was not asked for")
    if coding != "gzip" and _declared(response) > body_bytes_at_most:
        raise TargetUnreachable(Unreached.BODY_TOO_LARGE, f"more than {body_bytes_at_most} bytes announced")
    inflater = _Inflater() if coding == "gzip" else None
    chunks: list[bytes] = []
    size = transferred_bytes = 0
    async for raw in response.aiter_raw():
        transferred_bytes += len(raw)
        chunk = inflater.inflate(raw, body_bytes_at_most - size + 1) if inflater else raw
        size += len(chunk)
        if size > body_bytes_at_most:
            raise TargetUnreachable(Unreached.BODY_TOO_LARGE, f"more than {body_bytes_at_most} bytes")
        chunks.append(chunk)
    if inflater and inflater.is_amid:
        raise TargetUnreachable(Unreached.CUT_OFF, "the compressed body ends too early")
    return b"".join(chunks), transferred_bytes


def _declared(response: httpx.Response) -> int:
    """Return the size that a body announces which will come: those of HEAD, 204 and 304 do not."""
    if response.request.method == "HEAD" or response.status_code in (204, 304):
        return 0
    announced = response.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() and len(announced) < 20 else 0


class _Inflater:
    """Inflates gzip, several members included, never by more than it is asked for."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.is_amid = False

    def inflate(self, raw: bytes, bytes_at_most: int) -> bytes:
        found = b""
        while raw and len(found) < bytes_at_most:
            if self._member.eof:
                self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                found += self._member.decompress(raw, bytes_at_most - len(found))
            except zlib.error as error:
                raise TargetUnreachable(Unreached.PROTOCOL_BROKEN, "a body that is not the gzip it claims") from error
            self.is_amid = not self._member.eof
            raw = self._member.unused_data
        return found


# Most specific first. httpx wraps httpcore, which wraps OSError; the chain of causes tells them apart.
def _translate(error: Exception) -> TargetUnreachable:
    """Name the most specific cause. The message holds error classes only: httpx messages may hold URLs."""
    chain = _chain(error)
    for link in chain:
        if isinstance(link, TargetUnreachable):
            return link
    detail = " < ".join(type(link).__name__ for link in chain)
    for link in chain:
        if isinstance(link, ssl.SSLError):
            return TargetUnreachable(Unreached.TLS_FAILED, f"{detail} ({link.reason or link.args[-1]})")
        if isinstance(link, socket.gaierror):
            absent = link.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            return TargetUnreachable(Unreached.RESOLVE_FAILED if absent else Unreached.RESOLVER_FAILED, detail)
        if isinstance(link, OSError) and (cause := BY_ERRNO.get(link.errno or 0)) is not None:
            return TargetUnreachable(cause, detail)
    return TargetUnreachable(_cause(error), detail)


def _cause(error: Exception) -> Unreached:
    match error:
        case httpx.LocalProtocolError():
            return Unreached.LOCAL_FAULT
        case httpx.ConnectError():
            return Unreached.CONNECT_FAILED
        case httpx.RemoteProtocolError() if "without sending" in str(error) or "peer closed" in str(error):
            return Unreached.CUT_OFF
        case httpx.ReadError() | httpx.WriteError() | httpx.CloseError():
            return Unreached.CUT_OFF
        case _:
            return Unreached.PROTOCOL_BROKEN


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links
