"""Rows 28 to 30: what a signed-in user sees, the negative control, and the write canary. Then gateways of one's own."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from pydantic import ValidationError

from sidecar.checks.service_key import ServiceKeyProbe
from sidecar.checks.service_key_keys import ServiceKeyKeys
from sidecar.domain.check import Observation, Verdict
from tests.checks.cast import ANON, CANARY, SERVICE, check, context, error, look_key, project, refusal, rows
from tests.fakes import FakeClock
from tests.scripted import Act, Asked, html, reply, scripted

USER, TOKEN, PASSWORD = "6f0f7f1e-0000-4000-8000-000000000001", "user.token.signed", "the-canarys-password"
WITH_USER = {
    **CANARY,
    "user": {
        "email": "canary@velro.app",
        "password": PASSWORD,
        "owned": {"public.credit_transactions": "user_id"},
    },
}
WITH_WRITE = {**CANARY, "write": {}}
SESSION = {"access_token": TOKEN, "refresh_token": "again", "expires_in": 3600, "user": {"id": USER}}
FORBIDDEN = error(403, "42501", "permission denied for table sidecar_canary")
OWN = rows({"id": USER})
SIGNED_IN: Mapping[str, Act] = {
    "sign in": reply(200, SESSION),
    "own": OWN,
    "canary": rows(),
    "users": rows(),
    "credit_transactions": rows(),
    "control own": OWN,
    "control": rows(),
}


def with_user(changed: Mapping[str, Act], rest: Callable[[Asked], Act] | None = None) -> Callable[[Asked], Act]:
    answers = {**SIGNED_IN, **changed}
    assert not changed.keys() - SIGNED_IN.keys()
    otherwise = rest or project()

    def script(asked: Asked) -> Act:
        if asked.path == "/auth/v1/token":
            return answers["sign in"]
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return otherwise(asked)
        own = asked.query.get("id") == f"eq.{USER}"
        if asked.headers["apikey"] == SERVICE:
            return answers["control own" if own else "control"]
        name = asked.path.rpartition("/")[2].replace("sidecar_canary", "canary")
        return answers["own" if own else name]

    return script


USER_ROWS = [
    pytest.param({}, "ok", id="31"),
    pytest.param({"canary": FORBIDDEN, "control": FORBIDDEN}, "ok", id="31 without a grant on the canary"),
    pytest.param({"users": rows({"id": "another"})}, "rls_leak_authenticated", id="28 a profile"),
    pytest.param({"credit_transactions": rows({"user_id": "x"})}, "rls_leak_authenticated", id="28 a movement"),
    pytest.param({"canary": rows({"id": 1})}, "rls_leak_authenticated", id="28 the canary"),
    pytest.param({"own": rows(), "control own": rows()}, "profile_hidden_or_missing", id="28 own row"),
    pytest.param({"own": FORBIDDEN}, "profile_hidden_or_missing", id="28 own row, no grant"),
    pytest.param({"control": rows({"id": 1})}, "checker_broken", id="29"),
    pytest.param({"control own": rows()}, "inconsistent", id="the control sees less than the user"),
    pytest.param({"control": reply(401, "")}, "unknown", id="the control is refused"),
    pytest.param({"control": reply(500, "")}, "unknown", id="the control breaks"),
    pytest.param({"users": error(404, "PGRST205", "Could not find the table")}, "unknown", id="no such table"),
    pytest.param({"own": rows({"id": USER}, {"id": USER})}, "inconsistent", id="two own rows"),
    pytest.param({"sign in": reply(400, {"error_code": "invalid_credentials"})}, "unknown", id="no sign-in"),
    pytest.param({"sign in": reply(200, {"access_token": TOKEN})}, "unknown", id="half a session"),
    pytest.param({"sign in": reply(200, {**SESSION, "access_token": "a\r\nb: c"})}, "unknown", id="no header"),
    pytest.param({"sign in": reply(200, {**SESSION, "user": {"id": "a),(b"}})}, "unknown", id="no id"),
    pytest.param({"sign in": reply(429, {"message": "slow"}, {"Retry-After": "9"})}, "rate_limited", id="7"),
    pytest.param({"control": html(502)}, "gateway_down", id="4"),
]


@pytest.mark.parametrize(
    ("changed", "reason"),
    USER_ROWS,
)
async def test_what_a_signed_in_user_sees_is_judged(changed: Mapping[str, Act], reason: str) -> None:
    async with scripted(with_user(changed)) as server:
        seen = await look_key(context(server.url), WITH_USER)
    assert seen.reason == reason, seen
    assert (seen.verdict is Verdict.HEALTHY) == (reason == "ok")
    assert not [secret for secret in (SERVICE, TOKEN, PASSWORD, USER, "canary@velro.app") if secret in repr(seen)]


async def test_the_user_is_never_signed_in_with_the_service_key_and_the_control_sends_the_users_token() -> None:
    async with scripted(with_user({})) as server:
        await look_key(context(server.url), WITH_USER)
    (sign_in,) = [asked for asked in server.asked if asked.path == "/auth/v1/token"]
    assert sign_in.headers["apikey"] == ANON
    pairs = {(asked.headers.get("apikey"), asked.headers.get("authorization")) for asked in server.asked}
    assert (SERVICE, f"Bearer {TOKEN}") in pairs
    assert (ANON, f"Bearer {SERVICE}") not in pairs


async def looks(url: str, keys: Mapping[str, object], count: int, seconds: float = 60.0) -> list[Observation]:
    """Look several times with one probe, some time apart."""
    clock = FakeClock()
    probe = ServiceKeyProbe(replace(context(url), clock=clock))
    spec = ServiceKeyKeys.model_validate(keys).to_spec()
    seen = []
    for _ in range(count):
        seen.append(await probe(check("service_key", spec, timeout_seconds=10)))
        clock.advance(seconds)
    return seen


async def test_a_session_is_used_again_and_refreshed_before_it_ends() -> None:
    async with scripted(with_user({})) as server:
        seen = await looks(server.url, WITH_USER, count=4, seconds=1200)
    assert {look.reason for look in seen} == {"ok"}, seen
    grants = [asked.query["grant_type"] for asked in server.asked if asked.path == "/auth/v1/token"]
    assert grants == ["password", "refresh_token"]


async def test_a_session_that_was_ended_elsewhere_is_replaced_in_the_same_look() -> None:
    refused = [False]

    def script(asked: Asked) -> Act:
        if asked.query.get("id") == f"eq.{USER}" and asked.headers["apikey"] == ANON and refused.pop():
            refused.append(False)
            return error(401, "PGRST303", "JWT expired", None)
        refused[:] = [refused[-1]] if refused else [False]
        return with_user({})(asked)

    async with scripted(script) as server:
        clock = FakeClock()
        probe = ServiceKeyProbe(replace(context(server.url), clock=clock))
        spec = ServiceKeyKeys.model_validate(WITH_USER).to_spec()
        assert (await probe(check("service_key", spec))).reason == "ok"
        refused[:] = [True]
        assert (await probe(check("service_key", spec))).reason == "ok"
    assert [asked.path for asked in server.asked].count("/auth/v1/token") == 2


def writing(*, service: Act | None = None, anon: Act | None = None, back: Act | None = None) -> Callable[[Asked], Act]:
    last: list[str] = []

    def script(asked: Asked) -> Act:
        if asked.path != "/rest/v1/sidecar_canary" or "touched_at" not in asked.query.get("select", ""):
            return project()(asked)
        if asked.method == "GET":
            return back or rows({"id": 1, "touched_at": last[-1]})
        if asked.headers["apikey"] != SERVICE:
            return anon or rows()
        last.append(json.loads(asked.body)["touched_at"])
        return service or rows({"id": 1, "touched_at": last[-1]})

    return script


OTHER = {"id": 1, "touched_at": "2020-01-01T00:00:00+00:00"}


WRITE_ROWS = [
    pytest.param(writing(), "ok", id="31"),
    pytest.param(writing(anon=error(401, "42501", "permission denied")), "ok", id="31 anon holds no grant"),
    pytest.param(writing(service=rows()), "write_blocked_by_rls", id="30 no row"),
    pytest.param(
        writing(service=error(403, "42501", "new row violates row-level security policy for table")),
        "write_blocked_by_rls",
        id="30 policy",
    ),
    pytest.param(
        writing(service=error(403, "42501", "permission denied for table")), "grant_missing_update", id="30 grant"
    ),
    pytest.param(writing(anon=rows(OTHER)), "rls_leak_anon", id="30 anon"),
    pytest.param(writing(service=error(401, "42501", "permission denied")), "inconsistent", id="ran as anon"),
    pytest.param(writing(service=rows(OTHER)), "inconsistent", id="another instant came back"),
    pytest.param(writing(back=rows(OTHER)), "inconsistent", id="not what was written"),
    pytest.param(writing(back=rows()), "inconsistent", id="written and gone"),
    pytest.param(writing(back=rows({"id": 1, "touched_at": 5})), "inconsistent", id="no instant"),
    pytest.param(writing(service=reply(204, "")), "unknown", id="nothing came back"),
    pytest.param(writing(service=error(400, "PGRST124", "Query result exceeds")), "unknown", id="too many rows"),
    pytest.param(writing(anon=reply(204, "")), "unknown", id="anon, nothing came back"),
    pytest.param(writing(back=reply(500, "")), "unknown", id="reading breaks"),
]


@pytest.mark.parametrize(
    ("script", "reason"),
    WRITE_ROWS,
)
async def test_the_write_canary_is_judged(script: Callable[[Asked], Act], reason: str) -> None:
    async with scripted(script) as server:
        seen = await look_key(context(server.url), WITH_WRITE)
    assert seen.reason == reason, seen
    assert SERVICE not in repr(seen)


async def test_a_write_that_landed_rests_and_one_that_did_not_is_tried_at_each_look() -> None:
    def writes(asked: list[Asked]) -> int:
        return sum(one.method == "PATCH" and one.headers["apikey"] == SERVICE for one in asked)

    async with scripted(writing()) as server:
        await looks(server.url, WITH_WRITE, count=12)
        assert writes(server.asked) == 2
    async with scripted(writing(service=rows())) as server:
        seen = await looks(server.url, WITH_WRITE, count=3)
        assert writes(server.asked) == 3
    assert {look.reason for look in seen} == {"write_blocked_by_rls"}


async def test_writing_names_one_row_and_one_column_and_bounds_what_it_may_touch() -> None:
    async with scripted(writing()) as server:
        await look_key(context(server.url), WITH_WRITE)
    patches = [asked for asked in server.asked if asked.method not in ("GET", "POST")]
    assert {asked.method for asked in patches} == {"PATCH"}
    for asked in patches:
        assert (asked.path, asked.query["id"]) == ("/rest/v1/sidecar_canary", "eq.1")
        assert set(json.loads(asked.body)) == {"touched_at"}
        assert "max-affected=1" in asked.headers["prefer"]


async def test_without_being_asked_nothing_is_written_and_nobody_signs_in() -> None:
    empty = {**CANARY, "user": {"email": "", "password": ""}}
    async with scripted(project()) as server:
        assert (await look_key(context(server.url), empty)).reason == "ok"
    assert {asked.method for asked in server.asked} == {"GET", "POST"}
    assert not [asked for asked in server.asked if asked.path == "/auth/v1/token"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tables": ["public.users"], "write": {}}, "write needs a canary"),
        (
            {"tables": ["public.a"], "witness": {"table": "public.a", "value": 1}, "write": {}},
            "a row of the product's own is never written",
        ),
        ({"tables": ["public.a"], "canary": {"table": "public.a"}, "write": {}}, "in a table of its own"),
        ({"tables": ["public.a"], "canary": {"table": "public.users"}, "write": {}}, "in a table of its own"),
        ({**CANARY, "write": {"every": 10}}, "must be a duration"),
        ({**CANARY, "user": {"email": "canary@velro.app"}}, "both an email and a password"),
        ({**CANARY, "user": {"owned": {"users": "id"}}}, "must be a table with its schema"),
    ],
)
def test_mistakes_are_told_when_the_configuration_is_read(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ServiceKeyKeys.model_validate(keys)


KONG_2 = refusal("Invalid authentication credentials", "")
NOT_JWT = error(401, "PGRST301", "Expected 3 parts in JWT; got 1")
KEY_SET = reply(200, {"keys": []})
OPEN_API = reply(200, {"swagger": "2.0"}, {"Content-Type": "application/openapi+json; charset=utf-8"})
ENVOY = reply(401, "Unauthorized")
KONG = refusal("No API key found in request", "")


def at_home(first: Act, key_set: Act, changed: Mapping[str, Act] | None = None) -> Callable[[Asked], Act]:
    """A gateway of one's own: it knows no project, and shows the root to whoever gets through."""

    def script(asked: Asked) -> Act:
        if asked.path.endswith("jwks.json"):
            return key_set
        if asked.path == "/rest/v1/" and "apikey" in asked.headers:
            return OPEN_API
        return project({"S1": first, **(changed or {})})(asked)

    return script


