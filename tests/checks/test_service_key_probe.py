"""What the probe sends, tells and keeps to itself."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from sidecar.checks.service_key_keys import ServiceKeyKeys
from sidecar.domain.check import Verdict
from tests.checks.cast import (
    ANON,
    CANARY,
    DENIED,
    NONCE,
    SERVICE,
    context,
    jwt,
    look_key,
    probe_function,
    project,
    rows,
    step_of,
)
from tests.scripted import Asked, endless, head, reply, scripted, silent


async def test_each_role_sends_its_own_key_and_never_another() -> None:
    async with scripted(project()) as server:
        await look_key(context(server.url))
    by_step = {step_of(asked): asked.headers for asked in server.asked}
    assert "apikey" not in by_step["S1"]
    assert "authorization" not in by_step["S1"]
    for step, headers in by_step.items():
        if step != "S1":
            key = SERVICE if "service" in step or step in ("S3", "S4", "S6") else ANON
            assert (headers["apikey"], headers["authorization"]) == (key, f"Bearer {key}"), step


async def test_an_opaque_key_is_not_sent_as_bearer() -> None:
    key = "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"
    async with scripted(project(service_key=key)) as server:
        seen = await look_key(context(server.url, key))
    assert seen.reason == "ok", seen
    sent = [asked for asked in server.asked if asked.headers.get("apikey") == key]
    assert sent
    assert all("authorization" not in asked.headers for asked in sent)
    assert key not in repr(seen)


async def test_reads_are_gets_of_named_columns_with_a_fresh_id() -> None:
    async with scripted(project()) as server:
        await look_key(context(server.url))
    reads = [asked for asked in server.asked if asked.path.startswith("/rest/v1/") and asked.query]
    assert {asked.method for asked in reads} == {"GET"}
    assert {asked.query["select"] for asked in reads} == {"id", "id,nonce"}
    assert len({asked.headers["x-request-id"] for asked in server.asked}) == len(server.asked)
    assert not any("mozilla" in asked.headers["user-agent"].lower() for asked in server.asked)


async def test_a_table_of_another_schema_or_key_is_asked_for_as_such() -> None:
    keys = {**CANARY, "tables": ["public.users", "api.plans"], "keys": {"api.plans": "code"}}

    def script(asked: Asked) -> object:
        return rows({"code": "p"}, total=1) if asked.headers["apikey"] == SERVICE else rows(total=0)

    def both(asked: Asked) -> object:
        return script(asked) if asked.path.endswith("/plans") else project()(asked)

    async with scripted(both) as server:  # type: ignore[arg-type]  # two scripts in one
        seen = await look_key(context(server.url), keys)
    assert seen.reason == "ok", seen
    (first, *_) = [asked for asked in server.asked if asked.path.endswith("/plans")]
    assert (first.query["select"], first.headers["accept-profile"]) == ("code", "api")
    (function,) = [asked for asked in server.asked if asked.path.endswith("/sidecar_rls_probe")]
    assert json.loads(function.body) == {"t": ["public.users", "api.plans", "public.ai_models"]}


WITNESS: dict[str, object] = {
    "tables": ["public.users", "public.credit_transactions", "public.ai_models"],
    "witness": {"table": "public.sidecar_canary", "value": "1"},
}


async def test_a_witness_row_proves_the_bypass_where_the_probe_function_agrees() -> None:
    script = project({"S3": rows({"id": 1}), "S6": probe_function(), "S5 ai_models anon": rows(total=0)})
    async with scripted(script) as server:
        seen = await look_key(context(server.url), WITNESS)
    assert seen.reason == "ok", seen


@pytest.mark.parametrize("asking", [{}, {"probe_rpc": None}], ids=["not installed", "not asked"])
async def test_a_witness_row_without_the_probe_function_proves_nothing(asking: dict[str, object]) -> None:
    async with scripted(project({"S3": rows({"id": 1}), "S5 ai_models anon": rows(total=0)})) as server:
        seen = await look_key(context(server.url), {**WITNESS, **asking})
    assert (seen.reason, seen.verdict) == ("unknown", Verdict.UNKNOWN)
    assert "install the fixture" in seen.detail


async def test_facts_count_what_each_role_sees_and_hold_no_row() -> None:
    async with scripted(project({"S5 users anon": DENIED})) as server:
        seen = await look_key(context(server.url))
    assert seen.facts["rows_visible"] == {
        "public.users|service": 3,
        "public.users|anon": 0,
        "public.credit_transactions|service": 9,
        "public.credit_transactions|anon": 0,
        "public.ai_models|service": 7,
        "public.ai_models|anon": 6,
    }
    assert seen.facts["key_family"] == "legacy"
    assert len(str(seen.facts["key_sha256"])) == 8
    assert NONCE not in repr(seen)
    assert set(seen.notes) == {"anon_hidden", "anon_denied"}
    assert sum(seen.phases.values()) <= seen.duration_seconds


async def test_a_server_that_echoes_the_key_cannot_make_us_repeat_it() -> None:
    echo = reply(401, {"code": SERVICE, "message": SERVICE, "hint": SERVICE})
    for step in ("S1", "S2", "S3", "S4", "S5 users service", "S6"):
        async with scripted(project({step: echo})) as server:
            seen = await look_key(context(server.url))
        assert seen.verdict is not Verdict.HEALTHY
        assert SERVICE not in repr(seen), step


async def test_a_key_that_ends_soon_is_healthy_with_a_note_and_a_date() -> None:
    key = jwt("service_role", expires_in=timedelta(days=20))
    async with scripted(project(service_key=key)) as server:
        seen = await look_key(context(server.url, key))
    assert seen.verdict is Verdict.HEALTHY
    assert "key_expiring" in seen.notes
    assert seen.expires_at is not None
    assert timedelta(days=19) < seen.expires_at - datetime.now(UTC) < timedelta(days=21)


async def test_row_23_fewer_profiles_than_auth_users_is_a_note() -> None:
    many = reply(200, {"users": []}, {"X-Total-Count": "40"})
    async with scripted(project({"S4": many})) as server:
        seen = await look_key(context(server.url))
    assert seen.verdict is Verdict.HEALTHY
    assert "profiles_missing" in seen.notes


async def test_no_profile_at_all_is_no_key_fault_either() -> None:
    async with scripted(project({"S5 users service": rows(total=0)})) as server:
        seen = await look_key(context(server.url))
    assert seen.verdict is Verdict.HEALTHY
    assert "profiles_missing" in seen.notes


async def test_another_project_behind_the_url_is_never_shown_a_key() -> None:
    async with scripted(project({"S1": reply(404, "")})) as server:
        seen = await look_key(context(server.url))
        assert [asked.path for asked in server.asked] == ["/rest/v1/"]
    assert seen.reason == "wrong_endpoint"


async def test_retry_after_is_passed_on() -> None:
    busy = reply(429, {"message": "Too many requests"}, {"Retry-After": "41"})
    async with scripted(project({"S3": busy})) as server:
        seen = await look_key(context(server.url))
    assert (seen.reason, seen.retry_after_seconds) == ("rate_limited", 41.0)


@pytest.mark.parametrize("step", ["S1", "S2", "S3", "S4", "S6"])
async def test_a_silent_step_ends_within_the_deadline_and_is_never_healthy(step: str) -> None:
    async with scripted(project({step: silent()})) as server:
        seen = await look_key(context(server.url), timeout_seconds=0.5)
    assert seen.verdict is Verdict.UNKNOWN
    assert seen.duration_seconds < 3


async def test_an_endless_body_is_cut_off() -> None:
    body = endless(head(200, {"Content-Type": "application/json"}))
    async with scripted(project({"S3": body})) as server:
        seen = await look_key(context(server.url))
    assert seen.reason == "unknown"
    assert "body_too_large" in seen.detail


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tables": ["users"]}, "must be a table with its schema"),
        ({"tables": []}, "at least 1"),
        ({"tables": ["public.users"], "public_tables": ["public.users"]}, "must name each table once"),
        ({**CANARY, "witness": {"table": "public.users", "value": 1}}, "a canary or a witness, not both"),
        (
            {"tables": ["public.a"], "public_tables": ["public.b"], "witness": {"table": "public.b", "value": 1}},
            "anon may",
        ),
        ({"tables": ["public.users"], "probe_rpc": "x/../y"}, "must be the name of a column or function"),
        ({"tables": ["public.users"], "oops": 1}, "Extra inputs"),
        ({}, "Field required"),
    ],
)
def test_mistakes_are_told_when_the_configuration_is_read(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ServiceKeyKeys.model_validate(keys)


def test_the_nonce_is_not_repeated_by_a_mistake_beside_it() -> None:
    keys = {**CANARY, "canary": {"nonce": NONCE, "value": [NONCE]}}
    with pytest.raises(ValidationError) as caught:
        ServiceKeyKeys.model_validate(keys)
    assert NONCE not in str(caught.value)


async def test_a_probe_function_that_agrees_leaves_the_verdict_healthy() -> None:
    async with scripted(project({"S6": probe_function()})) as server:
        seen = await look_key(context(server.url))
    assert seen.verdict is Verdict.HEALTHY
