"""What memory keeps of breakers, of attempts and of a run that waits, on SQLite and PostgreSQL alike."""

from dataclasses import replace

import pytest

from sidecar.domain.breaker import Breaker, BreakerStatus, Tried
from sidecar.domain.run import RowResult, Settled
from sidecar.errors import LeaseLost
from sidecar.ports import State
from tests.state.cast import NOW, RULE, TABLE, later, started, take

OPEN = Breaker(
    status=BreakerStatus.OPEN,
    failed_in_a_row=1,
    window=(Tried(rows=3, failed=1), Tried(rows=0, failed=0, carried_out=False)),
    opened_at=NOW,
    reason="a verification failed",
    rule=RULE,
    failed_probes=1,
)


async def test_a_breaker_comes_back_as_it_was_kept(state: State) -> None:
    epoch = await take(state)
    assert await state.breaker(TABLE) == Breaker()
    for kept in (OPEN, replace(OPEN, window=()), Breaker()):
        await state.save_breaker(TABLE, epoch, kept, NOW)
        assert await state.breaker(TABLE) == kept
    assert await state.breaker("public.other") == Breaker()
    assert await state.freezes() == []


async def test_a_breaker_is_moved_by_the_holder_of_the_lease_alone(state: State) -> None:
    epoch = await take(state)
    await state.save_breaker(TABLE, epoch, OPEN, NOW)
    with pytest.raises(LeaseLost):
        await state.save_breaker(TABLE, epoch - 1, Breaker(), NOW)
    assert await state.breaker(TABLE) == OPEN


async def test_a_breaker_that_comes_to_need_a_person_freezes_its_rule_once(state: State) -> None:
    epoch = await take(state)
    for _ in range(2):
        await state.save_breaker(TABLE, epoch, replace(OPEN, failed_probes=2), NOW)

    assert [(f.scope, f.actor, f.reason) for f in await state.freezes()] == [(RULE, "breaker", OPEN.reason)]


async def test_restored_rows_are_counted_by_key_within_the_window(state: State) -> None:
    epoch = await take(state)
    for number in (1, 2, 3):
        run = await started(state, epoch, number, at=later(number))
        landed = {"alice": Settled(result=RowResult.INSERTED), "bob": Settled(result=RowResult.UNDETERMINED)}
        others = {"carol": Settled(result=RowResult.RACED), "dave": Settled(result=RowResult.UNDONE)}
        await state.settle(run.id, TABLE, epoch, landed | others, later(number))

    assert await state.restored_often(RULE, 3, NOW) == {"alice", "bob"}
    assert await state.restored_often(RULE, 4, NOW) == frozenset()
    assert await state.restored_often(RULE, 3, later(2)) == frozenset()
    assert await state.restored_often(RULE, 2, later(2)) == {"alice", "bob"}
    assert await state.restored_often("another_rule", 1, NOW) == frozenset()


async def test_a_release_begins_the_count_anew_as_often_as_it_is_given(state: State) -> None:
    epoch = await take(state)
    for number in (1, 2):
        run = await started(state, epoch, number, at=later(10 * number))
        await state.settle(run.id, TABLE, epoch, {"alice": Settled(result=RowResult.INSERTED)}, later(10 * number))
        await state.hold(RULE, {"alice": "recurring"}, "look", later(10 * number), None)
        assert await state.restored_often(RULE, 1, NOW) == {"alice"}
        [held] = await state.held(RULE, later(10 * number))
        assert await state.let_go(held.id, "olga", later(10 * number + 1))
        assert await state.restored_often(RULE, 1, NOW) == frozenset()


async def test_a_run_under_way_says_why_it_waits_as_long_as_its_epoch_holds(state: State) -> None:
    epoch = await take(state)
    run = await started(state, epoch)
    await state.note_run(run.id, TABLE, epoch, "held: signal load is 3, at most 2", later(5))
    found = await state.run(run.id)

    assert found is not None
    assert (found.detail, found.heartbeat_at) == ("held: signal load is 3, at most 2", later(5))
    with pytest.raises(LeaseLost):
        await state.note_run(run.id, TABLE, epoch - 1, "", later(6))
