"""What an adversary tried on the direct path: each test was a defect, or is one that is told of."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from sidecar.demo.postgres import PostgresServer
from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.rule import FromBalance, Mode, Origin, Rule
from sidecar.domain.run import Outcome, RowResult, Run
from sidecar.domain.verification import VerifyResult
from sidecar.engine.undo import Undone
from sidecar.roles import roles_sql
from sidecar.state.open import open_state
from tests.engine.cast import Stage
from tests.fakes import FakeSwitch
from tests.verify.cast import Ground, a_stage, key_of, make_ground, the_rule

BALANCE = "select credits_balance from public.users where id = %s"
MOVE = """
    insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)
    values (%(user)s, 'bonus', 50, 850)
"""
ADD = "update public.users set credits_balance = credits_balance + 50 where id = %(user)s"
RULE = the_rule(verify_again_after_seconds=(0.0,))
FROZEN = Refuse(guard=GuardName.FROZEN, value="the file froze everything", limit="not frozen", hint="remove it")
UNREADABLE = Refuse(guard=GuardName.FREEZE_UNREADABLE, value="I/O error", limit="there, or not there", hint="mend it")


def without_snapshots(**changes: object) -> Rule:
    rule = the_rule(**changes)
    values = dict(rule.repair.values)
    values[rule.balance_column] = FromBalance(order=(Origin.ATTESTED, Origin.LEDGER))
    return replace(rule, repair=replace(rule.repair, values=values))


@pytest.fixture
async def ground(postgres_server: PostgresServer, database_url: str) -> Ground:
    return await make_ground(postgres_server, database_url)


@contextlib.asynccontextmanager
async def raced(ground: Ground) -> AsyncIterator[tuple[Stage, str]]:
    """A run whose one row a writer raced, who outlasted its patience: a later verification would correct it."""
    await ground.populate(users=20, orphans=1)
    async with a_stage(ground) as stage, await psycopg.AsyncConnection.connect(ground.url) as writer:
        await writer.execute(MOVE, {"user": key_of(1)})
        assert (await writer.execute(ADD, {"user": key_of(1)})).rowcount == 0
        cycle = await stage.repair.tick(RULE)
        await writer.commit()
        assert cycle.outcome is Outcome.REPAIRED
        yield stage, cycle.run_id or ""


@pytest.mark.parametrize("refusal", [FROZEN, UNREADABLE], ids=["thrown", "unreadable"])
async def test_the_switch_outside_of_memory_stops_a_correction_too(ground: Ground, refusal: Refuse) -> None:
    async with raced(ground) as (stage, _):
        assert isinstance(stage.switch, FakeSwitch)
        stage.switch.refusal = refusal
        [again] = await stage.reverifier.due(RULE)
    assert (again.result, again.corrected) == (VerifyResult.FAILED, 0)
    assert await ground.sql(BALANCE, key_of(1)) == [(800,)]


async def test_a_rule_that_only_watches_by_now_corrects_nothing(ground: Ground) -> None:
    async with raced(ground) as (stage, _):
        [again] = await stage.reverifier.due(replace(RULE, mode=Mode.OBSERVE))
    assert (again.result, again.corrected) == (VerifyResult.FAILED, 0)
    assert await ground.sql(BALANCE, key_of(1)) == [(800,)]


async def test_a_correction_sets_off_no_trigger_that_came_after_the_plan(ground: Ground) -> None:
    async with raced(ground) as (stage, _):
        await ground.sql(
            """create function public.thank() returns trigger language plpgsql security definer as $$ begin
                 insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)
                 values (new.id, 'bonus', new.credits_balance - old.credits_balance, new.credits_balance + 50);
                 return null; end $$;
               create trigger thank after update of credits_balance on public.users
                 for each row execute function public.thank()"""
        )
        [again] = await stage.reverifier.due(RULE)
    assert (again.result, again.corrected) == (VerifyResult.FAILED, 0)
    assert await ground.sql(BALANCE, key_of(1)) == [(800,)]
    assert await ground.sql("select count(*) from public.credit_transactions where user_id = %s", key_of(1)) == [(3,)]


async def test_what_a_trigger_says_is_not_repeated(ground: Ground) -> None:
    """A function of the user's may refuse with the SQLSTATE of a missing privilege, and name whom it refuses."""
    await ground.populate(users=20, orphans=1)
    await ground.sql(
        """create function public.bouncer() returns trigger language plpgsql as $$ begin
             raise exception 'no entry for %', new.email using errcode = 'insufficient_privilege'; end $$;
           create trigger bouncer before insert on public.users for each row execute function public.bouncer()"""
    )
    rule = the_rule()
    reviewed = replace(rule, guard=replace(rule.guard, triggers_reviewed=frozenset({"bouncer"})))
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(reviewed)
        run = await stage.state.run(cycle.run_id or "")
    assert run is not None
    assert "42501" in f"{cycle.detail}{run.detail}{await _reasons(ground)}"
    assert "example.org" not in f"{cycle.detail}{run}{stage.reporter.events}{await _reasons(ground)}"


