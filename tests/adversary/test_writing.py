"""Writes that a guard should have stopped, and rows that stop all others."""

import contextlib
from dataclasses import replace

import pytest
from starlette.types import Scope

from sidecar.demo.rest import operations
from sidecar.domain.event import LookFinished
from sidecar.domain.rule import Mode
from sidecar.domain.run import Outcome, RunStatus
from sidecar.errors import SidecarError
from tests.adversary.cast import Meant, World, a_rule, is_insert, key_of

ALICE, BOB = key_of(1), key_of(2)
DOWN = (503, {"code": "PGRST001", "message": "no connection"})


async def test_a_freeze_stops_the_second_try_of_a_batch(world: World) -> None:
    await world.user(ALICE)
    stage = world.stage()
    tries = 0

    async def meddle(scope: Scope, _body: bytes) -> Meant:
        nonlocal tries
        tries += is_insert(scope)
        if not is_insert(scope) or tries > 1:
            return None
        await world.state.freeze("*", "olga", "stop", stage.clock.now())
        return DOWN

    world.meddler.meddle = meddle
    await stage.repair.tick(a_rule())

    assert await world.balances() == {}


async def test_a_freeze_stops_the_halves_of_a_refused_batch(world: World) -> None:
    for number in range(1, 17):
        await world.user(key_of(number))
    await world.sql("alter table public.users add constraint no_nine check (id::text not like '%%0009')")
    stage = world.stage()
    before: dict[str, int] = {}

    async def meddle(scope: Scope, body: bytes) -> None:
        if is_insert(scope) and key_of(9).encode() in body and await world.state.frozen("any") is None:
            before.update(await world.balances())
            await world.state.freeze("*", "olga", "stop", stage.clock.now())

    world.meddler.meddle = meddle
    await stage.repair.tick(a_rule())

    assert await world.balances() == before
    assert 0 < len(before) < 9


async def _interrupted(world: World, *, landed: int, of: int) -> None:
    """Leave a run of `auto` that stopped after so many rows."""
    for number in range(1, of + 1):
        await world.user(key_of(number))

    async def meddle(scope: Scope, _body: bytes) -> Meant:
        return DOWN if is_insert(scope) and len(await world.balances()) >= landed else None

    world.meddler.meddle = meddle
    await world.stage("first").repair.tick(a_rule())
    world.meddler.meddle = None
    assert [run.status for run in await world.state.runs()] == [RunStatus.INTERRUPTED]


async def test_switching_to_approve_stops_what_the_guards_approved_themselves(world: World) -> None:
    await _interrupted(world, landed=0, of=2)
    await world.stage("second").repair.tick(a_rule(Mode.APPROVE))

    assert await world.balances() == {}


async def test_a_rule_set_to_observe_ends_an_interrupted_run_and_goes_on_watching(world: World) -> None:
    await _interrupted(world, landed=0, of=1)
    stage = world.stage("second")
    ended = await stage.repair.tick(a_rule(Mode.OBSERVE))
    await stage.repair.tick(a_rule(Mode.OBSERVE))

    assert ended.outcome is Outcome.ABANDONED
    assert [told.violations for told in stage.reporter.told(LookFinished)] == [{"repairable": 1}]


async def test_a_stale_run_of_a_rule_set_to_observe_is_accounted_for(world: World) -> None:
    await _interrupted(world, landed=0, of=1)
    await world.stage("second").repair.tick(replace(a_rule(Mode.OBSERVE), digest="edited since"))

    assert [run.status for run in await world.state.runs()] == [RunStatus.FINISHED]


ODD = """create function public.odd() returns trigger language plpgsql as $$ begin
  if new.id::text like '%%0001' then raise exception using errcode = '{}'; end if; return new; end $$"""


