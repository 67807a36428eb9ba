"""One odd row, one odd answer: what blinds a whole rule, and what a rule says that it has not seen."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from starlette.types import Scope

from sidecar.checks.context import ProbeContext
from sidecar.checks.service_key import ServiceKeyProbe
from sidecar.checks.service_key_keys import KnownRow, ServiceKeySpec
from sidecar.clock import SystemClock
from sidecar.demo.standin import make_keys
from sidecar.domain.check import Check, Observation, Verdict
from sidecar.domain.event import LookFinished
from sidecar.domain.rule import Table
from sidecar.domain.run import Outcome
from tests.adversary.cast import SECRET, Meant, World, a_rule, key_of
from tests.domain.cast import a_check

ALICE, BOB = key_of(1), key_of(2)
LEDGER_ROW = (
    "insert into public.credit_transactions (user_id, transaction_type, amount, balance_after, created_at)"
    " values (%s, 'bonus', 5, 1205, %s)"
)


@pytest.mark.parametrize("status", [400, 414])
@pytest.mark.parametrize("path", ["/rest/v1/users", f"/auth/v1/admin/users/{ALICE}"])
async def test_an_odd_status_leaves_the_rule_blind(world: World, status: int, path: str) -> None:
    await world.user(ALICE)

    async def meddle(scope: Scope, _body: bytes) -> Meant:
        return (status, b"<html>") if scope["path"] == path else None

    world.meddler.meddle = meddle
    cycle = await world.stage().repair.tick(a_rule())

    assert cycle.outcome is Outcome.UNKNOWN


async def test_one_user_whom_auth_cannot_read_does_not_blind_the_rule(world: World) -> None:
    await world.user(ALICE)
    await world.user(BOB)

    async def meddle(scope: Scope, _body: bytes) -> Meant:
        body = {"code": 500, "error_code": "unexpected_failure", "msg": "Database error loading user"}
        return (500, body) if scope["path"].endswith(ALICE) else None

    world.meddler.meddle = meddle
    await world.stage().repair.tick(a_rule())

    assert await world.balances() == {BOB: 1200}


async def test_one_profile_without_a_balance_does_not_blind_the_rule(world: World) -> None:
    await world.user(ALICE)
    await world.sql("alter table public.users alter credits_balance drop not null")
    await world.sql("update public.users set credits_balance = null where id = %s", key_of(900))
    await world.stage().repair.tick(a_rule())

    assert await world.balances() == {ALICE: 1200}


@pytest.mark.parametrize("instant", [None, "infinity"])
async def test_one_ledger_row_with_an_odd_instant_does_not_blind_the_rule(world: World, instant: str | None) -> None:
    await world.user(ALICE)
    await world.user(BOB)
    await world.sql("alter table public.credit_transactions alter created_at drop not null")
    await world.sql(LEDGER_ROW, ALICE, instant)
    await world.stage().repair.tick(a_rule())

    assert await world.balances() == {BOB: 1200}


async def test_profiles_without_an_instant_are_no_violations(world: World) -> None:
    await world.sql("alter table public.users alter created_at drop not null")
    for number in range(910, 931):
        await world.user(key_of(number))
        await world.profile(key_of(number), 1200)
    await world.sql("update public.users set created_at = null where id >= %s", key_of(910))
    rule = a_rule()
    cycle = await world.stage().repair.tick(replace(rule, guard=replace(rule.guard, max_rows=1)))

    assert cycle.outcome is Outcome.NOTHING_TO_DO


async def test_young_sign_ups_are_no_mass_of_damage(world: World) -> None:
    await world.user(ALICE)
    for number in range(100, 121):
        await world.user(key_of(number), age="1 minute")
    rule = a_rule()
    await world.stage().repair.tick(replace(rule, guard=replace(rule.guard, max_rows=1)))

    assert await world.balances() == {ALICE: 1200}


async def test_a_witness_that_a_policy_shows_proves_no_bypass(world: World) -> None:
    users, ledger = Table("public", "users"), Table("public", "credit_transactions")
    witness = KnownRow(table=users, key="id", value=key_of(900))
    await world.sql(f"create policy w on public.users for select to service_role using (id = '{key_of(900)}')")
    await world.sql("create policy l on public.credit_transactions for select to service_role using (true)")
    await world.sql("drop function public.sidecar_rls_probe(text[])")
    await world.sql("notify pgrst, 'reload schema'")
    await world.sql("alter role service_role nobypassrls")
    try:
        keys = make_keys(SECRET, "demo", now=datetime.now(UTC))
        context = ProbeContext(
            clock=SystemClock(),
            supabase_url=world.url,
            service_key=keys.service,
            anon_key=keys.anon,
            backend_url=None,
        )
        spec = ServiceKeySpec(tables=(users, ledger), witness=witness, profiles=users)
        seen = await ServiceKeyProbe(context)(replace(a_check(), spec=spec, timeout_seconds=20.0))

        async def as_seen(check: Check) -> Observation:  # noqa: ARG001  # the port's name for it
            return seen

        stage = world.on_canary(users, key_of(900)).stage(probe=as_seen)
        await stage.repair.tick(a_rule())
    finally:
        await world.sql("alter role service_role bypassrls")

    assert seen.verdict is not Verdict.HEALTHY
    assert not [told for told in stage.reporter.told(LookFinished) if told.violations]
