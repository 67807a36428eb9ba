"""One HTTP exchange, whole or not at all: a deadline, a body cap, exact numbers, and our own errors.

Checks and data share it. It knows HTTP and how Supabase keys are sent; it judges nothing.
"""

import asyncio
import json
import socket
import ssl
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
from sidecar.transport.body import body_may_come, read_body
from sidecar.transport.connecting import BY_ERRNO
from sidecar.transport.fresh import FreshTransport
from sidecar.transport.pooled import PooledTransport
from sidecar.transport.progress import EXTENSION, RESOLVE, Progress
from sidecar.transport.request import Prepared
from sidecar.transport.resolving import Resolver, SystemResolver
from sidecar.transport.route import Family, Route
from sidecar.transport.tls import trust_anybody, trust_public_authorities

__all__ = ["Answer", "Certificate", "Family", "Route", "exchange", "key_headers", "open_client"]

USER_AGENT = f"supabase-sidecar/{version('supabase-sidecar')} httpx/{httpx.__version__}"
RESOLVER = SystemResolver()
PREPARED_AT_MOST, PREPARED_BYTES_AT_MOST = 256, 4096  # requests that a client keeps ready, and how large they are
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


class _FreshClient(httpx.AsyncClient):
    """A client over fresh connections that `exchange` can look beneath.

    Cookies and redirects are off, so httpx has nothing to do that is not done once for every request like it: beneath,
    an exchange costs half.
    """

    def __init__(self, beneath: FreshTransport, **settings: Any) -> None:  # noqa: ANN401  # httpx's own
        super().__init__(transport=beneath, **settings)
        self.beneath = beneath
        self._prepared: dict[object, Prepared] = {}

    async def prepare(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        content: bytes | None,
    ) -> Prepared:
        """Return the request's bytes, from those of one like it where there was one."""
        key = (method, url, tuple((params or {}).items()), tuple((headers or {}).items()), content)
        found = self._prepared.get(key)
        if found is None:
            request = self.build_request(method, url, params=params, headers=headers, content=content)
            if request.url.userinfo:
                request = next(httpx.BasicAuth(request.url.username, request.url.password).auth_flow(request))
            found = await self.beneath.prepare(request)
            if len(self._prepared) >= PREPARED_AT_MOST:
                self._prepared.clear()
            if len(content or b"") <= PREPARED_BYTES_AT_MOST:
                self._prepared[key] = found
        return found


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
    settings: dict[str, Any] = {
        "base_url": base_url,
        "headers": {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", **(headers or {})},
        "timeout": None,  # `exchange` holds one deadline over everything instead
        "trust_env": False,
        "follow_redirects": False,
    }
    if not route.keep_alive:
        client: httpx.AsyncClient = _FreshClient(FreshTransport(route, resolver), **settings)
    elif route.proxy_url or route.family is not Family.ANY:
        raise ValueError("kept connections go neither through a proxy nor by a chosen family")
    else:
        tls = route.tls or trust_public_authorities()
        pooled = PooledTransport(tls, idle_seconds=route.idle_seconds, server_name=route.server_name)
        client = httpx.AsyncClient(transport=pooled, **settings)
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
    try:
        async with asyncio.timeout(timeout_seconds):
            if isinstance(client, _FreshClient):
                prepared = await client.prepare(method, url, params, headers, content)
                came = await _over_fresh(client.beneath, prepared, progress, body_bytes_at_most)
            else:
                request = client.build_request(method, url, params=params, headers=headers, content=content)
                came = await _over_httpx(client, request, progress, body_bytes_at_most)
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
        status=came.status,
        headers=came.headers,
        content=came.body,
        duration_seconds=max(ended - started, sum(phases.values())),  # the latter is larger by rounding alone
        phases=phases,
        certificate=progress.certificate,
        address=progress.address,
        http_version=came.http_version,
        transferred_bytes=came.transferred_bytes,
        tls_version=progress.tls_version,
        tls_cipher=progress.tls_cipher,
    )


@dataclass(frozen=True, slots=True)
class _Came:
    """What came over the wire. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    http_version: str
    body: bytes
    transferred_bytes: int


async def _over_fresh(beneath: FreshTransport, prepared: Prepared, progress: Progress, bytes_at_most: int) -> _Came:
    exchanged = await beneath.begin(prepared, progress)
    try:
        headers = exchanged.headers_by_name()
        may_come = body_may_come(prepared.method, exchanged.status)
        body, transferred_bytes = await read_body(exchanged.chunk, headers, bytes_at_most, may_come=may_come)
    finally:
        exchanged.close()
    return _Came(exchanged.status, headers, f"HTTP/{exchanged.version}", body, transferred_bytes)


async def _over_httpx(
    client: httpx.AsyncClient, request: httpx.Request, progress: Progress, bytes_at_most: int
) -> _Came:
    request.extensions = {**request.extensions, EXTENSION: progress}
    response = await client.send(request, stream=True)
    try:
        headers = {name.lower(): value for name, value in response.headers.items()}
        pieces = aiter(response.aiter_raw())
        may_come = body_may_come(request.method, response.status_code)

        async def next_piece() -> bytes | None:
            return await anext(pieces, None)

        body, transferred_bytes = await read_body(next_piece, headers, bytes_at_most, may_come=may_come)
    finally:
        await response.aclose()
    return _Came(response.status_code, headers, response.http_version, body, transferred_bytes)


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