@pytest.mark.parametrize("memory", ["in the database", "apart"])
async def test_a_row_to_which_a_trigger_gave_another_key_is_told_as_not_landed(
    ground: Ground, tmp_path: Path, memory: str
) -> None:
    await ground.populate(users=20, orphans=1)
    await ground.sql("insert into auth.users (id, email) values (%s, 'stranger@example.org')", key_of(99))
    await ground.sql(
        f"""create function public.swap() returns trigger language plpgsql as $$ begin
              new.id := '{key_of(99)}'; return new; end $$;
            create trigger swap before insert on public.users for each row execute function public.swap()"""
    )
    reviewed = replace(RULE, guard=replace(RULE.guard, triggers_reviewed=frozenset({"swap"})))
    async with contextlib.AsyncExitStack() as opened:
        url = f"sqlite:///{tmp_path / 'sidecar.db'}"
        state = await opened.enter_async_context(open_state(url)) if memory == "apart" else None
        stage = await opened.enter_async_context(a_stage(ground, state=state))
        cycle = await stage.repair.tick(reviewed)
        rows = await stage.rows(cycle)
    assert rows == {key_of(1): (RowResult.FAILED, "not_landed")}
    assert cycle.verified is not None
    assert cycle.verified.broken == {"row_extra": 1}


async def _reasons(ground: Ground) -> list[tuple[str]]:
    return await ground.sql("select reason from sidecar.run_rows")


