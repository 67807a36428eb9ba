"""The kind `journey` against servers that do as a test says: the right reason, cleanup always, nothing secret told."""

import asyncio
import gzip
from collections.abc import Mapping
from datetime import timedelta

import pytest

from sidecar.checks.journey import JourneyProbe
from sidecar.domain.check import Verdict
from tests.checks.cast import rows
from tests.checks.journeys import (
    BALANCE,
    EMAIL,
    PASSWORD,
    SAME,
    SIGN_IN,
    SIGN_OUT,
    STORED,
    TOKEN,
    USER_ID,
    Purses,
    World,
    around,
    grant,
    journey,
    outcomes,
    tells_number,
    walk,
    with_service_key_as_anon_key,
)
from tests.scripted import Act, Asked, endless, head, html, raw, reply, scripted, silent

WALK = (SIGN_IN, STORED, BALANCE, SAME)
PAID: Mapping[str, object] = {
    "name": "generate",
    "request": {"url": "/generations", "method": "POST", "as_user": True, "form": {"prompt": "a cat"}},
    "costs": 40,
}


async def test_a_journey_walks_its_steps_in_order_and_tells_each() -> None:
    world = World()
    async with scripted(world) as server:
        seen = await walk(around(server.url), *WALK, cleanup=[SIGN_OUT], session="fresh")
    assert (seen.reason, seen.verdict, seen.notes) == ("ok", Verdict.HEALTHY, ())
    assert world.asked == ["POST /auth/v1/token", "GET /rest/v1/users", "GET /balance", "POST /auth/v1/logout"]
    expected = {"sign-in": "ok", "stored": "ok", "balance": "ok", "same": "ok", "sign-out": "ok"}
    assert outcomes(seen) == expected
    assert 0 < sum(seen.phases.values()) <= seen.duration_seconds
    assert seen.facts["captured"] == ["balance", "stored", "token", "user_id"]
    for secret in (TOKEN, PASSWORD, EMAIL, USER_ID):
        assert secret not in repr(seen)
    assert not tells_number(seen, 1200)


async def test_the_incident_a_balance_that_the_database_does_not_know() -> None:
    async with scripted(World(backend=lambda _: reply(200, {"balance": 100}))) as server:
        seen = await walk(around(server.url), *WALK)
    assert (seen.reason, seen.verdict) == ("balance_differs", Verdict.UNHEALTHY)
    assert seen.detail == "same: balance is lower than stored"
    assert seen.facts["step"] == "same"


@pytest.mark.parametrize(
    ("api", "stored", "tolerance", "reason"),
    [
        (b"1200.5", b"1200.50", 0, "ok"),
        (b"0.1", b"0.10000000000000000001", 0, "balance_differs"),
        (b"9007199254740993", b"9007199254740992", 0, "balance_differs"),
        (b"1e400", b"1200", 0, "balance_differs"),
        (b"1195", b"1200", 5, "ok"),
        (b"1194", b"1200", 5, "balance_differs"),
        (b'"1200"', b"1200", 0, "ok"),
        (b"true", b"1", 0, "step_failed"),
    ],
)
async def test_numbers_are_compared_exactly(api: bytes, stored: bytes, tolerance: int, reason: str) -> None:
    kind = {"Content-Type": "application/json"}
    world = World(
        backend=lambda _: reply(200, b'{"balance": ' + api + b"}", kind),
        rest=lambda _: reply(200, b'[{"credits_balance": ' + stored + b"}]", kind),
    )
    same = {"name": "same", "compare": {"value": "balance", "among": ["stored"], "tolerance": tolerance}}
    async with scripted(world) as server:
        seen = await walk(around(server.url), SIGN_IN, STORED, BALANCE, same)
    assert seen.reason == reason or (reason == "step_failed" and seen.reason == "capture_failed"), seen


async def test_a_balance_that_moved_between_two_readings_may_lie_between_them() -> None:
    values = iter((1200, 1155))
    world = World(
        rest=lambda _: rows({"credits_balance": next(values)}), backend=lambda _: reply(200, {"balance": 1155})
    )
    after = {**STORED, "name": "after", "capture": {"after": "row.credits_balance"}}
    same = {"name": "same", "compare": {"value": "balance", "among": ["stored", "after"]}}
    async with scripted(world) as server:
        assert (await walk(around(server.url), SIGN_IN, STORED, BALANCE, after, same)).reason == "ok"


