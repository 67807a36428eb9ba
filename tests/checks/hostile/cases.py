"""Every hostile target: what it does, what the check says, and which reason is right."""

import contextlib
import gzip
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from sidecar.checks.context import ProbeContext
from sidecar.domain.check import Observation
from sidecar.errors import Unreached
from tests.checks.cast import context, look_http
from tests.checks.hostile.names import Names
from tests.checks.hostile.servers import certified, connected, drip, trusting
from tests.scripted import Act, endless, head, html, raw, reply, reset, scripted, silent, then_silent, unused_port

SHORT, LONG = 0.5, 20.0  # deadlines: for what only a deadline ends, and for what must end by itself
Opens = Callable[[], AbstractAsyncContextManager[ProbeContext]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One hostile target. `deadline_seconds` is short exactly where nothing else ends the look."""

    name: str
    opens: Opens
    reason: str
    deadline_seconds: float = LONG
    keys: Mapping[str, object] = field(default_factory=dict)

    async def look(self) -> Observation:
        async with self.opens() as around:
            return await look_http(around, {"url": "/x", **self.keys}, self.deadline_seconds)


def answering(act: Act) -> Opens:
    @contextlib.asynccontextmanager
    async def opens() -> AsyncIterator[ProbeContext]:
        async with scripted(lambda _: act) as server:
            yield context(server.url)

    return opens


def named(names: Names, act: Act | None = None) -> Opens:
    @contextlib.asynccontextmanager
    async def opens() -> AsyncIterator[ProbeContext]:
        async with scripted(lambda _: act or reply(200)) as server:
            yield replace(context(f"http://target.test:{server.port}"), resolver=names)

    return opens


def secured(name: str, days: int = 9, *, by_itself: bool = False) -> Opens:
    @contextlib.asynccontextmanager
    async def opens() -> AsyncIterator[ProbeContext]:
        async with scripted(lambda _: reply(200), tls=certified(name, days, by_itself=by_itself)[0]) as server:
            yield replace(context(server.url), tls=trusting())

    return opens


@contextlib.asynccontextmanager
async def _refusing() -> AsyncIterator[ProbeContext]:
    yield context(f"http://127.0.0.1:{unused_port()}")


@contextlib.asynccontextmanager
async def _stalling_tls() -> AsyncIterator[ProbeContext]:
    async with connected(silent()) as server:
        yield replace(context(f"https://127.0.0.1:{server.port}"), tls=trusting())


@contextlib.asynccontextmanager
async def _elsewhere() -> AsyncIterator[ProbeContext]:
    async with (
        scripted(lambda asked: reply(400 if "x-key" in asked.headers else 200)) as other,
        scripted(lambda _: reply(302, "", {"Location": f"{other.url}/there"})) as server,
    ):
        yield context(server.url)


def moved(location: str) -> Opens:
    return answering(reply(302, "", {"Location": location}))


FOLLOW: Mapping[str, object] = {"follow_redirects": True, "headers": {"X-Key": "secret"}}
CHUNKED = head(200, {"Transfer-Encoding": "chunked"})
ODD: Mapping[str, object] = {"expect": ["body.status == 'healthy'"]}
DEEP = b"[" * 100_000 + b"]" * 100_000
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
FIFTY = tuple(f"127.0.0.{number}" for number in range(2, 52))
THIRD_ALIVE = (*FIFTY[:2], "127.0.0.1", *FIFTY[3:])

CASES = (
    Case(name="refuses", opens=_refusing, reason="connect_failed"),
    Case(name="accepts and says nothing", opens=answering(silent()), reason="timed_out", deadline_seconds=SHORT),
    Case(
        name="one byte a second",
        opens=answering(drip(head(200, {"Content-Length": "9"}))),
        reason="timed_out",
        deadline_seconds=SHORT,
    ),
    Case(
        name="resets mid-body", opens=answering(reset(head(200, {"Content-Length": "100"}) + b"half")), reason="cut_off"
    ),
    Case(name="endless body", opens=answering(endless(head(200, {}))), reason="body_too_large"),
    Case(name="endless chunks", opens=answering(endless(CHUNKED, b"1\r\nx\r\n" * 4096)), reason="body_too_large"),
    Case(
        name="10 GB declared",
        opens=answering(then_silent(head(200, {"Content-Length": str(10**10)}))),
        reason="body_too_large",
    ),
    Case(
        name="gzip bomb",
        opens=answering(reply(200, gzip.compress(b"\0" * 50_000_000), {"Content-Encoding": "gzip"})),
        reason="body_too_large",
    ),
    Case(name="endless redirect", opens=moved("/x"), reason="too_many_redirects", keys=FOLLOW),
    Case(name="redirect to another origin", opens=_elsewhere, reason="ok", keys=FOLLOW),
    Case(name="redirect to file:", opens=moved("file:///etc/passwd"), reason="redirect_refused", keys=FOLLOW),
    Case(
        name="redirect to a link-local address",
        opens=moved("http://169.254.169.254/latest/meta-data/"),
        reason="redirect_refused",
        keys=FOLLOW,
    ),
    Case(name="1 MB header", opens=answering(reply(200, "", {"X-Long": "x" * 1_000_000})), reason="protocol_broken"),
    Case(
        name="endless headers",
        opens=answering(endless(b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n" * 1000)),
        reason="protocol_broken",
    ),
    Case(name="endless interim answers", opens=answering(endless(EARLY, EARLY * 99)), reason="protocol_broken"),
    Case(
        name="endless chunk extension",
        opens=answering(endless(CHUNKED + b"5;", b"x" * 4096)),
        reason="protocol_broken",
    ),
    Case(
        name="endless trailers",
        opens=answering(endless(CHUNKED + b"0\r\n", b"X-More: x\r\n" * 1000)),
        reason="protocol_broken",
    ),
    Case(name="bad status line", opens=answering(raw(b"HTTP/1.1 banana\r\n\r\n")), reason="protocol_broken"),
    Case(name="bad chunk", opens=answering(raw(CHUNKED + b"zz\r\nhello\r\n")), reason="protocol_broken"),
    Case(
        name="content length too large",
        opens=answering(raw(head(200, {"Content-Length": "9"}) + b"hello")),
        reason="cut_off",
    ),
    Case(
        name="content length too small",
        opens=answering(raw(head(200, {"Content-Length": "3"}) + b"hello")),
        reason="ok",
    ),
    Case(
        name="content length and chunks",
        opens=answering(raw(head(200, {"Content-Length": "3", "Transfer-Encoding": "chunked"}) + b"0\r\n\r\n")),
        reason="protocol_broken",
    ),
    Case(
        name="two content lengths",
        opens=answering(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nhello")),
        reason="protocol_broken",
    ),
    Case(
        name="another protocol",
        opens=answering(raw(head(101, {"Upgrade": "x", "Connection": "upgrade"}) + b"hi")),
        reason="protocol_broken",
    ),
    Case(name="invalid UTF-8", opens=answering(reply(200, b"\xff\xfe\xfd")), reason="condition_error", keys=ODD),
    Case(name="JSON nested deep", opens=answering(reply(200, DEEP)), reason="condition_error", keys=ODD),
    Case(name="expired certificate", opens=secured("127.0.0.1", -1), reason="tls_failed"),
    Case(name="self-signed certificate", opens=secured("127.0.0.1", by_itself=True), reason="tls_failed"),
    Case(name="wrong host's certificate", opens=secured("elsewhere.test"), reason="tls_failed"),
    Case(name="TLS that stalls", opens=_stalling_tls, reason="timed_out", deadline_seconds=SHORT),
    Case(name="HTTP/0.9", opens=answering(raw(b"<html>hello</html>")), reason="protocol_broken"),
    Case(name="early 103", opens=answering(raw(EARLY + head(200, {"Content-Length": "2"}) + b"hi")), reason="ok"),
    Case(name="200 with an error page", opens=answering(html(200)), reason="condition_error", keys=ODD),
    Case(name="DNS that fails", opens=named(Names(fails=Unreached.RESOLVE_FAILED)), reason="resolve_failed"),
    Case(name="DNS that is down", opens=named(Names(fails=Unreached.RESOLVER_FAILED)), reason="resolver_failed"),
    Case(name="DNS that is slow", opens=named(Names(slow=True)), reason="resolver_failed", deadline_seconds=SHORT),
    Case(name="50 addresses, none alive", opens=named(Names(hosts=FIFTY)), reason="connect_failed"),
    Case(
        name="50 addresses, the third alive",
        opens=named(Names(hosts=THIRD_ALIVE)),
        reason="ok",
    ),
)
