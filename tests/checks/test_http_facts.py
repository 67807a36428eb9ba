"""What a look tells beside its verdict: enough to act upon, bounded, and no secret."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from sidecar.checks.http_facts import HEADERS_AT_MOST, shown_headers
from sidecar.domain.check import Observation
from sidecar.verbs.tracing import trace_lines
from sidecar.web.blackbox import Told
from tests.checks.cast import check, context, look_http
from tests.checks.hostile.servers import authority, certified
from tests.scripted import Act, reply, scripted

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl"


async def look(act: Act, **keys: object) -> Observation:
    async with scripted(lambda _: act) as server:
        return await look_http(context(server.url), {"url": "/", **keys})


async def test_every_fact_of_an_answer_over_tls_is_there_and_shown_everywhere(tmp_path: Path) -> None:
    tls, ends_at = certified("127.0.0.1")
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    headers = {"Content-Encoding": "gzip", "Last-Modified": "Sat, 28 Nov 2026 12:00:00 GMT"}
    async with scripted(lambda _: reply(200, gzip.compress(b"x" * 500), headers), tls=tls) as server:
        keys = {"url": f"{server.url}/", "tls": {"ca_file": str(tmp_path / "ca.pem")}, "expect": ["status == 201"]}
        seen = await look_http(context(), keys)
    assert set(seen.facts) == {
        "status", "redirects", "size_bytes", "transferred_bytes", "http_version", "address", "tls_version",
        "tls_cipher", "final_url_scheme", "condition", "last_modified", "headers", "certificate",
    }  # fmt: skip
    assert seen.facts["size_bytes"] == 500
    assert int(str(seen.facts["transferred_bytes"])) < 100
    assert (seen.facts["final_url_scheme"], seen.facts["last_modified"]) == ("https", "2026-11-28T12:00:00+00:00")
    certificate = seen.facts["certificate"]
    assert isinstance(certificate, dict)
    assert set(certificate) == {
        "subject", "issuer", "alternative_names", "serial", "fingerprint_sha256", "expires_at", "chain_expires_at",
    }  # fmt: skip
    assert certificate["alternative_names"] == ["127.0.0.1"]
    told = probed(seen)
    for name in ("tls_version_info", "tls_cipher_info", "ssl_last_chain_info", "http_version", "ip_protocol"):
        assert f"\nprobe_{name}" in told
    assert f"probe_ssl_last_chain_expiry_timestamp_seconds {exact(ends_at)}" in told
    assert "probe_http_last_modified_timestamp_seconds 1.7958672e+09" in told
    trace = "\n".join(trace_lines(check("http", None), seen))
    for words in (
        "127.0.0.1, HTTP/1.1, https",
        "TLSv1.3",
        "certificate  subject",
        "header       content-encoding: gzip",
    ):
        assert words in trace
    assert "because      status == 201: status is 200" in trace


def probed(seen: Observation) -> str:
    registry = CollectorRegistry()
    registry.register(Told(check("http", None), seen))
    return generate_latest(registry).decode()


def exact(at: datetime) -> str:
    return str(at.timestamp()) if at.timestamp() < 1e9 else f"{at.timestamp():.9e}".rstrip("0").rstrip("e+09")


async def test_headers_are_masked_by_their_name_and_by_what_they_hold() -> None:
    sent = {
        "Set-Cookie": "session=abc",
        "Authorization": "abc",
        "apikey": "abc",
        "X-Api-Key": "abc",
        "X-Note": f"your key is {JWT}",
        "X-Mail": "somebody@velro.example",
        "X-Echo": "it was own-value-sent",
        "Location": "https://velro.example/reset?code=abc#access_token=abc",
        "WWW-Authenticate": 'Bearer realm="velro"',
        "Access-Control-Allow-Credentials": "true",
    }
    seen = await look(reply(401, "", sent), headers={"X-Own": "own-value-sent"})
    told = seen.facts["headers"]
    assert isinstance(told, dict)
    masked = "[masked]"
    assert {name: told[name.lower()] for name in sent} == {
        "Set-Cookie": masked,
        "Authorization": masked,
        "apikey": masked,
        "X-Api-Key": masked,
        "X-Note": f"your key is {masked}",
        "X-Mail": masked,
        "X-Echo": masked,
        "Location": "https://velro.example/reset",
        "WWW-Authenticate": told["www-authenticate"],
        "Access-Control-Allow-Credentials": "true",
    }
    assert "realm" in str(told["www-authenticate"])


async def test_what_a_body_or_a_query_held_is_not_told_when_it_comes_back() -> None:
    sent = {"email": "canary-user", "password": "a long password", "nested": [{"otp": "otp-98765432"}]}
    back = {"note": "sorry, canary-user", "why": "a long password?", "link": "/x?ticket=ticket-1234"}
    act = reply(422, back, {"Content-Location": "/x?ticket=ticket-1234", "X-Why": "otp-98765432"})
    expect = ["body.note == '' || body.why == '' || body.link == ''"]
    async with scripted(lambda _: act) as server:
        keys = {"url": "/x?ticket=ticket-1234", "method": "POST", "body": sent, "expect": expect}
        seen = await look_http(context(server.url), keys)
    assert seen.detail.endswith(": body.note is [masked], body.why is [masked], body.link is [masked]")
    for secret in ("canary-user", "a long password", "otp-98765432", "ticket-1234"):
        assert secret not in repr(seen)


def test_headers_are_few_and_short_whatever_comes() -> None:
    many = {f"x-{number}": "x" * 10_000 for number in range(500)} | {"x" * 5000: "y"}
    told = shown_headers(many, ())
    assert len(told) == HEADERS_AT_MOST
    assert all(len(name) <= 200 and len(str(value)) <= 201 for name, value in told.items())


async def test_a_failed_condition_tells_its_values() -> None:
    act = reply(503, {"status": "degraded", "token": "abc"})
    seen = await look(act, expect=["status == 200 && latency_seconds < 2.0"])
    assert seen.detail.startswith("status == 200 && latency_seconds < 2.0: status is 503, latency_seconds is 0.0")
    seen = await look(act, expect=['body.status == "healthy" && body.token == ""'])
    assert seen.detail.endswith(': body.status is "degraded", body.token is [masked]')
    assert len((await look(act, expect=["status == 200 || " + "status == 200 || " * 100 + "false"])).detail) < 400


async def test_all_five_phases_can_be_judged_without_tls() -> None:
    names = ("resolve", "connect", "tls", "processing", "transfer")
    seen = await look(reply(200), expect=[f"phases.{name} < 5.0" for name in names])
    assert seen.reason == "ok", seen
    assert "tls" not in seen.phases


async def test_a_certificate_can_be_judged_whole(tmp_path: Path) -> None:
    tls, _ = certified("127.0.0.1")
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    expect = [
        "certificate.expires_in_seconds > 8.0 * 86400.0",
        "certificate.chain_expires_in_seconds <= certificate.expires_in_seconds",
        "timestamp(certificate.starts_at) < timestamp(certificate.expires_at)",
        "'127.0.0.1' in certificate.alternative_names",
        "certificate.subject != '' && certificate.issuer.contains('Testing CA')",
    ]
    async with scripted(lambda _: reply(200), tls=tls) as server:
        keys = {"url": f"{server.url}/", "tls": {"ca_file": str(tmp_path / "ca.pem")}, "expect": expect}
        seen = await look_http(context(), keys)
    assert seen.reason == "ok", seen


async def test_an_odd_date_of_modification_is_left_out() -> None:
    for odd in ("yesterday", "", "Sat, 99 Nov 2026 12:00:00 GMT", "Sat, 28 Nov 2026 12:00:00 -0000"):
        assert "last_modified" not in (await look(reply(200, "", {"Last-Modified": odd}))).facts
    assert datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp() == 1_795_867_200
