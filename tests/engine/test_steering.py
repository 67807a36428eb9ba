"""A run is paused, resumed and aborted by people, whoever works on it, and nothing of it strands."""

from dataclasses import replace

import pytest

from sidecar.domain.decide import GuardName
from sidecar.domain.pace import FIRST_ROWS
from sidecar.domain.run import Outcome, RowResult, Run, RunStatus
from sidecar.domain.steering import abort_of, pause_of
from sidecar.errors import AccessDenied, LeaseLost, TargetUnreachable, Unreached
from tests.domain.cast import REPAIR
from tests.engine.cast import TABLE, Stage, auto, harm, keys_of
from tests.engine.test_resume import CANARY, Killed, killed_after_the_insert, only_run
from tests.fakes import After, FakeClock

PLANNED = (RowResult.PLANNED, "")
INSERTED = (RowResult.INSERTED, "")
COUNT = FIRST_ROWS + 4 + 3


async def halted(stage: Stage, *, wish: str = "pause") -> Run:
    """Let somebody steer a run of three batches while its first one is on its way."""
    harm(stage.data, *keys_of(COUNT))

    async def steer() -> None:
        run = await only_run(stage)
        if wish == "pause":
            assert await stage.steering.pause(run, "anna", "numbers look odd")
        else:
            await stage.state.freeze(abort_of(run.id), "anna", "wrong plan", stage.clock.now())

    stage.data.script["insert"].append(steer)
    cycle = await stage.repair.tick(auto())
    assert (cycle.outcome, cycle.refusal and cycle.refusal.guard) == (Outcome.REFUSED, GuardName.FROZEN)
    return await only_run(stage)


async def test_a_pause_holds_before_the_next_batch_and_says_whose_it_is(stage: Stage) -> None:
    run = await halted(stage)

    assert len(stage.data.inserted) == FIRST_ROWS
    assert (run.status, run.detail) == (RunStatus.INTERRUPTED, f"anna paused run {run.id}: numbers look odd")


async def test_a_paused_run_is_taken_up_by_nobody_until_it_is_resumed(stage: Stage) -> None:
    run = await halted(stage)
    for other in (stage, stage.beside("second")):
        cycle = await other.repair.tick(auto())
        assert cycle.refusal is not None
        assert (cycle.outcome, cycle.run_id, cycle.refusal.guard) == (Outcome.REFUSED, run.id, GuardName.FROZEN)
        assert "anna paused run" in cycle.refusal.value
        assert f"sidecar resume {run.id}" in cycle.refusal.hint
    assert len(stage.data.inserted) == FIRST_ROWS

    assert await stage.steering.resume(run, "ben")
    assert not await stage.steering.resume(run, "ben"), "there is nothing left to lift"
    cycle = await stage.beside("third").repair.tick(auto())
    assert (cycle.outcome, cycle.run_id) == (Outcome.REPAIRED, run.id)
    assert stage.data.inserted == keys_of(COUNT)


async def test_a_run_is_paused_once(stage: Stage) -> None:
    run = await halted(stage)
    assert not await stage.steering.pause(run, "ben", "")
    assert [freeze.scope for freeze in await stage.state.freezes()] == [pause_of(run.id)]


async def test_a_pause_of_one_run_holds_no_other(stage: Stage) -> None:
    run = await halted(stage)
    stage.data.rows.update({key: {"id": key} for key in keys_of(COUNT)})
    await stage.steering.abort(run, auto(), "anna", "", unread=False)
    await stage.state.freeze(pause_of("some-other-run"), "anna", "", stage.clock.now())
    harm(stage.data, "zoe")

    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


async def test_an_abort_that_found_the_holder_at_work_is_carried_out_by_the_next_look(stage: Stage) -> None:
    run = await halted(stage, wish="abort")
    assert run.status is RunStatus.INTERRUPTED
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.run_id, cycle.detail) == (Outcome.CANCELLED, run.id, "aborted by anna")
    assert len(stage.data.inserted) == FIRST_ROWS
    assert (await only_run(stage)).status is RunStatus.FINISHED
    assert await stage.state.freezes() == [], "a wish about a run that is over is lifted with it"


async def test_what_an_aborted_run_did_not_write_is_free_for_the_next_plan(stage: Stage) -> None:
    run = await halted(stage)
    ended = await stage.steering.abort(run, auto(), "anna", "wrong plan", unread=False)

    assert (ended.status, ended.outcome) == (RunStatus.FINISHED, Outcome.CANCELLED)
    assert ended.detail == "aborted by anna: wrong plan"
    assert ended.results == {RowResult.INSERTED: FIRST_ROWS, RowResult.PLANNED: COUNT - FIRST_ROWS}
    cycle = await stage.repair.tick(auto())
    assert (cycle.outcome, cycle.run_id != run.id) == (Outcome.REPAIRED, True)
    assert stage.data.inserted == keys_of(COUNT)


async def test_rows_in_flight_of_an_aborted_run_are_read_back(stage: Stage) -> None:
    keys = await killed_after_the_insert(stage)
    del stage.data.rows[keys[0]]
    second = stage.beside("second")
    ended = await second.steering.abort(await only_run(stage), auto(), "anna", "", unread=False)

    rows = {r.key: (r.settled.result, r.settled.reason) for r in await stage.state.rows(ended.id)}
    assert rows == {CANARY: INSERTED, keys[0]: PLANNED, keys[1]: INSERTED, keys[2]: INSERTED}
    assert not [r for r in await stage.state.rows(ended.id) if r.in_flight]


