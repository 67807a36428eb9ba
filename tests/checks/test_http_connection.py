"""How an `http` check connects: as it was told to, and telling nobody who asks who need not know."""

import asyncio
import base64
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.checks.context import ProbeContext
from sidecar.checks.http import HttpProbe
from sidecar.checks.http_keys import HttpKeys
from sidecar.domain.check import Observation, Verdict
from sidecar.transport.observing import observed_by
from tests.checks.cast import check, context, look_http
from tests.checks.hostile.names import Names
from tests.checks.hostile.servers import authority, certified
from tests.scripted import Act, Asked, Scripted, reply, scripted

SECRET = "a-secret-nobody-may-see"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority, and a certificate of ours with its key."""
    folder = tmp_path_factory.mktemp("tls")
    ours = authority().issue_cert("sidecar.test")
    authority().cert_pem.write_to_path(folder / "ca.pem")
    ours.cert_chain_pems[0].write_to_path(folder / "ours.pem")
    ours.private_key_pem.write_to_path(folder / "ours.key")
    ours.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    return folder


def tls_keys(files: Path, **keys: object) -> dict[str, object]:
    return {"ca_file": str(files / "ca.pem"), **keys}


def wanting_ours() -> ssl.SSLContext:
    """A server that talks only to whoever shows a certificate of the authority."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1").configure_cert(tls)
    authority().configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    return tls


async def look(server: Scripted, around: ProbeContext | None = None, **keys: object) -> Observation:
    return await look_http(around or context(server.url), {"url": f"{server.url}/", **keys})


async def test_an_authority_of_ones_own_is_trusted_and_nobody_else(files: Path) -> None:
    tls, ends_at = certified("127.0.0.1")
    strange, _ = certified("127.0.0.1", 5, by_itself=True)
    async with scripted(lambda _: reply(200), tls=tls) as server, scripted(lambda _: reply(200), tls=strange) as other:
        seen = await look(server, tls=tls_keys(files))
        refused = await look(other, tls=tls_keys(files))
    assert (seen.reason, seen.expires_at) == ("ok", ends_at)
    assert (refused.reason, refused.verdict) == ("tls_failed", Verdict.UNHEALTHY)


@pytest.mark.parametrize("days", [-3, 5])
async def test_who_verifies_nothing_is_answered_by_anybody_and_still_sees_the_end(days: int) -> None:
    tls, ends_at = certified("elsewhere.test", days)
    async with scripted(lambda _: reply(200), tls=tls) as server:
        seen = await look(server, tls={"verify": False})
    assert (seen.reason, seen.expires_at) == ("ok", ends_at)
    assert seen.facts["certificate"]["chain_expires_at"] is None  # type: ignore[index,call-overload]


async def test_a_certificate_that_has_expired_is_told_with_its_end_and_how_far_it_came(files: Path) -> None:
    tls, ends_at = certified("127.0.0.1", -3)
    async with scripted(lambda _: reply(200), tls=tls) as server:
        seen = await look(server, tls=tls_keys(files))
    assert (seen.reason, seen.expires_at) == ("tls_failed", ends_at)
    assert (set(seen.phases), seen.facts["address"]) == ({"resolve", "connect", "tls"}, "127.0.0.1")
    assert seen.facts["certificate"]["expires_at"] == ends_at.isoformat()  # type: ignore[index,call-overload]
    assert "status" not in seen.facts


@pytest.mark.parametrize("ours", [("ours.pem", "ours.key"), ("both.pem",)])
async def test_a_server_that_wants_our_certificate_gets_it(files: Path, ours: tuple[str, ...]) -> None:
    keys = dict(zip(("client_certificate_file", "client_key_file"), (str(files / name) for name in ours), strict=False))
    async with scripted(lambda _: reply(200), tls=wanting_ours()) as server:
        assert (await look(server, tls=tls_keys(files, **keys))).reason == "ok"
        assert (await look(server, tls=tls_keys(files))).reason != "ok"


async def test_our_certificate_is_not_shown_to_where_a_redirect_leads(files: Path) -> None:
    ours = {"client_certificate_file": str(files / "both.pem")}
    async with scripted(lambda _: reply(200), tls=wanting_ours()) as other:
        moved = reply(302, "", {"Location": f"{other.url}/"})
        async with scripted(lambda _: moved, tls=wanting_ours()) as server:
            seen = await look(server, tls=tls_keys(files, **ours), follow_redirects=True)
        assert other.asked == []
    assert (seen.reason != "ok", seen.facts["redirects"], seen.facts["status"]) == (True, 1, 302)


@pytest.mark.parametrize("keep_alive", [False, True])
async def test_the_name_in_the_certificate_may_be_another_than_the_hosts(files: Path, *, keep_alive: bool) -> None:
    tls, _ = certified("inside.test")
    named: list[str | None] = []
    tls.sni_callback = lambda _tls, name, _context: named.append(name)
    async with scripted(lambda _: reply(200), tls=tls) as server:
        around = context(server.url)
        async with around.closing:
            keys = {"tls": tls_keys(files, server_name="inside.test"), "keep_alive": keep_alive}
            assert (await look(server, around, **keys)).reason == "ok"
            assert (await look(server, around, tls=tls_keys(files))).reason == "tls_failed"
    tls.sni_callback = None
    assert named[0] == "inside.test"


async def test_only_addresses_of_the_wanted_family_are_used() -> None:
    async with scripted(lambda _: reply(200)) as server:
        seen = await look_http(context(), {"url": f"http://localhost:{server.port}/", "family": "ipv4"})
        other = await look(server, family="ipv6")
    assert (seen.reason, seen.facts["address"]) == ("ok", "127.0.0.1")
    assert other.reason == "resolve_failed"


