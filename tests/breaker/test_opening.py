"""What opens the breaker of a table while a run is under way, and what it keeps from happening then."""

from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.domain.breaker import COOL_DOWN, Breaker, BreakerStatus, Tried
from sidecar.domain.decide import GuardName
from sidecar.domain.event import BreakerMoved, BreakerRead, RunStarted
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome, RowResult, RunStatus
from sidecar.engine.cycle import Cycle
from sidecar.engine.trust import LOST
from sidecar.engine.writing import TRIES_PER_INSERT
from sidecar.errors import LeaseLost, RateLimited, TargetUnreachable, Unreached
from sidecar.state.open import open_state
from tests.domain.cast import RULE
from tests.engine.cast import TABLE, Stage, a_world, approve, auto, harm, keys_of
from tests.fakes import FakeClock

CUT = TargetUnreachable(Unreached.CUT_OFF, "half an answer")
OPEN = BreakerStatus.OPEN


async def breaker_of(stage: Stage) -> Breaker:
    return await stage.state.breaker(TABLE)


async def put(stage: Stage, breaker: Breaker) -> None:
    """Give the table a breaker with a past."""
    epoch = await stage.state.acquire(TABLE, "history", 10.0, stage.clock.now())
    assert epoch is not None
    await stage.state.save_breaker(TABLE, epoch, breaker, stage.clock.now())
    await stage.state.release(TABLE, epoch)


async def opened(stage: Stage) -> Breaker:
    found = Breaker(status=OPEN, opened_at=stage.clock.now(), reason="a verification failed", rule=RULE.name)
    await put(stage, found)
    return found


def refused_by(cycle: Cycle) -> GuardName | None:
    return cycle.refusal.guard if cycle.refusal is not None else None


async def test_the_third_failed_batch_in_a_row_opens_it_and_stops_the_run_there(stage: Stage) -> None:
    keys = keys_of(1 + 4 + 16 + 64)
    harm(stage.data, *keys)
    await stage.season()
    stage.data.poison.update({keys[0]: "23505", keys[1]: "23505", keys[2]: "23505"})
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, refused_by(cycle)) == (Outcome.REFUSED, GuardName.BREAKER_OPEN)
    assert cycle.detail == "the breaker opened: 3 batches in a row failed"
    assert stage.data.made("insert") == [(keys[0],), (keys[1],), (keys[2],)]
    assert cycle.run_id is not None
    run = await stage.state.run(cycle.run_id)
    assert run is not None
    assert (run.status, run.detail) == (RunStatus.INTERRUPTED, cycle.detail)
    moved = stage.reporter.told(BreakerMoved)
    assert [(event.after, event.reason) for event in moved] == [(OPEN, "3 batches in a row failed")]


async def test_more_than_five_percent_of_the_rows_open_it_from_the_first_batch_on(stage: Stage) -> None:
    keys = keys_of(1 + 4 + 16)
    harm(stage.data, *keys)
    stage.data.poison[keys[3]] = "23514"
    cycle = await stage.repair.tick(auto())

    assert refused_by(cycle) is GuardName.BREAKER_OPEN
    assert cycle.detail == "the breaker opened: 1 of 5 rows failed in the last 2 batches"
    assert cycle.results == {RowResult.INSERTED: 4, RowResult.CONFLICT: 1, RowResult.PLANNED: 16}


async def test_a_canary_that_does_not_verify_opens_it_and_no_second_row_is_written(stage: Stage) -> None:
    harm(stage.data, *keys_of(5))
    stage.data.altering = {"credits_balance": 50}
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.VERIFY_FAILED
    assert (cycle.results, len(stage.data.inserted)) == ({RowResult.INSERTED: 1, RowResult.PLANNED: 4}, 1)
    assert cycle.detail == "the breaker opened: credits drifted"
    assert (await breaker_of(stage)).status is OPEN