@pytest.mark.parametrize("case", ["rule gone", "unread"])
async def test_rows_that_nobody_can_read_back_are_undetermined_and_count_against_the_day(
    stage: Stage, case: str
) -> None:
    await killed_after_the_insert(stage)
    second = stage.beside("second")
    second.data.script["read_rows"].append(AccessDenied("must not be asked"))
    rule = None if case == "rule gone" else auto()
    ended = await second.steering.abort(await only_run(stage), rule, "anna", "", unread=case == "unread")

    assert (ended.outcome, ended.results) == (Outcome.CANCELLED, {RowResult.INSERTED: 1, RowResult.UNDETERMINED: 3})
    assert await stage.state.rows_since(TABLE, ended.started_at) == 4


async def test_an_abort_that_cannot_read_back_changes_nothing_and_stays_wished(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    second = stage.beside("second")
    run = await only_run(stage)
    stage.data.script["read_rows"].append(TargetUnreachable(Unreached.TIMED_OUT, "no answer"))
    with pytest.raises(TargetUnreachable):
        await second.steering.abort(run, auto(), "anna", "", unread=False)
    assert [row.in_flight for row in await stage.state.rows(run.id)] == [False, True, True, True]
    assert [freeze.scope for freeze in await stage.state.freezes()] == [abort_of(run.id)]

    cycle = await second.repair.tick(auto())
    assert (cycle.outcome, cycle.results) == (Outcome.CANCELLED, {RowResult.INSERTED: 4})


async def test_a_tick_that_cannot_read_back_an_aborted_run_is_blind_and_tries_again(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    run = await only_run(stage)
    await stage.state.freeze(abort_of(run.id), "anna", "", stage.clock.now())
    stage.data.script["read_rows"].append(TargetUnreachable(Unreached.TIMED_OUT, "no answer"))
    second = stage.beside("second")

    assert (await second.repair.tick(auto())).outcome is Outcome.UNKNOWN
    assert (await second.repair.tick(auto())).outcome is Outcome.CANCELLED


async def test_an_abort_comes_before_an_older_run_that_is_paused(stage: Stage) -> None:
    run = await halted(stage)
    await stage.state.freeze(abort_of(run.id), "ben", "", stage.clock.now())

    assert (await stage.repair.tick(auto())).outcome is Outcome.CANCELLED
    assert await stage.state.freezes() == []


async def test_a_zombie_begins_no_other_batch_of_a_run_that_was_aborted(stage: Stage) -> None:
    """The holder hangs before its first insert for longer than its lease; meanwhile somebody aborts the run."""
    harm(stage.data, *keys_of(COUNT))
    later = FakeClock()
    later.advance(stage.leases.ttl_seconds + 1)

    async def meanwhile() -> None:
        second = Stage(state=stage.state, clock=later, data=stage.data, holder="second")
        ended = await second.steering.abort(await only_run(stage), auto(), "anna", "", unread=False)
        assert ended.outcome is Outcome.CANCELLED

    stage.data.script["insert"].append(meanwhile)
    with pytest.raises(LeaseLost):
        await stage.repair.tick(auto())

    assert len(stage.data.inserted) == FIRST_ROWS, "the one that was under way"
    run = await only_run(stage)
    assert (run.outcome, run.results) == (Outcome.CANCELLED, {RowResult.PLANNED: COUNT})


async def test_a_wish_to_abort_a_run_that_ended_meanwhile_leaves_nothing_behind(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(auto())
    finished = await only_run(stage)
    told = await stage.steering.abort(replace(finished, status=RunStatus.APPLYING), auto(), "anna", "", unread=False)

    assert (told.outcome, await stage.state.freezes()) == (Outcome.REPAIRED, [])


async def test_rows_that_the_database_refused_stay_held_when_the_run_is_aborted(stage: Stage) -> None:
    harm(stage.data, *keys_of(FIRST_ROWS + 2))
    await stage.season()
    stage.data.poison["user-0000"] = "23505"
    stage.data.script["sight"].append(None)

    async def die() -> None:
        if len(stage.data.inserted) >= FIRST_ROWS:
            raise Killed

    stage.data.script["insert"].extend([die] * 40)
    with pytest.raises(Killed):
        await stage.repair.tick(auto())
    second = stage.beside("second")
    ended = await second.steering.abort(await only_run(stage), auto(), "anna", "", unread=False)

    assert ended.results[RowResult.CONFLICT] == 1
    assert [(q.key, q.reason) for q in await stage.state.held(ended.rule, stage.clock.now())] == [
        ("user-0000", "conflict:23505")
    ]


async def test_a_paused_run_whose_plan_expired_waits_all_the_same(stage: Stage) -> None:
    run = await halted(stage)
    stage.clock.advance(REPAIR.plan_expires_seconds + 1)
    assert (await stage.repair.tick(auto())).outcome is Outcome.REFUSED
    assert await stage.steering.resume(run, "anna")
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.run_id) == (Outcome.ABANDONED, run.id)


async def test_one_lost_answer_does_not_let_a_paused_batch_go_on(stage: Stage) -> None:
    """The retry of a batch is a batch of its own, and reads the pause anew."""
    harm(stage.data, "alice", "bob")
    lost = TargetUnreachable(Unreached.CUT_OFF, "half an answer")

    async def pause_then_lose() -> None:
        await stage.steering.pause(await only_run(stage), "anna", "")
        raise lost

    stage.data.script["insert"].extend([pause_then_lose, After(error=lost)])
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, stage.data.inserted) == (Outcome.REFUSED, [])
