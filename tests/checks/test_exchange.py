"""One exchange over a fresh connection: what is told of it, whether it succeeds or not."""

import asyncio
import contextlib
import socket
import ssl
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.progress import Progress
from sidecar.wire import Answer, Family, Route, exchange, open_client
from tests.checks.hostile.names import Names
from tests.checks.hostile.servers import authority, certified, connected, trusting
from tests.scripted import Act, head, raw, reply, reset, scripted, silent, unused_port

PHASES = ("resolve", "connect", "tls", "processing", "transfer")


async def ask(url: str, route: Route | None = None, **keys: object) -> Answer:
    async with open_client(route=route or Route()) as client:
        return await exchange(client, "GET", url, timeout_seconds=5, **keys)  # type: ignore[arg-type]


async def failing(url: str, route: Route | None = None, timeout_seconds: float = 5) -> TargetUnreachable:
    async with open_client(route=route or Route()) as client:
        with pytest.raises(TargetUnreachable) as caught:
            await exchange(client, "GET", url, timeout_seconds=timeout_seconds)
    return caught.value


async def test_an_answer_tells_its_peer_its_version_and_every_phase() -> None:
    tls, ends_at = certified("127.0.0.1")
    async with scripted(lambda _: reply(200, "hello"), tls=tls) as server:
        answer = await ask(f"{server.url}/", Route(tls=trusting()))
    assert tuple(answer.phases) == PHASES
    assert (answer.address, answer.http_version, answer.transferred_bytes) == ("127.0.0.1", "HTTP/1.1", 5)
    assert answer.tls_version in {"TLSv1.3", "TLSv1.2"}
    assert answer.tls_cipher
    certificate = answer.certificate
    assert certificate is not None
    assert certificate.expires_at == answer.certificate_expires_at == ends_at
    assert certificate.alternative_names == ("127.0.0.1",)
    assert certificate.chain_expires_at is not None
    assert certificate.starts_at < datetime.now(UTC)
    assert len(certificate.fingerprint_sha256) == 64


@pytest.mark.parametrize(
    ("name", "days", "by_itself"), [("127.0.0.1", -3, False), ("127.0.0.1", 5, True), ("elsewhere.test", 5, False)]
)
async def test_a_certificate_that_is_not_trusted_is_known_all_the_same(
    name: str, days: int, *, by_itself: bool
) -> None:
    tls, ends_at = certified(name, days, by_itself=by_itself)
    async with scripted(lambda _: reply(200), tls=tls) as server:
        error = await failing(f"{server.url}/?token=x", Route(tls=trusting()))
    assert (error.cause, error.address) == (Unreached.TLS_FAILED, "127.0.0.1")
    assert error.certificate is not None
    assert error.certificate.expires_at == ends_at
    assert set(error.phases) == {"resolve", "connect", "tls"}
    assert server.asked == []


async def test_nothing_is_sent_over_the_connection_that_only_reads_the_certificate() -> None:
    tls, _ = certified("elsewhere.test")
    heard, ended = list[bytes](), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.read(1))
        finally:
            ended.set()

    async with connected(listen, tls=tls) as server:
        error = await failing(f"https://127.0.0.1:{server.port}/", Route(tls=trusting()))
        await ended.wait()
    assert error.certificate is not None
    assert b"".join(heard) == b""


async def test_a_second_look_that_hangs_changes_nothing_and_keeps_the_deadline() -> None:
    tls, _ = certified("elsewhere.test")
    connections = 0

    async def hang_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await writer.start_tls(tls)
        await reader.read()

    async with connected(hang_later) as server:
        error = await failing(f"https://127.0.0.1:{server.port}/", Route(tls=trusting()), timeout_seconds=0.3)
    assert (error.cause, error.certificate, connections) == (Unreached.TLS_FAILED, None, 2)


async def test_a_server_that_wants_our_certificate_gets_it_or_the_reason_is_tls() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1").configure_cert(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(tls)
    ours = ssl.create_default_context()
    authority().configure_trust(ours)
    authority().issue_cert("sidecar.test").configure_cert(ours)
    async with scripted(lambda _: reply(200), tls=tls) as server:
        assert (await ask(server.url, Route(tls=ours))).status == 200
    # With TLS 1.3 a client hears of it after it has asked, and the reset of a request unread may overtake the alert.
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.ensure_future(asyncio.to_thread(_refuse_one, listening, tls))
        error = await failing(f"https://127.0.0.1:{listening.getsockname()[1]}/", Route(tls=trusting()))
        await refusing
    assert error.cause is Unreached.TLS_FAILED


def _refuse_one(listening: socket.socket, tls: ssl.SSLContext) -> None:
    """Shake hands as most servers do: with an alert before the end, which asyncio's own leaves out."""
    connection, _ = listening.accept()
    with contextlib.suppress(ssl.SSLError), tls.wrap_socket(connection, server_side=True) as wrapped:
        wrapped.recv(1)


async def test_a_deadline_tells_how_far_it_came() -> None:
    async with scripted(lambda _: silent()) as server:
        error = await failing(server.url, timeout_seconds=0.2)
    assert (error.cause, set(error.phases)) == (Unreached.TIMED_OUT, {"resolve", "connect", "processing"})


