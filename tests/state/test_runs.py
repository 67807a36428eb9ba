from dataclasses import replace

import pytest

from sidecar.domain.run import TRANSITIONS, Outcome, RowResult, RunStatus, Settled
from sidecar.errors import LeaseLost
from sidecar.ports import State
from tests.state.cast import KEYS, NOW, RULE, TABLE, later, started, take

INSERTED = Settled(result=RowResult.INSERTED)


async def in_flight(state: State, run_id: str = "run-1") -> list[str]:
    return [row.key for row in await state.rows(run_id) if row.in_flight]


async def test_a_run_comes_back_with_its_rows_in_the_plans_order(state: State) -> None:
    run = await started(state, await take(state))
    assert await state.run("run-1") == replace(run, lease=TABLE, results={RowResult.PLANNED: 5})
    assert [row.key for row in await state.rows("run-1")] == list(KEYS)
    assert await state.run("run-9") is None


async def test_a_batch_is_announced_then_settled(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    assert await state.intend("run-1", TABLE, epoch, ["bob", "alice"], later(1)) is None
    assert await in_flight(state) == ["alice", "bob"]
    conflict = Settled(result=RowResult.CONFLICT, reason="23505")
    await state.settle("run-1", TABLE, epoch, {"alice": INSERTED, "bob": conflict}, later(2))

    rows = await state.rows("run-1")
    assert not any(row.in_flight for row in rows)
    assert [row.settled for row in rows[:3]] == [INSERTED, conflict, Settled(result=RowResult.PLANNED)]
    run = await state.run("run-1")
    assert run is not None
    assert run.heartbeat_at == later(2)
    assert run.results == {RowResult.INSERTED: 1, RowResult.CONFLICT: 1, RowResult.PLANNED: 3}


async def test_announcing_beats_the_heart(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.intend("run-1", TABLE, epoch, ["alice"], later(5))
    run = await state.run("run-1")
    assert run is not None
    assert run.heartbeat_at == later(5)


@pytest.mark.parametrize("scope", [RULE, "*"])
async def test_a_freeze_stops_the_next_batch_before_it_is_announced(state: State, scope: str) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.freeze(scope, "olga", "strange numbers", later(1))
    who = await state.intend("run-1", TABLE, epoch, ["alice"], later(2))
    assert who is not None
    assert "olga" in who
    assert "strange numbers" in who
    assert await in_flight(state) == []


async def test_a_row_that_landed_is_never_announced_again(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.settle("run-1", TABLE, epoch, {"alice": INSERTED}, later(1))
    with pytest.raises(ValueError, match="not planned any more"):
        await state.intend("run-1", TABLE, epoch, ["alice", "bob"], later(2))
    assert await in_flight(state) == []


async def test_rows_that_are_not_the_runs_are_neither_announced_nor_settled(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    with pytest.raises(ValueError, match="not planned"):
        await state.intend("run-1", TABLE, epoch, ["alice", "mallory"], later(1))
    with pytest.raises(ValueError, match="does not have one of the keys"):
        await state.settle("run-1", TABLE, epoch, {"alice": INSERTED, "mallory": INSERTED}, later(1))
    assert [row.settled.result for row in await state.rows("run-1")] == [RowResult.PLANNED] * 5
    assert await in_flight(state) == []


async def test_a_row_settled_as_planned_may_be_announced_again(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.intend("run-1", TABLE, epoch, ["alice"], later(1))
    await state.settle("run-1", TABLE, epoch, {"alice": Settled(result=RowResult.PLANNED)}, later(2))
    assert await in_flight(state) == []
    assert await state.intend("run-1", TABLE, epoch, ["alice"], later(3)) is None
    assert await in_flight(state) == ["alice"]


async def test_a_lease_on_another_table_does_not_fence_a_run(state: State) -> None:
    await started(state, await take(state))
    other = await state.acquire("public.other", "daemon", 10, NOW)
    assert other is not None
    with pytest.raises(LeaseLost):
        await state.intend("run-1", "public.other", other, ["alice"], later(1))
    with pytest.raises(ValueError, match="does not stand under"):
        await state.settle("run-1", "public.other", other, {"alice": INSERTED}, later(1))
    await state.move_run("run-1", RunStatus.APPLYING, RunStatus.INTERRUPTED, later(1))
    assert not await state.adopt_run("run-1", "public.other", other, later(1))


async def test_a_run_left_by_a_dead_holder_is_interrupted_and_adopted(state: State) -> None:
    old = await take(state)
    await started(state, old)
    await state.intend("run-1", TABLE, old, ["alice"], later(1))
    new = await take(state, holder="successor", at=later(11))

    assert await state.interrupt_silent(TABLE, new, later(11)) == ["run-1"]
    assert await state.interrupt_silent(TABLE, new, later(11)) == []
    with pytest.raises(LeaseLost, match="not applying"):
        await state.intend("run-1", TABLE, new, ["bob"], later(12))
    assert await in_flight(state) == ["alice"]

    assert await state.adopt_run("run-1", TABLE, new, later(12))
    assert not await state.adopt_run("run-1", TABLE, new, later(12))
    run = await state.run("run-1")
    assert run is not None
    assert (run.status, run.epoch, run.heartbeat_at) == (RunStatus.APPLYING, new, later(12))
    assert await state.intend("run-1", TABLE, new, ["bob"], later(13)) is None


async def test_a_run_that_was_interrupted_announces_nothing_until_it_is_adopted(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.move_run("run-1", RunStatus.APPLYING, RunStatus.INTERRUPTED, later(1))
    with pytest.raises(LeaseLost, match="not applying"):
        await state.intend("run-1", TABLE, epoch, ["alice"], later(2))
    assert await in_flight(state) == []


async def test_a_new_holder_does_not_write_for_a_run_it_has_not_adopted(state: State) -> None:
    await started(state, await take(state))
    new = await take(state, holder="successor", at=later(11))
    with pytest.raises(LeaseLost, match="not applying"):
        await state.intend("run-1", TABLE, new, ["alice"], later(12))
    assert await in_flight(state) == []


async def test_our_own_run_is_not_silent(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    assert await state.interrupt_silent(TABLE, epoch, later(1)) == []


EDGES = [(before, after) for before in RunStatus for after in RunStatus]


@pytest.mark.parametrize(("before", "after"), EDGES, ids=str)
async def test_runs_move_along_the_edges_of_the_table_alone(state: State, before: RunStatus, after: RunStatus) -> None:
    await started(state, await take(state))
    way = {RunStatus.APPLYING: [], RunStatus.FINISHED: [RunStatus.FINISHED]}.get(before, [before])
    here = RunStatus.APPLYING
    for step in way:
        assert await state.move_run("run-1", here, step, later(1), outcome=outcome_for(step))
        here = step
    if after in TRANSITIONS[before]:
        assert await state.move_run("run-1", before, after, later(2), outcome=outcome_for(after), detail="why")
    else:
        with pytest.raises(ValueError, match=f"cannot go from {before} to {after}"):
            await state.move_run("run-1", before, after, later(2), outcome=outcome_for(after))
    run = await state.run("run-1")
    assert run is not None
    assert run.status is (after if after in TRANSITIONS[before] else before)


def outcome_for(status: RunStatus) -> Outcome | None:
    return Outcome.REPAIRED if status is RunStatus.FINISHED else None


async def test_a_run_that_is_elsewhere_does_not_move(state: State) -> None:
    await started(state, await take(state))
    assert not await state.move_run("run-1", RunStatus.VERIFYING, RunStatus.INTERRUPTED, later(1))
    assert not await state.move_run("run-9", RunStatus.APPLYING, RunStatus.INTERRUPTED, later(1))


async def test_a_finished_run_has_an_end_an_outcome_and_a_detail(state: State) -> None:
    await started(state, await take(state))
    await state.move_run("run-1", RunStatus.APPLYING, RunStatus.FINISHED, later(7), outcome=Outcome.FAILED, detail="no")
    run = await state.run("run-1")
    assert run is not None
    assert (run.status, run.outcome, run.finished_at, run.detail) == (
        RunStatus.FINISHED,
        Outcome.FAILED,
        later(7),
        "no",
    )


@pytest.mark.parametrize(
    ("after", "outcome"), [(RunStatus.FINISHED, None), (RunStatus.VERIFYING, Outcome.REPAIRED)], ids=["none", "early"]
)
async def test_a_run_has_an_outcome_exactly_when_it_is_finished(
    state: State, after: RunStatus, outcome: Outcome | None
) -> None:
    await started(state, await take(state))
    with pytest.raises(ValueError, match="exactly when it is finished"):
        await state.move_run("run-1", RunStatus.APPLYING, after, later(1), outcome=outcome)


async def test_runs_are_listed_newest_first(state: State) -> None:
    epoch = await take(state)
    for number in range(1, 4):
        await started(state, epoch, number, at=later(number))
    await state.move_run("run-2", RunStatus.APPLYING, RunStatus.FINISHED, later(9), outcome=Outcome.FAILED)
    assert [run.id for run in await state.runs()] == ["run-3", "run-2", "run-1"]
    assert [run.id for run in await state.runs(RULE, unfinished=True)] == ["run-3", "run-1"]
    assert [run.id for run in await state.runs(limit=1)] == ["run-3"]
    assert await state.runs("other") == []


async def test_the_daily_cap_counts_what_landed_or_may_have_landed(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.intend("run-1", TABLE, epoch, ["alice", "bob", "carol"], later(10))
    assert await state.rows_since(TABLE, later(10)) == 3
    undetermined = Settled(result=RowResult.UNDETERMINED)
    raced = Settled(result=RowResult.RACED)
    results = {"alice": INSERTED, "bob": undetermined, "carol": raced, "dave": raced}
    await state.settle("run-1", TABLE, epoch, results, later(20))

    assert await state.rows_since(TABLE, later(20)) == 2
    assert await state.rows_since(TABLE, later(21)) == 0
    assert await state.rows_since("public.other", NOW) == 0