GARBAGE: tuple[tuple[str, Act, str, Verdict], ...] = (
    (
        "wrong password",
        reply(400, {"code": 400, "error_code": "invalid_credentials", "msg": PASSWORD}),
        "sign_in_failed",
        Verdict.UNHEALTHY,
    ),
    ("a page instead", html(200), "sign_in_failed", Verdict.UNHEALTHY),
    ("an empty object", reply(200, {}), "sign_in_failed", Verdict.UNHEALTHY),
    ("a list", reply(200, [1, 2]), "sign_in_failed", Verdict.UNHEALTHY),
    (
        "deeply nested",
        reply(200, b"[" * 100_000, {"Content-Type": "application/json"}),
        "sign_in_failed",
        Verdict.UNHEALTHY,
    ),
    ("a token with a line break", grant(token="a\r\nX-Admin: yes"), "sign_in_failed", Verdict.UNHEALTHY),
    ("an empty token", grant(token=""), "sign_in_failed", Verdict.UNHEALTHY),
    ("not UTF-8", reply(200, b"\xff\xfe{"), "sign_in_failed", Verdict.UNHEALTHY),
    ("unavailable", html(503), "sign_in_failed", Verdict.UNHEALTHY),
    ("asks to be left alone", reply(429, {"msg": "slow"}, {"Retry-After": "7"}), "rate_limited", Verdict.UNKNOWN),
    ("not HTTP", raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "protocol_broken", Verdict.UNHEALTHY),
    ("endless", endless(head(200, {"Content-Type": "application/json"})), "body_too_large", Verdict.UNHEALTHY),
    (
        "a bomb",
        reply(200, gzip.compress(b"\0" * 20_000_000), {"Content-Encoding": "gzip"}),
        "body_too_large",
        Verdict.UNHEALTHY,
    ),
    ("silent", silent(), "timed_out", Verdict.UNHEALTHY),
)


@pytest.mark.parametrize(("act", "reason", "verdict"), [pytest.param(*case[1:], id=case[0]) for case in GARBAGE])
async def test_a_sign_in_that_is_answered_with_garbage(act: Act, reason: str, verdict: Verdict) -> None:
    async with scripted(World(token=lambda _: act)) as server:
        timeout_seconds = 0.5 if reason == "timed_out" else 10.0
        seen = await walk(around(server.url), *WALK, timeout_seconds=timeout_seconds)
    assert (seen.reason, seen.verdict) == (reason, verdict), seen
    assert seen.retry_after_seconds == (7 if reason == "rate_limited" else None)
    assert outcomes(seen) == {"sign-in": reason}
    assert PASSWORD not in repr(seen)


async def test_an_answer_of_ten_megabytes_is_not_read_to_its_end() -> None:
    async with scripted(World(backend=lambda _: reply(200, b"x" * 10_000_000))) as server:
        seen = await walk(around(server.url), SIGN_IN, BALANCE)
    assert (seen.reason, seen.facts["step"]) == ("body_too_large", "balance")


async def test_a_captured_value_cannot_break_out_of_its_place() -> None:
    bad = 'a/../b?x=1&y="\r\nX-Evil: 1#é'
    seen_by_backend: list[Asked] = []

    def backend(asked: Asked) -> Act:
        seen_by_backend.append(asked)
        return reply(200, {"bad": bad})

    steps = (
        {"name": "first", "request": {"url": "/first"}, "capture": {"bad": "body.bad"}},
        {"name": "url", "request": {"url": "/things/{{bad}}?q={{bad}}"}},
        {"name": "json", "request": {"url": "/json", "method": "POST", "body": {"a": "{{bad}}", "b": ["is {{bad}}"]}}},
        {"name": "form", "request": {"url": "/form", "method": "POST", "form": {"a": "{{bad}}", "b": "2"}}},
        {"name": "header", "request": {"url": "/header", "headers": {"X-Seen": "is {{bad}}"}}},
    )
    async with scripted(World(backend=backend)) as server:
        seen = await walk(around(server.url), *steps)
    by_path = {asked.path.split("/")[1]: asked for asked in seen_by_backend}
    assert by_path["things"].path == "/things/a%2F..%2Fb%3Fx%3D1%26y%3D%22%0D%0AX-Evil%3A%201%23%C3%A9"
    assert by_path["things"].query == {"q": bad}
    assert by_path["json"].body.count(b"\r\n") == 0
    boundary = by_path["form"].headers["content-type"].partition("boundary=")[2].encode()
    assert by_path["form"].body.count(b"--" + boundary) == 3
    assert "header" not in by_path
    assert all("x-evil" not in asked.headers for asked in seen_by_backend)
    assert (seen.reason, seen.facts["step"]) == ("step_failed", "header")
    assert "Evil" not in repr(seen)