@pytest.mark.parametrize(
    ("first", "key_set", "changed", "reason", "layout"),
    [
        pytest.param(KONG, reply(404, ""), {}, "ok", "self_hosted", id="Kong"),
        pytest.param(ENVOY, KEY_SET, {}, "ok", "self_hosted", id="Envoy"),
        pytest.param(OPEN_API, KEY_SET, {}, "ok", "local", id="the CLI's stack"),
        pytest.param(ENVOY, reply(404, ""), {}, "wrong_endpoint", None, id="a bare refusal nobody vouches for"),
        pytest.param(ENVOY, reply(200, {"keys": 1}), {}, "wrong_endpoint", None, id="no key set"),
        pytest.param(OPEN_API, reply(200, []), {}, "wrong_endpoint", None, id="a bare PostgREST"),
        pytest.param(OPEN_API, reply(500, ""), {}, "unknown", None, id="Auth is broken"),
        pytest.param(KONG, KEY_SET, {"S3": KONG_2}, "key_invalid", None, id="Kong 2"),
        pytest.param(KONG, KEY_SET, {"S3": refusal("Unauthorized", "")}, "key_invalid", None, id="Kong 3"),
        pytest.param(ENVOY, KEY_SET, {"S3": ENVOY}, "key_invalid", None, id="Envoy, a wrong key"),
        pytest.param(ENVOY, KEY_SET, {"S2": ENVOY}, "anon_probe_dead", None, id="Envoy, a wrong anon key"),
        pytest.param(OPEN_API, KEY_SET, {"S3": NOT_JWT}, "sb_key_sent_as_bearer", None, id="15"),
        pytest.param(OPEN_API, KEY_SET, {"S4": reply(404, "")}, "unknown", None, id="a root for anybody"),
    ],
)
async def test_gateways_of_ones_own(
    first: Act, key_set: Act, changed: Mapping[str, Act], reason: str, layout: str | None
) -> None:
    async with scripted(at_home(first, key_set, changed)) as server:
        seen = await look_key(context(server.url))
    assert seen.reason == reason, seen
    if layout is not None:
        assert seen.facts["layout"] == layout
    if reason == "wrong_endpoint":
        assert {asked.headers.get("apikey") for asked in server.asked} == {None}


@pytest.mark.parametrize("changed", [{"S5 users service": rows(total=4)}, {"S5 ai_models anon": rows(total=4)}])
async def test_an_answer_that_contradicts_itself_is_inconsistent(changed: Mapping[str, Act]) -> None:
    async with scripted(project(changed)) as server:
        seen = await look_key(context(server.url))
    assert (seen.reason, seen.verdict) == ("inconsistent", Verdict.UNKNOWN), seen
