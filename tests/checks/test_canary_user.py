"""The kind `canary_user`: what is wrong is told apart from what could not be seen."""

import json
from collections.abc import Callable, Mapping

import pytest
from pydantic import ValidationError

from sidecar.checks.canary_user import CanaryUserKeys, CanaryUserProbe
from sidecar.checks.context import ProbeContext
from sidecar.domain.check import Observation, Verdict
from tests.checks.cast import ANON, SERVICE, check, rows
from tests.checks.journeys import EMAIL, PASSWORD, TOKEN, USER, USER_ID, World, around, tells_number
from tests.scripted import Act, Asked, endless, head, html, reply, scripted

KEYS: Mapping[str, object] = {
    "user_id": USER_ID,
    "user": USER,
    "profile": {"columns": ["email"]},
    "credits": {"expected": 1200},
    "api": {"url": "/balance"},
}
PROFILE = {"id": USER_ID, "email": EMAIL, "credits_balance": 1200}


async def look(within: ProbeContext, timeout_seconds: float = 5.0, **keys: object) -> Observation:
    given = {name: value for name, value in {**KEYS, **keys}.items() if value is not None}
    model = CanaryUserKeys.model_validate_json(json.dumps(given), strict=True)
    return await CanaryUserProbe(within)(check("canary_user", model.to_spec(), timeout_seconds))


def rest(profile: Act, *, canary_seen_by: tuple[str, ...] = (SERVICE,)) -> Callable[[Asked], Act]:
    """PostgREST with one profile (or none) and the fixture's canary, which these keys see."""

    def answer(asked: Asked) -> Act:
        if asked.path == "/rest/v1/sidecar_canary":
            return rows({"id": 1}) if asked.headers["apikey"] in canary_seen_by else rows()
        return profile

    return answer


def world(profile: Act | None = None, *, backend: Act | None = None) -> World:
    made = World(rest=rest(profile or rows(PROFILE)))
    if backend is not None:
        made.backend = lambda _: backend
    return made


async def test_a_user_as_expected_is_healthy_and_nothing_of_them_is_told() -> None:
    async with scripted(world()) as server:
        seen = await look(around(server.url))
    assert (seen.reason, seen.verdict, seen.facts) == ("ok", Verdict.HEALTHY, {"api_compared": True})
    for secret in (EMAIL, PASSWORD, TOKEN, USER_ID):
        assert secret not in repr(seen)
    assert not tells_number(seen, 1200)


async def test_the_incident_the_api_says_100_where_the_database_says_1200() -> None:
    async with scripted(world(backend=reply(200, {"balance": 100}))) as server:
        seen = await look(around(server.url))
    assert (seen.reason, seen.verdict) == ("api_differs", Verdict.UNHEALTHY)
    assert seen.detail == "the API tells lower credits than the database"


@pytest.mark.parametrize(
    ("profile", "reason", "verdict"),
    [
        (rows({**PROFILE, "credits_balance": 1100}), "credits_differ", Verdict.UNHEALTHY),
        (rows({**PROFILE, "credits_balance": None}), "profile_incomplete", Verdict.UNHEALTHY),
        (rows({**PROFILE, "credits_balance": "many"}), "profile_incomplete", Verdict.UNHEALTHY),
        (rows({**PROFILE, "email": None}), "profile_incomplete", Verdict.UNHEALTHY),
        (rows(), "profile_missing", Verdict.UNHEALTHY),
        (rows(PROFILE, PROFILE), "database_unread", Verdict.UNKNOWN),
        (reply(503), "database_unread", Verdict.UNKNOWN),
        (html(200), "database_unread", Verdict.UNKNOWN),
        (endless(head(200, {})), "database_unread", Verdict.UNKNOWN),
    ],
)
async def test_what_the_database_says(profile: Act, reason: str, verdict: Verdict) -> None:
    async with scripted(world(profile)) as server:
        seen = await look(around(server.url))
    assert (seen.reason, seen.verdict) == (reason, verdict), seen


