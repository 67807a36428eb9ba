"""The kind `http` against hostile servers: the right reason, within the deadline, and nothing secret told."""

import asyncio
import gzip
import json
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from pydantic import ValidationError

from sidecar.checks.http_keys import HttpKeys
from sidecar.domain.check import Observation, Verdict
from tests.checks.cast import context, look_http
from tests.scripted import (
    Act,
    Asked,
    endless,
    head,
    html,
    raw,
    reply,
    reset,
    scripted,
    silent,
    then_silent,
    unused_port,
)

SECRET = "a-secret-nobody-may-see"
DEADLINE = 0.5


async def look(act: Act, timeout_seconds: float = 5.0, **keys: object) -> Observation:
    async with scripted(lambda _: act) as server:
        return await look_http(context(server.url), {"url": "/x", **keys}, timeout_seconds)


async def test_an_answer_as_expected_is_healthy_and_timed() -> None:
    seen = await look(reply(200, {"status": "ok"}), expect=["status == 200", 'body.status == "ok"'])
    assert (seen.reason, seen.verdict) == ("ok", Verdict.HEALTHY)
    assert seen.facts == {
        "redirects": 0,
        "status": 200,
        "size_bytes": 16,
        "transferred_bytes": 16,
        "http_version": "HTTP/1.1",
        "address": "127.0.0.1",
        "final_url_scheme": "http",
        "headers": {
            "content-type": "application/json; charset=utf-8",
            "content-length": "16",
            "connection": "close",
        },
    }
    assert set(seen.phases) == {"resolve", "connect", "processing", "transfer"}
    assert sum(seen.phases.values()) <= seen.duration_seconds


@pytest.mark.parametrize(
    ("status", "reason"), [(200, "ok"), (204, "ok"), (301, "condition_failed"), (503, "condition_failed")]
)
async def test_without_conditions_any_2xx_will_do(status: int, reason: str) -> None:
    assert (await look(reply(status))).reason == reason


async def test_the_condition_that_failed_is_told_with_its_values_and_no_secret() -> None:
    seen = await look(reply(503, {"token": SECRET}), expect=["status >= 500", 'body.token == "x" && status == 503'])
    assert (seen.reason, seen.verdict) == ("condition_failed", Verdict.UNHEALTHY)
    assert seen.facts["condition"] == 'body.token == "x" && status == 503'
    assert seen.detail == 'body.token == "x" && status == 503: body.token is [masked], status is 503'
    assert SECRET not in repr(seen)


async def test_a_condition_that_cannot_be_evaluated_is_unhealthy() -> None:
    seen = await look(html(200), expect=["body.status == 'ok'"])
    assert (seen.reason, seen.verdict) == ("condition_error", Verdict.UNHEALTHY)


HOSTILE: tuple[tuple[str, Act, str], ...] = (
    ("closes at once", raw(b""), "cut_off"),
    ("resets at once", reset(), "cut_off"),
    ("resets amid the body", reset(head(200, {"Content-Length": "100"}) + b"half"), "cut_off"),
    ("closes amid the body", raw(head(200, {"Content-Length": "100"}) + b"half"), "cut_off"),
    ("closes amid the chunks", raw(head(200, {"Transfer-Encoding": "chunked"}) + b"5\r\nhel"), "cut_off"),
    ("silent", silent(), "timed_out"),
    ("silent after the headers", then_silent(head(200, {"Content-Length": "100"})), "timed_out"),
    ("silent amid the body", then_silent(head(200, {"Content-Length": "100"}) + b"half"), "timed_out"),
    ("not HTTP", raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "protocol_broken"),
    ("bad length", raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), "protocol_broken"),
    ("endless headers", endless(b"HTTP/1.1 200 OK\r\n", b"X-Padding: " + b"x" * 4096 + b"\r\n"), "protocol_broken"),
    ("endless body", endless(head(200, {"Content-Type": "text/plain"})), "body_too_large"),
    ("large body announced", raw(head(200, {"Content-Length": "99999999"}) + b"x" * 3_000_000), "body_too_large"),
    ("not the gzip it claims", reply(200, b"plain", {"Content-Encoding": "gzip"}), "protocol_broken"),
    ("half a gzip", reply(200, gzip.compress(b"x" * 999)[:-12], {"Content-Encoding": "gzip"}), "cut_off"),
    ("gzip bomb", reply(200, gzip.compress(b"\0" * 50_000_000), {"Content-Encoding": "gzip"}), "body_too_large"),
    (
        "bomb in a bomb",
        reply(200, gzip.compress(gzip.compress(b"\0" * 50_000_000)), {"Content-Encoding": "gzip, gzip"}),
        "protocol_broken",
    ),
    ("a coding nobody asked for", reply(200, b"x", {"Content-Encoding": "br"}), "protocol_broken"),
)


