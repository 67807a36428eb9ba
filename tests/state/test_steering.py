"""Pauses and aborts of one run, who holds a lease, and what memory holds about one user."""

import pytest

from sidecar.domain.run import RowResult, Settled
from sidecar.domain.steering import abort_of, pause_of
from sidecar.ports import State
from tests.state.cast import NOW, RULE, TABLE, later, started, take


@pytest.mark.parametrize(
    ("scope", "said"),
    [(pause_of("run-1"), "anna paused run run-1: odd"), (abort_of("run-1"), "anna aborted run run-1: odd")],
)
async def test_a_stop_of_one_run_is_read_where_its_batches_are_announced(state: State, scope: str, said: str) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.freeze(scope, "anna", "odd", later(1))

    assert await state.intend("run-1", TABLE, epoch, ["alice"], later(2)) == said
    assert not [row for row in await state.rows("run-1") if row.in_flight]
    assert await state.frozen(RULE) is None, "its rule is not frozen"
    assert await state.unfreeze(scope, "anna", later(3))
    assert await state.intend("run-1", TABLE, epoch, ["alice"], later(4)) is None


async def test_a_stop_of_another_run_holds_nothing(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.freeze(pause_of("run-2"), "anna", "", later(1))

    assert await state.intend("run-1", TABLE, epoch, ["alice"], later(2)) is None


async def test_every_stop_that_stands_is_listed_oldest_first(state: State) -> None:
    await state.freeze("*", "anna", "a", NOW)
    await state.freeze(RULE, "ben", "b", later(1))
    await state.freeze(pause_of("run-1"), "carl", "", later(2))
    assert await state.unfreeze("*", "anna", later(3))

    standing = await state.freezes()
    assert [(freeze.scope, freeze.actor, freeze.reason, freeze.at) for freeze in standing] == [
        (RULE, "ben", "b", later(1)),
        ("run:run-1", "carl", "", later(2)),
    ]


async def test_a_lease_tells_its_holder_and_whether_it_was_given_back(state: State) -> None:
    assert await state.holder(TABLE) is None
    epoch = await take(state, holder="host:1")
    held = await state.holder(TABLE)
    assert held is not None
    assert (held.name, held.epoch) == ("host:1", epoch)
    await state.release(TABLE, epoch)
    free = await state.holder(TABLE)
    assert free is not None
    assert (free.name, free.epoch) == (None, epoch)


async def test_a_user_is_told_by_every_attestation_and_every_run(state: State) -> None:
    await state.attest(TABLE, "alice", 1200, "invoice", "anna", NOW)
    await state.attest(TABLE, "alice", 1300, "second look", "ben", later(1))
    await state.attest("public.other", "alice", 1, "elsewhere", "ben", later(1))
    epoch = await take(state)
    await started(state, epoch)
    await state.intend("run-1", TABLE, epoch, ["alice"], later(2))
    await state.settle("run-1", TABLE, epoch, {"alice": Settled(result=RowResult.CONFLICT, reason="23505")}, later(3))

    vouched = await state.attested(TABLE, "alice")
    assert [(one.amount, one.actor, one.reason) for one in vouched] == [
        (1200, "anna", "invoice"),
        (1300, "ben", "second look"),
    ]
    [touched] = await state.touched("alice")
    assert (touched.run_id, touched.rule, touched.at, touched.in_flight) == ("run-1", RULE, later(3), False)
    assert (touched.settled.result, touched.settled.reason) == (RowResult.CONFLICT, "23505")
    assert await state.touched("nobody") == []