async def test_a_plan_that_was_approved_before_does_not_bring_back_what_a_person_undid(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    by_hand = without_snapshots(mode=Mode.APPROVE)  # one would be evidence that has moved since the plan
    async with a_stage(ground) as stage:
        await stage.repair.plan(by_hand, "olga")
        before = await stage.approve_newest()
        cycle = await stage.repair.backfill(by_hand, "olga")
        run = await stage.state.run(cycle.run_id or "")
        assert run is not None
        made = await stage.undo.plan(by_hand, run, "olga", approved=True)
        assert made.plan is not None
        stored = await stage.state.undo(made.plan.id)
        assert stored is not None
        done = await stage.undo.apply(by_hand, stored, "olga")
        assert done.counts == {"undone": 1}
        after = await stage.repair.apply(by_hand, before, "otto")
        rows = await stage.rows(after)
    assert await ground.sql("select 1 from public.users where id = %s", key_of(1)) == []
    assert [str(result) for result, _ in rows.values()] == ["quarantined"]


async def test_a_balance_that_rested_on_a_sight_is_read_again_once_a_person_took_that_row_back(ground: Ground) -> None:
    """Nothing else tells of it: neither user nor ledger has moved, and the plan's rule never saw the row again."""
    await ground.populate(users=20, orphans=0)
    by_hand = the_rule(mode=Mode.APPROVE)
    other = replace(by_hand, name="another_of_this_table")
    async with a_stage(ground) as stage:
        await stage.repair.tick(RULE)  # a look sees the row
        await ground.sql(SEEN_A_DAY_AGO)
        await ground.sql("update public.credit_transactions set balance_after = null where user_id = %s", key_of(1))
        await ground.sql("delete from public.users where id = %s", key_of(1))
        await stage.repair.plan(by_hand, "olga")
        before = await stage.approve_newest()
        cycle = await stage.repair.backfill(other, "olga")
        run = await stage.state.run(cycle.run_id or "")
        assert run is not None
        assert (await undone(stage, other, run)).counts == {"undone": 1}
        after = await stage.repair.apply(by_hand, before, "otto")
        rows = await stage.rows(after)
    assert rows == {key_of(1): (RowResult.QUARANTINED, "no_evidence")}
    assert await ground.sql("select 1 from public.users where id = %s", key_of(1)) == []


async def test_a_row_that_came_back_and_went_again_since_the_plan_is_read_again(ground: Ground) -> None:
    """Its balance was no news, so nothing was noted; yet it was seen after a movement that the plan follows."""
    await ground.populate(users=20, orphans=0)
    by_hand = the_rule(mode=Mode.APPROVE)
    async with a_stage(ground) as stage:
        await stage.repair.tick(RULE)  # a look sees the row
        await ground.sql(SEEN_A_DAY_AGO)
        await ground.sql(
            "insert into public.credit_transactions (user_id, transaction_type, amount, balance_after, created_at)"
            " values (%s, 'bonus', 50, 850, now() - interval '12 hours')",
            key_of(1),
        )
        await ground.sql("create table kept as select * from public.users where id = %s", key_of(1))
        await ground.sql("delete from public.users where id = %s", key_of(1))
        await stage.repair.plan(by_hand, "olga")
        before = await stage.approve_newest()
        assert before.plan.rows[0].values["credits_balance"] == 850
        await ground.sql("insert into public.users select * from kept")
        await stage.repair.detect(by_hand)
        await ground.sql("delete from public.users where id = %s", key_of(1))
        after = await stage.repair.apply(by_hand, before, "otto")
        rows = await stage.rows(after)
    assert rows == {key_of(1): (RowResult.RACED, "evidence_moved")}
    assert await ground.sql("select 1 from public.users where id = %s", key_of(1)) == []


SEEN_A_DAY_AGO = """
    update sidecar.snapshots set at = at - 86400000000;
    update sidecar.looks set opened_at = opened_at - 86400000000, read_at = read_at - 86400000000
"""
PARTED = """
    alter table public.generations drop constraint generations_user_id_fkey;
    alter table public.users rename to whole;
    create table public.users (like public.whole including defaults) partition by hash (id);
    alter table public.users add primary key (id);
    create table public.users_0 partition of public.users for values with (modulus 1, remainder 0);
    insert into public.users select * from public.whole;
    drop table public.whole;
"""


async def parted(ground: Ground) -> None:
    """Let the target be a partitioned table, with one part for all rows."""
    await ground.sql(PARTED)
    await ground.sql(roles_sql([the_rule()]))


async def test_a_trigger_on_a_part_of_the_target_must_be_reviewed_too(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    await parted(ground)
    await ground.sql(
        """create function public.welcome() returns trigger language plpgsql as $$ begin return new; end $$;
           create trigger welcome before insert on public.users_0
             for each row execute function public.welcome()"""
    )
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(RULE)
    assert cycle.refusal is not None, cycle
    assert (cycle.refusal.guard, cycle.refusal.value) == (GuardName.TRIGGERS_REVIEWED, "welcome")
    assert await ground.sql("select 1 from public.users where id = %s", key_of(1)) == []


async def test_whoever_may_write_a_part_of_the_ledger_may_forge_it(ground: Ground) -> None:
    """A part is a table of its own to the API, and row level security of the whole does not hold for it."""
    await ground.sql(
        """alter table public.credit_transactions rename to whole;
           create table public.credit_transactions (like public.whole including defaults) partition by hash (user_id);
           create table public.movements_0 partition of public.credit_transactions
             for values with (modulus 1, remainder 0);
           alter table public.credit_transactions enable row level security;
           create index on public.credit_transactions (user_id);
           revoke all on public.credit_transactions, public.movements_0 from anon, authenticated;
           grant insert on public.movements_0 to authenticated"""
    )
    await ground.sql(roles_sql([the_rule()]))
    await ground.populate(users=20, orphans=1)
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(RULE)
    assert cycle.refusal is not None, cycle
    assert cycle.refusal.guard is GuardName.LEDGER_FORGEABLE
    assert await ground.sql("select 1 from public.users where id = %s", key_of(1)) == []


async def test_an_undo_sees_what_refers_to_a_part_of_the_target(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    await parted(ground)
    await ground.sql(
        "create table public.notes (user_id uuid references public.users_0 (id) on delete cascade);"
        "grant select on public.notes to sidecar_detector"
    )
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(RULE)
        run = await stage.state.run(cycle.run_id or "")
        assert run is not None
        await ground.sql("insert into public.notes values (%s)", key_of(1))
        done = await undone(stage, RULE, run)
    assert done.counts == {"has_dependants": 1}
    assert await ground.sql("select count(*) from public.notes") == [(1,)]


async def test_an_undo_that_a_trigger_refuses_is_told_and_changes_nothing(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    await ground.sql(
        """create function public.keep() returns trigger language plpgsql as $$ begin
             raise exception 'never delete %', old.email; end $$;
           create trigger keep before delete on public.users for each row execute function public.keep()"""
    )
    reviewed = replace(RULE, guard=replace(RULE.guard, triggers_reviewed=frozenset({"keep"})))
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(reviewed)
        run = await stage.state.run(cycle.run_id or "")
        assert run is not None
        done = await undone(stage, reviewed, run)
    assert done.blind is not None
    assert "P0001" in done.blind.detail
    assert "example.org" not in done.blind.detail
    assert await ground.sql(BALANCE, key_of(1)) == [(800,)]


async def undone(stage: Stage, rule: Rule, run: Run) -> Undone:
    """Plan, approve and carry out an undo, as a person at the prompt does."""
    made = await stage.undo.plan(rule, run, "olga", approved=True)
    if made.plan is None or not made.plan.removable:
        return made
    stored = await stage.state.undo(made.plan.id)
    assert stored is not None, made
    return await stage.undo.apply(rule, stored, "olga")


async def test_a_balance_that_a_person_took_back_does_not_vouch_for_itself(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(RULE)
        run = await stage.state.run(cycle.run_id or "")
        assert run is not None
        await stage.repair.tick(RULE)  # a look sees the row
        assert (await undone(stage, RULE, run)).counts == {"undone": 1}
        # The ledger was wrong: a person puts it right, and releases the row.
        await ground.sql(
            "update public.credit_transactions set amount = -100, balance_after = 900"
            " where user_id = %s and amount < 0",
            key_of(1),
        )
        for entry in await stage.state.held(RULE.name, stage.clock.now()):
            assert await stage.state.let_go(entry.id, "olga", stage.clock.now())
        await stage.repair.tick(RULE)
    assert await ground.sql(BALANCE, key_of(1)) == [(900,)]


async def test_a_movement_long_after_the_run_whose_second_half_is_pending_is_left_alone(ground: Ground) -> None:
    """An application that writes ledger and profile one after the other, in transactions of their own."""
    await ground.populate(users=20, orphans=1)
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(RULE)
        assert cycle.outcome is Outcome.REPAIRED
        await ground.sql(MOVE.replace("%(user)s", "%s"), key_of(1))
        await stage.reverifier.due(RULE)
        await ground.sql(ADD.replace("%(user)s", "%s"), key_of(1))
    assert await ground.sql(BALANCE, key_of(1)) == [(850,)]
