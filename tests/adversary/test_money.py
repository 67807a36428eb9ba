"""Balances that no evidence carries, written and verified as if it did."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from starlette.types import Scope

from sidecar.domain.run import Outcome
from sidecar.state.open import open_state
from tests.adversary.cast import World, a_rule, is_insert, key_of
from tests.engine.cast import Stage, auto, harm
from tests.engine.cast import a_world as a_fake_world
from tests.fakes import FakeClock

ALICE, BOB = key_of(1), key_of(2)
TABLE = "public.users"
PURCHASE = (
    "insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)"
    " values (%s, 'purchase', %s, %s)"
)


async def whole_second(world: World) -> None:
    """Let a second pass in the database: the Date header knows no smaller one, and servers renew it late."""
    await world.sql("select pg_sleep(2.1)")


async def test_a_purchase_that_commits_while_a_look_reads_is_not_forgotten(world: World) -> None:
    await world.user(ALICE)
    await world.profile(ALICE, 1200)
    stage, rule = world.stage(), a_rule()
    async with await psycopg.AsyncConnection.connect(world.database_url) as buyer:
        await buyer.execute(PURCHASE, (ALICE, 500, 1700))
        await buyer.execute("update public.users set credits_balance = 1700 where id = %s", (ALICE,))
        await whole_second(world)
        assert (await stage.repair.tick(rule)).outcome is Outcome.NOTHING_TO_DO
        await buyer.commit()
    await world.sql("delete from public.users where id = %s", ALICE)
    await stage.repair.tick(rule)

    assert (await world.balances()).get(ALICE) in (None, 1700)


async def test_a_purchase_between_reading_and_writing_fails_the_verification(world: World) -> None:
    await world.user(ALICE)

    async def buy(scope: Scope, _body: bytes) -> None:
        if is_insert(scope):
            await world.sql(PURCHASE, ALICE, 500, 1700)

    world.meddler.meddle = buy
    cycle = await world.stage().repair.tick(a_rule())

    assert cycle.outcome is Outcome.VERIFY_FAILED or await world.balances() == {ALICE: 1700}


async def test_an_attestation_of_long_ago_does_not_overrule_what_was_seen_since(world: World) -> None:
    await world.user(ALICE)
    stage, rule = world.stage(), a_rule()
    await world.state.attest(TABLE, ALICE, 500, "ticket 7", "olga", stage.clock.now())
    assert (await stage.repair.tick(rule)).outcome is Outcome.REPAIRED
    await world.sql(
        "update public.users set credits_balance = 2000, created_at = now() - interval '1 h' where id = %s", ALICE
    )
    assert (await stage.repair.tick(rule)).outcome is Outcome.NOTHING_TO_DO
    await world.sql("delete from public.users where id = %s", ALICE)
    await stage.repair.tick(rule)

    assert (await world.balances()).get(ALICE) in (None, 2000)


async def test_a_ledger_row_that_later_looks_saw_to_have_no_effect_is_not_added(world: World) -> None:
    await world.user(ALICE)
    await world.profile(ALICE, 1200)
    stage, rule = world.stage(), a_rule()
    await stage.repair.tick(rule)
    await whole_second(world)
    await world.sql(PURCHASE, ALICE, 100, 1300)
    await whole_second(world)
    await stage.repair.tick(rule)
    await stage.repair.tick(rule)
    await world.sql("delete from public.users where id = %s", ALICE)
    await stage.repair.tick(rule)

    assert (await world.balances()).get(ALICE) in (None, 1200)


async def test_a_balance_of_the_pass_that_failed_is_no_snapshot(world: World) -> None:
    await world.user(ALICE, chain=())
    await world.sql(
        "insert into public.credit_transactions (user_id, transaction_type, amount, created_at)"
        " values (%s, 'bonus', 1200, now() - interval '1 day')",
        ALICE,
    )
    await world.profile(ALICE, 1200)
    stage, rule = world.stage(), a_rule()
    await stage.repair.tick(rule)
    await whole_second(world)
    counts = 0

    async def meddle(scope: Scope, _body: bytes) -> None:
        nonlocal counts
        if (b"prefer", b"count=exact") not in scope["headers"] or not scope["path"].endswith("/users"):
            return
        counts += 1
        if counts == 1:
            await world.sql("update public.users set credits_balance = 900 where id = %s", ALICE)
        if counts == 2:  # the first pass is over: one backdated profile more, and the balance is as it was
            await world.user(BOB)
            await world.profile(BOB, 1200)
            await world.sql("update public.users set credits_balance = 1200 where id = %s", ALICE)

    world.meddler.meddle = meddle
    assert (await stage.repair.tick(rule)).outcome is Outcome.NOTHING_TO_DO
    world.meddler.meddle = None
    await world.sql("delete from public.users where id = %s", ALICE)
    await stage.repair.tick(rule)

    assert (await world.balances()).get(ALICE) in (None, 1200)


@asynccontextmanager
async def _in_another_database(folder: Path, *, confirmations: int) -> AsyncIterator[tuple[Any, Stage, Any]]:
    """A user with 7 credits in the first database, seen there; moved to one whose ledger says 1200, accepted."""
    clock = FakeClock()
    data = a_fake_world(clock)
    async with open_state(f"sqlite:///{folder / 's.db'}") as state:
        stage = Stage(state=state, clock=clock, data=data)
        harm(data, "alice")
        data.rows["alice"] = {"id": "alice", "credits_balance": 7}
        data.snapshots = [("alice", 7)]
        rule = auto(detect=auto().detect if confirmations == 1 else a_rule(confirmations=confirmations).detect)
        await stage.repair.tick(rule)
        data.snapshots = []
        del data.rows["alice"]
        if confirmations > 1:
            await stage.repair.tick(rule)
        clock.advance(10)
        data.database = "db-2"
        assert (await stage.repair.tick(rule)).outcome is Outcome.UNKNOWN
        await state.drop_baseline(rule.name, "olga", clock.now())
        yield data, stage, rule


async def test_a_snapshot_of_another_database_is_no_evidence_in_this_one(tmp_path: Path) -> None:
    async with _in_another_database(tmp_path, confirmations=1) as (data, stage, rule):
        await stage.repair.tick(rule)

        assert data.rows.get("alice", {}).get("credits_balance") in (None, 1200)


async def test_a_look_at_another_database_confirms_nothing_in_this_one(tmp_path: Path) -> None:
    async with _in_another_database(tmp_path, confirmations=2) as (data, stage, rule):
        await stage.repair.tick(rule)

        assert data.inserted == []


async def test_a_ledger_without_time_zones_in_a_database_that_is_not_in_utc(world: World) -> None:
    await world.sql("alter role authenticator set timezone = 'America/New_York'")
    try:
        await world.sql("set timezone = 'America/New_York'")
        await world.sql("alter table public.credit_transactions alter created_at type timestamp")
        await world.user(ALICE)
        await world.profile(ALICE, 1200)
        stage, rule = world.stage(), a_rule()
        await stage.repair.tick(rule)
        await whole_second(world)
        await world.sql(PURCHASE, ALICE, 500, 1700)
        await world.sql("delete from public.users where id = %s", ALICE)
        await stage.repair.tick(rule)
    finally:
        await world.sql("alter role authenticator reset timezone")

    assert (await world.balances()).get(ALICE) in (None, 1700)