@pytest.mark.parametrize(("act", "reason"), [pytest.param(act, reason, id=name) for name, act, reason in HOSTILE])
async def test_a_hostile_target_is_unhealthy_with_the_right_reason_within_the_deadline(act: Act, reason: str) -> None:
    timeout_seconds = DEADLINE if reason == "timed_out" else 20.0
    seen = await asyncio.wait_for(look(act, timeout_seconds), 25)
    assert (seen.reason, seen.verdict) == (reason, Verdict.UNHEALTHY), seen
    if reason == "timed_out":
        assert DEADLINE <= seen.duration_seconds < DEADLINE + 2


async def test_a_target_that_drips_cannot_outlive_the_deadline() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Length": "1000"}))
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    seen = await look(drip, DEADLINE)
    assert seen.reason == "timed_out"
    assert seen.duration_seconds < DEADLINE + 2


async def test_nobody_listening_and_no_such_name() -> None:
    refused = await look_http(context(), {"url": f"http://127.0.0.1:{unused_port()}/"})
    assert (refused.reason, refused.verdict) == ("connect_failed", Verdict.UNHEALTHY)
    absent = await look_http(context(), {"url": "http://nobody.invalid/"})
    assert (absent.reason, absent.verdict) in {
        ("resolve_failed", Verdict.UNHEALTHY),
        ("resolver_failed", Verdict.UNKNOWN),  # where no resolver is reachable
    }