async def test_only_addresses_of_the_wanted_family_are_used() -> None:
    async with scripted(lambda _: reply(200)) as server:
        answer = await ask(f"http://localhost:{server.port}/", Route(family=Family.IPV4))
        assert answer.address == "127.0.0.1"
        error = await failing(server.url, Route(family=Family.IPV6))
    assert error.cause is Unreached.RESOLVE_FAILED


async def test_a_name_with_50_addresses_is_tried_at_4_and_no_connection_is_left_open() -> None:
    async with scripted(lambda _: reply(200)) as server:
        hosts = [*(f"127.0.0.{number}" for number in range(2, 6)), "127.0.0.1"]
        async with open_client(resolver=Names(hosts=hosts)) as client:
            with pytest.raises(TargetUnreachable, match="ECONNREFUSED"):
                await exchange(client, "GET", f"http://x.test:{server.port}/", timeout_seconds=5)


async def test_a_proxy_forwards_plain_requests_and_is_told_who_asks() -> None:
    async with scripted(lambda _: reply(200, "by proxy")) as proxy:
        route = Route(proxy_url=f"http://user:pass%20word@127.0.0.1:{proxy.port}")
        answer = await ask("http://target.invalid/path?q=1", route)
    (asked,) = proxy.asked
    assert answer.content == b"by proxy"
    assert (asked.headers["host"], asked.headers["proxy-authorization"]) == (
        "target.invalid",
        "Basic dXNlcjpwYXNzIHdvcmQ=",
    )
    assert "pass" not in repr(route)


async def test_a_proxy_digs_a_tunnel_for_tls_and_sees_nothing_of_the_request() -> None:
    tls, _ = certified("target.test")
    told: list[bytes] = []

    async def dig(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.start_tls(tls)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head(200, {"Content-Length": "2"}) + b"hi")
        await writer.drain()

    async with connected(dig) as proxy:
        answer = await ask(
            "https://target.test/secret", Route(proxy_url=f"http://127.0.0.1:{proxy.port}", tls=trusting())
        )
    assert answer.content == b"hi"
    assert told == [b"CONNECT target.test:443 HTTP/1.1\r\nHost: target.test:443\r\n\r\n"]


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (raw(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), Unreached.CONNECT_FAILED),
        (raw(b""), Unreached.CONNECT_FAILED),
        (reset(), Unreached.CONNECT_FAILED),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000), Unreached.PROTOCOL_BROKEN),
        (raw(b"SSH-2.0\r\n\r\n"), Unreached.PROTOCOL_BROKEN),
        (raw(b"HTTP/1.1 200 OK\r\n\r\nand more"), Unreached.PROTOCOL_BROKEN),
    ],
)
async def test_a_proxy_that_digs_no_tunnel_is_told(act: Act, cause: Unreached) -> None:
    async with connected(act) as proxy:
        route = Route(proxy_url=f"http://127.0.0.1:{proxy.port}", tls=trusting())
        assert (await failing("https://target.test/", route)).cause is cause


@pytest.mark.parametrize(
    "proxy", ["https://h/", "http://", "socks5://h", "http://h/path", "http://us er:secret@h:port/"]
)
def test_a_proxy_that_cannot_be_spoken_to_is_refused_without_repeating_it(proxy: str) -> None:
    with pytest.raises(ValueError, match="the proxy") as caught:
        Route(proxy_url=proxy)
    assert "secret" not in str(caught.value)


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    async with scripted(lambda _: reply(200)) as server:
        assert (await ask(server.url)).status == 200


async def test_a_kept_connection_is_used_again_and_tells_the_same() -> None:
    tls, ends_at = certified("127.0.0.1")
    peers: set[int] = set()

    async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername")[1])
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head(200, {"Content-Length": "2"}) + b"hi")
            await writer.drain()

    async with (
        connected(answer_twice, tls=tls) as server,
        open_client(f"https://127.0.0.1:{server.port}", route=Route(tls=trusting(), keep_alive=True)) as client,
    ):
        first = await exchange(client, "GET", "/", timeout_seconds=5)
        second = await exchange(client, "GET", "/", timeout_seconds=5)
    assert len(peers) == 1
    assert (set(first.phases), set(second.phases)) == (set(PHASES) - {"resolve"}, {"processing", "transfer"})
    for answer in (first, second):
        assert answer.certificate_expires_at == ends_at
        assert (answer.address, answer.content, answer.transferred_bytes) == ("127.0.0.1", b"hi", 2)
        assert sum(answer.phases.values()) <= answer.duration_seconds


@pytest.mark.parametrize(
    "route", [Route(keep_alive=True, family=Family.IPV4), Route(keep_alive=True, proxy_url="http://h")]
)
def test_what_a_kept_connection_cannot_do_is_refused(route: Route) -> None:
    with pytest.raises(ValueError, match="kept connections"):
        open_client(route=route)