@pytest.mark.parametrize("code", ["P0002", "54000", "42501", "PT422", "XX000", "38000"])
async def test_a_row_that_the_database_refuses_in_an_odd_way_does_not_block_the_others(world: World, code: str) -> None:
    await world.user(ALICE)
    await world.user(BOB)
    await world.stage("history").season()
    await world.sql(ODD.format(code))
    await world.sql("create trigger odd before insert on public.users for each row execute function public.odd()")
    rule = a_rule()
    rule = replace(rule, guard=replace(rule.guard, triggers_reviewed=frozenset({"odd"})))
    for number in range(2):
        with contextlib.suppress(SidecarError):  # PT422 ends in one
            await world.stage(f"p{number}").repair.tick(rule)

    assert await world.balances() == {BOB: 1200}


@pytest.mark.parametrize("status", [400, 409])
async def test_a_proxy_that_refuses_a_batch_is_not_the_database(world: World, status: int) -> None:
    await world.user(ALICE)

    async def meddle(scope: Scope, _body: bytes) -> Meant:
        return (status, b"<html>no</html>") if is_insert(scope) else None

    world.meddler.meddle = meddle
    await world.stage("first").repair.tick(a_rule())
    world.meddler.meddle = None
    await world.stage("second").repair.tick(a_rule())

    assert await world.balances() == {ALICE: 1200}


@pytest.mark.parametrize("name", ["42", '{"first": "A"}'])
async def test_a_name_that_is_no_text_is_no_failed_verification(world: World, name: str) -> None:
    await world.user(ALICE, meta=f'{{"full_name": {name}}}')
    cycle = await world.stage().repair.tick(a_rule())

    assert cycle.outcome is not Outcome.VERIFY_FAILED


@pytest.fixture
def five_rows_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgREST's db-max-rows: whatever is longer is cut off without a word."""
    monkeypatch.setattr(operations, "ROWS_AT_MOST", 5)


@pytest.mark.usefixtures("five_rows_at_most")
async def test_a_server_with_a_small_cap_on_rows_does_not_hide_what_was_written(world: World) -> None:
    for number in range(1, 13):
        await world.user(key_of(number))
    cycle = await world.stage().repair.tick(a_rule())

    assert cycle.outcome is Outcome.REPAIRED


@pytest.mark.usefixtures("five_rows_at_most")
async def test_a_server_with_a_small_cap_on_rows_does_not_hide_taken_emails(world: World) -> None:
    await world.sql("alter table public.users drop constraint users_email_key")
    for number in range(1, 13):
        await world.user(key_of(number))
        await world.user(key_of(100 + number), chain=())
        await world.profile(key_of(100 + number), 0)
        await world.sql(
            "update public.users set email = %s where id = %s",
            f"{key_of(number)}@example.org",
            key_of(100 + number),
        )
    await world.stage().repair.tick(a_rule())

    assert await world.balances() == {}


async def test_a_text_key_in_capitals_is_refused_or_found(world: World) -> None:
    for line in (
        "alter table public.users drop constraint users_id_fkey",
        "alter table public.generations drop constraint generations_user_id_fkey",
        'drop policy "Users see their own profile" on public.users',
        'drop policy "Users change their own profile" on public.users',
        "alter table public.users alter id type text",
    ):
        await world.sql(line)
    await world.user(ALICE)
    await world.sql(
        "insert into public.users (id, email, credits_balance) values (upper(%s), 'a@example.org', 700)", ALICE
    )
    await world.stage().repair.tick(a_rule())

    assert len(await world.sql("select id from public.users where lower(id) = %s", ALICE)) == 1


async def test_a_rollback_that_may_pass_is_no_refusal_of_a_row(world: World) -> None:
    await world.user(ALICE)
    await world.sql(ODD.format("40001"))
    await world.sql("create trigger odd before insert on public.users for each row execute function public.odd()")
    rule = a_rule()
    rule = replace(rule, guard=replace(rule.guard, triggers_reviewed=frozenset({"odd"})))
    await world.stage("first").repair.tick(rule)

    assert [run.status for run in await world.state.runs()] == [RunStatus.INTERRUPTED]