async def test_compressed_answers_are_read_whole() -> None:
    body = json.dumps({"n": list(range(9000))}).encode()
    parts = gzip.compress(body[:7000]) + gzip.compress(body[7000:])
    seen = await look(reply(200, parts, {"Content-Encoding": "gzip"}), expect=["size(body.n) == 9000"])
    assert seen.reason == "ok", seen
    assert seen.facts["size_bytes"] == len(body)


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\xfd", b"[" * 200_000, b"{", b"NaN", b'{"n": 1e99999999999999999999}', b'"\\ud800"', b"9" * 9000],
    ids=["invalid UTF-8", "nested deep", "half", "NaN", "huge exponent", "lone surrogate", "huge integer"],
)
async def test_odd_bodies_are_judged_and_never_break_the_probe(content: bytes) -> None:
    seen = await look(reply(200, content), expect=["status == 200", "text != 'x'", "body == null || body != 'x'"])
    assert seen.reason in {"ok", "condition_error"}


async def test_bytes_that_are_not_utf_8_in_headers_do_no_harm() -> None:
    seen = await look(
        raw(b"HTTP/1.1 200 OK\r\nX-Odd: \xff\xfe\r\nContent-Length: 0\r\n\r\n"), expect=["'x-odd' in headers"]
    )
    assert seen.reason == "ok", seen


async def test_retry_after_of_a_busy_target_is_passed_on() -> None:
    seen = await look(reply(503, "", {"Retry-After": "17"}))
    assert seen.retry_after_seconds == 17.0
    assert (await look(reply(200, "", {"Retry-After": "17"}))).retry_after_seconds is None


async def test_a_redirect_is_an_answer_like_any_other_unless_it_is_to_be_followed() -> None:
    moved = reply(302, "", {"Location": "/elsewhere"})
    seen = await look(moved, expect=["status == 302", "headers.location == '/elsewhere'"])
    assert (seen.reason, seen.facts["redirects"]) == ("ok", 0)


async def test_redirects_are_followed_to_their_end_and_counted() -> None:
    def script(asked: Asked) -> Act:
        step = int(asked.path.removeprefix("/"))
        return reply(302, "", {"Location": f"/{step + 1}"}) if step < 5 else reply(200, {"at": step})

    async with scripted(script) as server:
        seen = await look_http(context(server.url), {"url": "/0", "follow_redirects": True, "expect": ["body.at == 5"]})
    assert (seen.reason, seen.facts["redirects"]) == ("ok", 5), seen


async def test_a_loop_of_redirects_ends() -> None:
    seen = await look(reply(302, "", {"Location": "/x"}), follow_redirects=True)
    assert (seen.reason, seen.verdict, seen.facts["redirects"]) == ("too_many_redirects", Verdict.UNHEALTHY, 5)


async def test_one_deadline_spans_all_redirects() -> None:
    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(head(302, {"Location": "/x", "Content-Length": "0", "Connection": "close"}))
        await writer.drain()

    seen = await look(slow, DEADLINE, follow_redirects=True)
    assert seen.reason == "timed_out"
    assert seen.duration_seconds < DEADLINE + 2


@pytest.mark.parametrize("location", ["//", "http://127.0.0.1:65536/", "", "http:///x"])
async def test_a_location_that_leads_nowhere_leaves_the_redirect_as_the_answer(location: str) -> None:
    seen = await look(reply(302, "", {"Location": location}), follow_redirects=True, expect=["status == 302"])
    assert seen.reason in {"ok", "too_many_redirects"}  # httpx reads some of these as the same address


async def test_configured_headers_stay_with_their_origin() -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "X-Key": SECRET}
    async with (
        scripted(lambda _: reply(200)) as other,
        scripted(
            lambda asked: (
                reply(302, "", {"Location": f"http://user:{SECRET}@127.0.0.1:{other.port}/there"})
                if asked.path == "/far"
                else (reply(302, "", {"Location": "/there"}) if asked.path == "/near" else reply(200))
            )
        ) as server,
    ):
        far = await look_http(context(server.url), {"url": "/far", "headers": headers, "follow_redirects": True})
        near = await look_http(context(server.url), {"url": "/near", "headers": headers, "follow_redirects": True})
    assert (far.reason, near.reason) == ("ok", "ok")
    assert [{"authorization", "x-key"} & asked.headers.keys() for asked in other.asked] == [set()]
    assert [asked.headers["x-key"] for asked in server.asked] == [SECRET, SECRET, SECRET]
    assert SECRET not in repr((far, near))


@pytest.mark.parametrize(
    ("status", "method", "body"), [(302, "GET", b""), (303, "GET", b""), (307, "POST", b"hi"), (308, "POST", b"hi")]
)
async def test_a_redirected_post_keeps_its_method_and_body_only_where_the_status_says_so(
    status: int, method: str, body: bytes
) -> None:
    async with scripted(
        lambda asked: reply(status, "", {"Location": "/there"}) if asked.path == "/x" else reply(200)
    ) as server:
        keys = {"url": "/x", "method": "post", "body": "hi", "follow_redirects": True}
        assert (await look_http(context(server.url), keys)).reason == "ok"
    assert (server.asked[1].method, server.asked[1].body) == (method, body)


async def test_a_body_is_never_carried_to_another_origin() -> None:
    async with scripted(lambda _: reply(200)) as other:
        seen = await look(
            reply(307, "", {"Location": f"{other.url}/there"}), method="POST", body=SECRET, follow_redirects=True
        )
        assert other.asked == []
    assert seen.facts["status"] == 307