async def test_a_proxy_is_used_where_it_is_named_and_its_password_is_never_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "proxy").write_text("http://nobody:here@127.0.0.1:1")
    async with scripted(lambda _: reply(407)) as proxy, scripted(lambda _: reply(200)) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert (await look(server)).reason == "ok"
        assert proxy.asked == []
        url = f"http://sidecar:{SECRET}@127.0.0.1:{proxy.port}"
        seen = await look(server, proxy=url)
        unreachable = await look(server, proxy=f"file:{tmp_path / 'proxy'}")
    assert (seen.reason, seen.facts["status"]) == ("condition_failed", 407)
    assert proxy.asked[0].headers["proxy-authorization"].startswith("Basic ")
    assert unreachable.reason == "connect_failed"
    assert SECRET not in repr((seen, HttpKeys.model_validate({"url": "/", "proxy": url}).to_spec()))


async def test_a_connection_is_kept_only_where_that_is_wished() -> None:
    connections: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    around = context()
    probe = HttpProbe(around)
    async with server, around.closing:
        for keep_alive, expected in ((False, 2), (True, 3)):
            spec = HttpKeys.model_validate({"url": url, "keep_alive": keep_alive}).to_spec()
            for _ in range(2):
                seen = await probe(check("http", spec))
                assert (seen.reason, seen.facts["address"]) == ("ok", "127.0.0.1")
            assert len(connections) == expected


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ({"bearer": SECRET}, f"Bearer {SECRET}"),
        (
            {"basic": {"username": "me", "password": f"{SECRET}: ü"}},
            f"Basic {base64.b64encode(f'me:{SECRET}: ü'.encode()).decode()}",
        ),
    ],
)
async def test_credentials_are_sent_and_never_told(auth: object, sent: str) -> None:
    def script(asked: Asked) -> Act:
        said = asked.headers["authorization"]
        return reply(401, {"echo": said, "alone": said.partition(" ")[2]}, {"X-Echo": said, "X-Alone": said[7:]})

    async with scripted(script) as server:
        expect = ["body.echo == '' || body.alone == '' || headers['x-alone'] == ''"]
        seen = await look(server, auth=auth, expect=expect)
    assert server.asked[0].headers["authorization"] == sent
    assert seen.reason == "condition_failed"
    assert "body.echo is [masked], body.alone is [masked]" in seen.detail
    spec = HttpKeys.model_validate({"url": "/", "auth": auth}).to_spec()
    for told in (repr(seen), repr(spec)):
        assert SECRET not in told
        assert sent.partition(" ")[2] not in told


async def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    keys = {"auth": {"bearer": "file:token"}, "headers": {"X-Key": "file:token"}}
    async with scripted(lambda _: reply(200)) as server:
        spec = HttpKeys.model_validate({"url": f"{server.url}/", **keys}, context={"folder": tmp_path}).to_spec()
        await HttpProbe(context())(check("http", spec))
    (asked,) = server.asked
    assert (asked.headers["authorization"], asked.headers["x-key"]) == (f"Bearer {SECRET}", SECRET)


def test_checks_with_the_same_files_share_what_was_made_of_them(files: Path) -> None:
    keys = {"url": "/", "tls": tls_keys(files, client_certificate_file=str(files / "both.pem"))}
    one, other = (HttpKeys.model_validate(keys).to_spec() for _ in range(2))
    assert one == other
    assert one.connection.home.tls is other.connection.home.tls
    assert one.connection.home.tls is not one.connection.away.tls


class Noting:
    """An observer that names each exchange to its target."""

    headers: dict[str, str] = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}  # noqa: RUF012

    def answered(self, *_: object) -> None:
        """Nothing to note."""

    def failed(self, _: BaseException) -> None:
        """Nothing to note."""


async def test_a_trace_is_told_to_the_own_origin_and_to_no_other() -> None:
    async with scripted(lambda _: reply(200)) as other:

        def script(asked: Asked) -> Act:
            return reply(302, "", {"Location": "/on" if asked.path == "/" else f"{other.url}/"})

        async with scripted(script) as server:
            with observed_by(lambda *_: Noting()):
                seen = await look(server, follow_redirects=True)
    assert (seen.reason, seen.facts["redirects"]) == ("ok", 2)
    assert ["traceparent" in asked.headers for asked in (*server.asked, *other.asked)] == [True, True, False]


async def test_what_comes_back_from_another_origin_is_told_nothing_either() -> None:
    def elsewhere(_: Asked) -> Act:
        return reply(302, "", {"Location": f"{servers[0].url}/again"})

    servers: list[Scripted] = []
    async with scripted(elsewhere) as other:

        def script(asked: Asked) -> Act:
            return reply(200) if asked.path == "/again" else reply(302, "", {"Location": f"{other.url}/"})

        async with scripted(script) as server:
            servers.append(server)
            with observed_by(lambda *_: Noting()):
                await look(server, follow_redirects=True, auth={"bearer": SECRET}, headers={"Cookie": SECRET})
    told = [{"traceparent", "authorization", "cookie"} & asked.headers.keys() for asked in server.asked]
    assert told == [{"traceparent", "authorization", "cookie"}, set()]


async def test_names_are_resolved_by_the_contexts_resolver() -> None:
    async with scripted(lambda _: reply(200)) as server:
        names = Names()
        seen = await look_http(replace(context(), resolver=names), {"url": f"http://one.test:{server.port}/"})
    assert (seen.reason, names.asked) == ("ok", ["one.test"])
