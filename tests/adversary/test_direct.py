"""What an adversary tried on the direct path: each test was a defect, or is one that is told of."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from sidecar.demo.postgres import PostgresServer
from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.rule import FromBalance, Mode, Origin, Rule
from sidecar.domain.run import Outcome
from sidecar.domain.verification import VerifyResult
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