async def test_the_request_is_sent_as_written() -> None:
    async with scripted(lambda _: reply(201)) as server:
        keys = {"url": f"{server.url}/a?b=c%20d", "method": "PUT", "body": {"n": 1}, "headers": {"X-One": "1"}}
        assert (await look_http(context(), keys)).reason == "ok"
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.query, json.loads(asked.body)) == ("PUT", "/a", {"b": "c d"}, {"n": 1})
    assert (asked.headers["content-type"], asked.headers["x-one"]) == ("application/json", "1")
    assert asked.headers["user-agent"].startswith("supabase-sidecar/")


async def test_a_certificate_of_an_unknown_authority_is_a_tls_failure() -> None:
    seen, _ = await look_tls(trusted=False)
    assert (seen.reason, seen.verdict) == ("tls_failed", Verdict.UNHEALTHY)


async def test_the_certificate_can_be_judged_and_its_end_is_told() -> None:
    seen, expires_at = await look_tls(trusted=True)
    assert seen.reason == "ok", seen
    assert seen.expires_at == expires_at
    assert "tls" in seen.phases


async def look_tls(*, trusted: bool) -> tuple[Observation, datetime]:
    authority = trustme.CA()
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    certificate = authority.issue_cert("127.0.0.1", not_after=expires_at)
    server_tls, client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    certificate.configure_cert(server_tls)
    if trusted:
        authority.configure_trust(client_tls)
    expect = [
        "certificate.expires_in_seconds > 8.0 * 86400.0",
        "timestamp(certificate.expires_at).getFullYear() > 2000",
    ]
    async with scripted(lambda _: reply(200), tls=server_tls) as server:
        around = replace(context(server.url), tls=client_tls)
        return await look_http(around, {"url": "/", "expect": expect}), expires_at


async def test_a_path_without_a_backend_says_nothing_about_any_target() -> None:
    seen = await look_http(replace(context(), backend_url=None), {"url": "/health"})
    assert (seen.reason, seen.verdict) == ("local_fault", Verdict.UNKNOWN)


async def test_cancellation_is_not_an_observation() -> None:
    arrived = asyncio.Event()

    def script(_: Asked) -> Act:
        arrived.set()
        return silent()

    async with scripted(script) as server:
        looking = asyncio.ensure_future(look_http(context(server.url), {"url": "/"}, 30))
        await arrived.wait()
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "either url or requests"),
        ({"url": "health"}, "http or https URL, or a path"),
        ({"url": "ftp://h/"}, "http or https URL, or a path"),
        ({"url": "//h/x"}, "http or https URL, or a path"),
        ({"url": "http://h/a b"}, "without blanks"),
        ({"url": "http://u:p@h/"}, "no user and password; use auth"),
        ({"url": "http://h:65536/"}, "a port that does not exist"),
        ({"url": "http://h:port/"}, "is not a URL"),
        ({"url": "/", "method": "BREW"}, "must be one of GET"),
        ({"url": "/", "headers": {"a b": "x"}}, "not the name of a header"),
        ({"url": "/", "headers": {"X-A": f"{SECRET}\r\nX-B: 1"}}, "the value of X-A holds a line break"),
        ({"url": "/", "headers": {"Content-Length": "1"}}, "is set by Sidecar itself"),
        ({"url": "/", "expect": ["statsu == 200"]}, "unknown name 'statsu'"),
        ({"url": "/", "expect": ["status == 200", "status =="]}, "not a CEL expression"),
        ({"url": "/", "follow_redirects": "yes"}, "valid boolean"),
        ({"url": "/", "body_bytes_at_most": -1}, "greater than or equal to 0"),
        ({"url": "/", "oops": 1}, "Extra inputs"),
    ],
)
def test_mistakes_are_told_when_the_configuration_is_read(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        HttpKeys.model_validate(keys)
    assert SECRET not in str(caught.value)


def test_a_spec_shows_no_secret() -> None:
    keys = {"url": f"http://h/?k={SECRET}", "headers": {"X-Key": SECRET}, "body": SECRET}
    model = HttpKeys.model_validate(keys)
    assert SECRET not in repr(model.to_spec())