@pytest.mark.parametrize("climbing", ["..", ".", ""])
async def test_a_captured_value_does_not_climb_a_path(climbing: str) -> None:
    steps = (
        {"name": "first", "request": {"url": "/a"}, "capture": {"id": "body.id"}},
        {"name": "second", "request": {"url": "/things/{{id}}/delete", "method": "DELETE"}},
    )
    world = World(backend=lambda _: reply(200, {"id": climbing}))
    async with scripted(world) as server:
        seen = await walk(around(server.url), *steps)
    assert (seen.reason, seen.facts["step"]) == ("step_failed", "second")
    assert world.asked == ["GET /a"]


async def test_cleanup_is_done_after_a_failure_and_each_part_of_it() -> None:
    world = World(backend=lambda asked: reply(500) if asked.path == "/balance" else reply(200))
    cleanup = [{"name": "tidy", "request": {"url": "/tidy", "method": "DELETE"}}, SIGN_OUT]
    async with scripted(world) as server:
        seen = await walk(around(server.url), SIGN_IN, BALANCE, cleanup=cleanup, session="fresh")
    assert seen.reason == "condition_failed"
    assert world.asked[-2:] == ["DELETE /tidy", "POST /auth/v1/logout"]


async def test_cleanup_is_done_after_a_step_that_hangs_and_has_time_of_its_own() -> None:
    world = World(backend=lambda _: silent())
    cleanup = [{"name": "tidy", "request": {"url": "/tidy", "method": "DELETE"}}, SIGN_OUT]
    keys = {"cleanup": cleanup, "session": "fresh", "cleanup_timeout": "600ms"}
    async with scripted(world) as server:
        seen = await asyncio.wait_for(walk(around(server.url), SIGN_IN, BALANCE, timeout_seconds=0.6, **keys), 10)
    assert seen.reason == "timed_out"
    assert outcomes(seen) == {"sign-in": "ok", "balance": "timed_out", "tidy": "timed_out", "sign-out": "ok"}
    assert seen.notes == ("cleanup_failed",)


async def test_cleanup_is_done_after_a_cancellation_however_often() -> None:
    reached, leaving, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def hang(_: Asked) -> Act:
        reached.set()
        return silent()

    async def let_go_in_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        leaving.set()
        await go_on.wait()
        await reply(204)(reader, writer)

    async with scripted(World(backend=hang, logout=lambda _: let_go_in_time)) as server:
        probe = JourneyProbe(around(server.url))
        task = asyncio.create_task(probe(journey(SIGN_IN, BALANCE, cleanup=[SIGN_OUT], session="fresh")))
        await reached.wait()
        task.cancel()
        await leaving.wait()
        for _ in range(2):
            task.cancel()
            await asyncio.wait([task], timeout=0.05)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cleanup_that_fails_is_told_and_hides_no_other_reason() -> None:
    async with scripted(World(logout=lambda _: reply(500))) as server:
        alone = await walk(around(server.url), SIGN_IN, cleanup=[SIGN_OUT], session="fresh")
    assert (alone.reason, alone.verdict) == ("cleanup_failed", Verdict.UNHEALTHY)
    assert alone.detail == "sign-out: step_failed: Supabase Auth did not end the session: status 500"
    world = World(logout=lambda _: reply(500), backend=lambda _: reply(500))
    async with scripted(world) as server:
        beside = await walk(around(server.url), SIGN_IN, BALANCE, cleanup=[SIGN_OUT], session="fresh")
    assert (beside.reason, beside.notes) == ("condition_failed", ("cleanup_failed",))


async def test_a_session_is_used_again_until_shortly_before_it_expires() -> None:
    lifetimes = iter((3600, 100))
    world = World(token=lambda _: grant(next(lifetimes)))
    async with scripted(world) as server:
        within = around(server.url)
        first = await walk(within, SIGN_IN, BALANCE, cleanup=[SIGN_OUT])
        second = await walk(within, SIGN_IN, BALANCE, cleanup=[SIGN_OUT])
        assert [seen.facts["session_kept"] for seen in (first, second)] == [False, True]
        assert (world.count("POST /auth/v1/token"), world.count("POST /auth/v1/logout")) == (1, 0)
        for session in within.sessions._kept.values():
            object.__setattr__(session, "expires_at", within.clock.now() + timedelta(seconds=61))
        await walk(within, SIGN_IN, BALANCE, cleanup=[SIGN_OUT])  # the new one lives shorter than the next look needs
    assert (world.count("POST /auth/v1/token"), world.count("POST /auth/v1/logout")) == (2, 1)