async def test_a_verification_that_fails_at_the_end_opens_it(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.script["read_rows"].append(lambda: stage.data.rows.pop("alice"))
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.VERIFY_FAILED
    assert (await breaker_of(stage)).reason == "credits drifted"
    assert await stage.state.trusted(RULE.name) == LOST


async def test_three_batches_that_nobody_could_carry_out_open_it(stage: Stage) -> None:
    harm(stage.data, "alice", "bob")
    for failures in (1, 2, 3):
        stage.data.script["insert"].extend([CUT] * TRIES_PER_INSERT)
        await stage.repair.backfill(auto(), "olga")
        assert ((await breaker_of(stage)).status is OPEN) == (failures == 3)
    assert stage.data.inserted == []


async def test_a_wish_to_be_left_alone_and_a_row_that_somebody_else_wrote_are_no_failures(stage: Stage) -> None:
    harm(stage.data, "alice")
    for _ in range(4):
        stage.data.script["insert"].append(RateLimited("429", 60.0))
        await stage.repair.tick(auto())
    assert await breaker_of(stage) == Breaker()
    stage.data.script["insert"].append(lambda: stage.data.rows.update(alice={"id": "alice", "metadata": None}))
    assert (await stage.repair.tick(auto())).results == {RowResult.RACED: 1}
    assert await breaker_of(stage) == Breaker()


async def attempt(stage: Stage, how: str, rule: Rule) -> Cycle:
    match how:
        case "typed":
            return await stage.repair.backfill(rule, "olga")
        case "rehearsed":
            return await stage.repair.rehearse(rule)
        case _:
            return await stage.apply_newest(rule)


@pytest.mark.parametrize("how", ["typed", "approved", "rehearsed"])
async def test_an_open_breaker_refuses_every_run_before_its_first_write(stage: Stage, how: str) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(approve())
    await opened(stage)
    cycle = await attempt(stage, how, approve())

    assert (cycle.outcome, refused_by(cycle), cycle.run_id) == (Outcome.REFUSED, GuardName.BREAKER_OPEN, None)
    assert (stage.data.made("insert"), await stage.state.runs()) == ([], [])
    stage.clock.advance(COOL_DOWN.total_seconds())
    assert (await stage.repair.backfill(approve(), "olga")).outcome is Outcome.REPAIRED


async def test_an_open_breaker_resumes_no_run_until_it_has_cooled_down(stage: Stage) -> None:
    harm(stage.data, *keys_of(3))
    stage.is_stopping = lambda: bool(stage.data.inserted)
    first = await stage.repair.backfill(auto(), "olga")
    assert first.outcome is Outcome.CANCELLED
    stage.is_stopping = lambda: False
    await opened(stage)
    again = await stage.repair.tick(auto())

    assert (refused_by(again), again.run_id, len(stage.data.inserted)) == (GuardName.BREAKER_OPEN, first.run_id, 1)
    assert len(stage.reporter.told(RunStarted)) == 1, "it is not even taken up"
    stage.clock.advance(COOL_DOWN.total_seconds())
    assert (await stage.repair.tick(auto())).run_id == first.run_id
    assert len(stage.data.inserted) == 3


async def test_a_run_of_which_only_the_verification_is_left_is_verified_all_the_same(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.script["read_rows"].append(CUT)
    first = await stage.repair.backfill(auto(), "olga")
    assert first.outcome is Outcome.UNKNOWN
    await opened(stage)
    cycle = await stage.repair.tick(auto())

    assert (cycle.run_id, cycle.outcome) == (first.run_id, Outcome.REPAIRED)
    assert (await breaker_of(stage)).status is OPEN, "what was written before says nothing about the next row"


async def test_a_restart_keeps_it_open(tmp_path: Path) -> None:
    clock = FakeClock()
    data = a_world(clock)
    harm(data, *keys_of(2))
    url = f"sqlite:///{tmp_path / 'memory.db'}"
    async with open_state(url) as state:
        data.altering = {"credits_balance": 50}
        assert (await Stage(state=state, clock=clock, data=data).repair.tick(auto())).outcome is Outcome.VERIFY_FAILED
    data.altering = {}
    async with open_state(url) as state:
        cycle = await Stage(state=state, clock=clock, data=data, holder="later").repair.backfill(auto(), "olga")
        assert refused_by(cycle) is GuardName.BREAKER_OPEN
    assert len(data.inserted) == 1


async def test_auto_is_lost_with_it_until_a_plan_was_applied_and_verified_again(stage: Stage) -> None:
    keys = keys_of(6)
    harm(stage.data, *keys)
    stage.data.poison.update({keys[1]: "23505"})
    opening = await stage.repair.tick(auto())
    assert refused_by(opening) is GuardName.BREAKER_OPEN
    assert await stage.state.trusted(RULE.name) == LOST
    stage.clock.advance(COOL_DOWN.total_seconds())
    abandoned = await stage.repair.tick(auto())
    assert (abandoned.run_id, abandoned.outcome) == (opening.run_id, Outcome.ABANDONED)
    stage.data.poison.clear()
    waiting = await stage.repair.tick(auto())
    assert (waiting.outcome, len(stage.data.inserted)) == (Outcome.PLANNED, 4)


async def test_no_rule_of_the_table_is_automatic_while_it_is_not_closed(stage: Stage) -> None:
    harm(stage.data, "alice")
    await opened(stage)
    stage.clock.advance(COOL_DOWN.total_seconds())
    other = replace(auto(), name="another_rule_of_this_table")
    assert (await stage.repair.tick(other)).outcome is Outcome.PLANNED
    assert stage.reporter.told(BreakerRead)[-1].open


async def test_a_breaker_can_only_be_moved_under_the_lease_of_its_table(stage: Stage) -> None:
    await opened(stage)
    with pytest.raises(LeaseLost):
        await stage.state.save_breaker(TABLE, 0, Breaker(), stage.clock.now())
    assert (await breaker_of(stage)).status is OPEN


async def test_memory_gives_back_what_it_was_given(stage: Stage) -> None:
    full = Breaker(
        status=BreakerStatus.HALF_OPEN,
        failed_in_a_row=2,
        window=(Tried(rows=3, failed=1), Tried(rows=0, failed=0, carried_out=False)),
        opened_at=stage.clock.now(),
        reason="because",
        rule="r",
        failed_probes=1,
    )
    assert await breaker_of(stage) == Breaker()
    await put(stage, full)
    assert await breaker_of(stage) == full