async def test_a_client_that_is_used_again_sends_what_it_is_asked_each_time() -> None:
    async with scripted(lambda _: reply(200)) as server, open_client(server.url, headers={"X-All": "1"}) as client:
        for number in (1, 2, 1):
            await exchange(
                client, "GET", "/", timeout_seconds=5, params={"n": f"{number}"}, headers={"X-N": f"{number}"}
            )
        await exchange(client, "POST", "/", timeout_seconds=5, content=b"body")
        await exchange(client, "GET", f"http://us%20er:word@127.0.0.1:{server.port}/", timeout_seconds=5)
    assert [(asked.query.get("n"), asked.headers.get("x-n"), asked.body) for asked in server.asked] == [
        ("1", "1", b""),
        ("2", "2", b""),
        ("1", "1", b""),
        (None, None, b"body"),
        (None, None, b""),
    ]
    assert all(asked.headers["x-all"] == "1" for asked in server.asked)
    assert server.asked[-1].headers["authorization"] == "Basic dXMgZXI6d29yZA=="


async def test_a_header_that_would_end_early_never_leaves() -> None:
    async with scripted(lambda _: reply(200)) as server, open_client() as client:
        with pytest.raises(TargetUnreachable) as caught:
            await exchange(client, "GET", server.url, timeout_seconds=5, headers={"X-A": "secret\r\nX-B: 1"})
    assert caught.value.cause is Unreached.LOCAL_FAULT
    assert "secret" not in str(caught.value)
    assert server.asked == []


async def test_no_file_descriptor_left_is_our_own_fault() -> None:
    import resource  # noqa: PLC0415  # Unix alone has it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with scripted(lambda _: reply(200)) as server, open_client() as client:
        with socket.socket() as highest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), hard))
        try:
            with pytest.raises(TargetUnreachable) as caught:
                await exchange(client, "GET", server.url, timeout_seconds=5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.cause is Unreached.LOCAL_FAULT


async def test_an_answer_to_head_has_no_body_whatever_it_announces() -> None:
    async with scripted(lambda _: raw(head(200, {"Content-Length": str(10**9)}))) as server, open_client() as client:
        answer = await exchange(client, "HEAD", server.url, timeout_seconds=5)
    assert (answer.status, answer.content) == (200, b"")


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_is_whole_at_once(status: int) -> None:
    async with scripted(lambda _: raw(head(status, {}))) as server:
        assert (await ask(server.url)).status == status


async def test_a_body_that_is_sent_is_sent_whole() -> None:
    body = bytes(range(256)) * 8192
    async with scripted(lambda asked: reply(200, asked.body)) as server, open_client() as client:
        answer = await exchange(client, "POST", server.url, timeout_seconds=10, content=body)
    assert answer.content == body


async def test_a_body_that_nobody_takes_is_not_read() -> None:
    written, full = 0, asyncio.Event()

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(head(200, {}))
        writer.transport.set_write_buffer_limits(0)
        while written < 50_000_000:
            if not writer.transport.get_write_buffer_size():
                written += 65_536
                writer.write(b"x" * 65_536)
            else:
                full.set()
            await asyncio.sleep(0)

    async with scripted(lambda _: flood) as server, open_client() as client:
        response = await client.send(client.build_request("GET", server.url), stream=True)
        await full.wait()
        for _ in range(2000):  # of the loop: whoever reads on would read on now
            await asyncio.sleep(0)
        await response.aclose()
    assert written < 30_000_000


@given(st.lists(st.tuples(st.sampled_from((*PHASES, None)), st.floats(0, 1e6)), max_size=30))
def test_phases_never_take_longer_than_the_whole(steps: list[tuple[str | None, float]]) -> None:
    instants = sorted(at for _, at in steps)
    progress = Progress()
    for (phase, _), at in zip(steps, instants, strict=True):
        progress.enter(phase, at)
    progress.enter(None, instants[-1] if instants else 0.0)
    whole = instants[-1] - instants[0] if instants else 0.0
    assert sum(progress.seconds().values()) <= whole * (1 + 1e-9) + 1e-6
    assert all(seconds >= 0 for seconds in progress.seconds().values())


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 400), max_size=12), size=st.integers(0, 500), share=st.sampled_from([1, 2]))
def test_the_phases_of_any_answer_add_up_to_no_more_than_its_duration(cuts: list[int], size: int, share: int) -> None:
    content = head(200, {"Content-Length": str(size)}) + b"x" * (size // share)

    async def in_pieces(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rest = content
        for cut in cuts:
            writer.write(rest[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            rest = rest[cut:]
        writer.write(rest)

    async def run() -> None:
        async with scripted(lambda _: in_pieces) as server, open_client() as client:
            loop = asyncio.get_running_loop()
            started = loop.time()
            if size // share == size:
                answer = await exchange(client, "GET", server.url, timeout_seconds=5)
                assert sum(answer.phases.values()) <= answer.duration_seconds
                return
            with pytest.raises(TargetUnreachable) as caught:
                await exchange(client, "GET", server.url, timeout_seconds=5)
            assert caught.value.cause is Unreached.CUT_OFF
            assert sum(caught.value.phases.values()) <= loop.time() - started

    asyncio.run(run())