async def test_a_kept_session_that_is_refused_is_opened_anew_once() -> None:
    tokens = iter(("first", "second"))
    accepted = {"first"}
    world = World(
        token=lambda _: grant(token=next(tokens)),
        backend=lambda asked: reply(
            200 if asked.headers["authorization"].split()[1] in accepted else 401, {"balance": 1}
        ),
    )
    async with scripted(world) as server:
        within = around(server.url)
        assert (await walk(within, SIGN_IN, BALANCE)).reason == "ok"
        accepted.clear()
        accepted.add("second")
        assert (await walk(within, SIGN_IN, BALANCE)).reason == "ok"
    assert world.count("POST /auth/v1/token") == 2


async def test_a_new_session_that_is_refused_is_a_reason_unless_it_was_expected() -> None:
    async with scripted(World(backend=lambda _: reply(401))) as server:
        assert (await walk(around(server.url), SIGN_IN, BALANCE)).reason == "session_refused"
        refused = {"name": "refused", "request": {"url": "/admin", "as_user": True}, "expect": ["status == 401"]}
        assert (await walk(around(server.url), SIGN_IN, refused)).reason == "ok"


async def test_a_budget_is_spent_before_the_request_and_never_overdrawn() -> None:
    world, purses = World(), Purses()
    async with scripted(world) as server:
        for _ in range(2):
            assert (await walk(around(server.url, purses), SIGN_IN, PAID, budget=100)).reason == "ok"
        seen = await walk(around(server.url, purses), SIGN_IN, PAID, budget=100, cleanup=[SIGN_OUT])
    assert (seen.reason, seen.verdict) == ("budget_spent", Verdict.UNKNOWN)
    assert world.count("POST /generations") == 2
    assert outcomes(seen)["sign-out"] == "ok"


async def test_what_was_spent_counts_also_where_the_request_failed() -> None:
    world, purses = World(backend=lambda _: raw(b"")), Purses()
    async with scripted(world) as server:
        assert (await walk(around(server.url, purses), SIGN_IN, PAID, budget=40)).reason == "cut_off"
        assert (await walk(around(server.url, purses), SIGN_IN, PAID, budget=40)).reason == "budget_spent"


async def test_an_empty_form_is_sent_as_multipart() -> None:
    bodies: list[Asked] = []
    dry = {"name": "dry", "request": {"url": "/g", "method": "POST", "form": {}}, "expect": ["status == 422"]}

    def backend(asked: Asked) -> Act:
        bodies.append(asked)
        return reply(422, {"detail": []})

    async with scripted(World(backend=backend)) as server:
        assert (await walk(around(server.url), dry)).reason == "ok"
    assert bodies[0].headers["content-type"].startswith("multipart/form-data; boundary=")


async def test_the_ledger_may_take_a_moment() -> None:
    amounts = iter((0, -45))
    ledger = {
        "name": "ledger",
        "read_database": {"table": "public.credit_transactions", "key": "user_id", "columns": ["amount"]},
        "expect": ["row.amount == -45"],
        "fails_as": "ledger_differs",
    }
    async with scripted(World(rest=lambda _: rows({"amount": next(amounts)}))) as server:
        assert (await walk(around(server.url), SIGN_IN, {**ledger, "patience": "5s"})).reason == "ok"
    async with scripted(World(rest=lambda _: rows({"amount": 0}))) as server:
        assert (await walk(around(server.url), SIGN_IN, ledger)).reason == "ledger_differs"


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        (World(rest=lambda _: rows()), "row_unseen"),
        (World(rest=lambda _: reply(503)), "database_unread"),
        (World(rest=lambda _: html(200)), "database_unread"),
        (World(rest=lambda _: reply(200, [1])), "database_unread"),
        (World(rest=lambda _: raw(b"")), "database_unread"),
        (World(rest=lambda _: silent()), "database_unread"),
    ],
    ids=["no row", "503", "a page", "no rows", "cut off", "silent"],
)
async def test_what_the_service_key_cannot_read_says_nothing_of_the_backend(world: World, reason: str) -> None:
    async with scripted(world) as server:
        seen = await walk(around(server.url), *WALK, timeout_seconds=0.6)
    assert (seen.reason, seen.verdict) == (reason, Verdict.UNKNOWN)


async def test_without_a_canary_user_nothing_is_tried() -> None:
    world = World()
    async with scripted(world) as server:
        seen = await walk(around(server.url), *WALK, cleanup=[SIGN_OUT], user={"email": "", "password": ""})
    assert (seen.reason, seen.verdict, world.asked) == ("not_configured", Verdict.UNKNOWN, [])


async def test_nobody_is_signed_in_with_a_key_that_is_not_the_anon_key() -> None:
    world = World()
    async with scripted(world) as server:
        within = around(server.url)
        seen = await walk(with_service_key_as_anon_key(within), *WALK)
    assert (seen.reason, world.asked) == ("not_configured", [])