@pytest.mark.parametrize("canary_seen_by", [(), (ANON,), (SERVICE, ANON)], ids=["nobody", "anon", "both"])
async def test_an_empty_reading_is_no_absence_unless_sight_was_proven(canary_seen_by: tuple[str, ...]) -> None:
    async with scripted(World(rest=rest(rows(), canary_seen_by=canary_seen_by))) as server:
        seen = await look(around(server.url))
    assert (seen.reason, seen.verdict) == ("profile_unseen", Verdict.UNKNOWN)


async def test_a_tolerance_is_for_what_is_in_flight() -> None:
    async with scripted(world(rows({**PROFILE, "credits_balance": 1190}))) as server:
        near = await look(around(server.url), credits={"expected": 1200, "tolerance": 10}, api=None)
        far = await look(around(server.url), credits={"expected": 1200, "tolerance": 9.5}, api=None)
    assert (near.reason, far.reason) == ("ok", "credits_differ")


async def test_an_api_that_answers_while_credits_move_may_say_the_new_number() -> None:
    balances = iter((1200, 1155))
    moving = World(
        rest=lambda _: rows({**PROFILE, "credits_balance": next(balances)}),
        backend=lambda _: reply(200, {"balance": 1155}),
    )
    async with scripted(moving) as server:
        assert (await look(around(server.url), credits={})).reason == "ok"


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (reply(200, {"balance": None}), "api_unread"),
        (reply(200, {"credits": 1200}), "api_unread"),
        (reply(200, {"balance": True}), "api_unread"),
        (reply(500, {"balance": 1200}), "api_unread"),
        (html(200), "api_unread"),
        (reply(401), "session_refused"),
        (endless(head(200, {})), "body_too_large"),
    ],
)
async def test_what_the_api_says(act: Act, reason: str) -> None:
    async with scripted(world(backend=act)) as server:
        seen = await look(around(server.url))
    assert (seen.reason, seen.verdict) == (reason, Verdict.UNHEALTHY)


async def test_the_session_is_shared_with_others_that_watch_the_same_user() -> None:
    shared = world()
    async with scripted(shared) as server:
        within = around(server.url)
        await look(within)
        await look(within)
    assert shared.count("POST /auth/v1/token") == 1


async def test_a_login_of_somebody_else_is_a_mistake_and_compares_nothing() -> None:
    async with scripted(world()) as server:
        seen = await look(around(server.url), user_id="99999999-2222-4333-8444-555555555555")
    assert (seen.reason, seen.verdict) == ("other_user", Verdict.UNKNOWN)


async def test_without_a_login_the_database_alone_is_looked_at() -> None:
    alone = world()
    async with scripted(alone) as server:
        seen = await look(around(server.url), user={"email": "", "password": ""})
    assert (seen.reason, seen.facts) == ("ok", {"api_compared": False})
    assert alone.asked == ["GET /rest/v1/users"]


async def test_without_an_id_it_is_the_user_who_signs_in() -> None:
    async with scripted(world()) as server:
        assert (await look(around(server.url), user_id="", credits={"expected": ""})).reason == "ok"
        nobody = await look(around(server.url), user_id="", user={"email": "", "password": ""})
    assert (nobody.reason, nobody.verdict) == ("not_configured", Verdict.UNKNOWN)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"user_id": "bob"}, "must be a user's id, or empty"),
        ({"user_id": USER_ID, "api": {}}, "api needs user"),
        ({}, "must have a user_id or a user"),
        ({"user_id": USER_ID, "credits": {"expected": "lots"}}, "must be a number, or empty"),
        (
            {"user_id": USER_ID, "user": USER, "credits": {}, "api": {"url": "https://x/"}},
            "must be a path of the backend",
        ),
        ({"user_id": USER_ID, "user": USER, "credits": {}, "api": {"value": "nothing"}}, "unknown name 'nothing'"),
    ],
)
def test_a_user_that_cannot_be_watched_is_refused_at_load(keys: Mapping[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CanaryUserKeys.model_validate(keys)
