from collections.abc import Awaitable, Callable

import pytest

from sidecar.domain.plan import PlanStatus
from sidecar.domain.run import RowResult, Settled
from sidecar.errors import LeaseLost
from sidecar.ports import State
from tests.state.cast import KEYS, NOW, TABLE, a_plan, a_run, later, started, take


async def test_a_free_lease_is_taken_and_a_held_one_is_not(state: State) -> None:
    assert await state.acquire(TABLE, "daemon", 10, NOW) == 1
    assert await state.acquire(TABLE, "cli", 10, later(9)) is None
    assert await state.acquire("public.other", "cli", 10, NOW) == 1


async def test_every_taking_spends_a_new_epoch(state: State) -> None:
    epochs = [
        await state.acquire(TABLE, "daemon", 10, NOW),
        await state.acquire(TABLE, "daemon", 10, later(1)),  # already ours
        await state.acquire(TABLE, "cli", 10, later(11)),  # expired
    ]
    await state.release(TABLE, 3)
    epochs.append(await state.acquire(TABLE, "daemon", 10, later(12)))  # released

    assert epochs == [1, 2, 3, 4]


async def test_a_renewed_lease_keeps_others_out_for_longer(state: State) -> None:
    epoch = await take(state)
    await state.renew(TABLE, epoch, 10, later(9))
    assert await state.acquire(TABLE, "cli", 10, later(18)) is None
    assert await state.acquire(TABLE, "cli", 10, later(19)) == epoch + 1


async def test_an_expired_lease_that_nobody_took_may_be_renewed(state: State) -> None:
    epoch = await take(state)
    await state.renew(TABLE, epoch, 10, later(60))
    assert await state.acquire(TABLE, "cli", 10, later(61)) is None


async def test_a_released_lease_is_free_at_once_and_its_epoch_is_worth_nothing(state: State) -> None:
    epoch = await take(state)
    await state.release(TABLE, epoch)
    with pytest.raises(LeaseLost):
        await state.renew(TABLE, epoch, 10, NOW)
    assert await state.acquire(TABLE, "cli", 10, NOW) == epoch + 1


async def test_releasing_a_lease_that_is_lost_leaves_its_new_holder_alone(state: State) -> None:
    epoch = await take(state)
    await take(state, holder="cli", at=later(11))
    await state.release(TABLE, epoch)
    assert await state.acquire(TABLE, "daemon", 10, later(12)) is None


WRITES: dict[str, Callable[[State, int], Awaitable[object]]] = {
    "renew": lambda state, epoch: state.renew(TABLE, epoch, 10, later(12)),
    "intend": lambda state, epoch: state.intend("run-1", TABLE, epoch, KEYS[:2], later(12)),
    "settle": lambda state, epoch: state.settle(
        "run-1", TABLE, epoch, {"alice": Settled(result=RowResult.INSERTED)}, later(12)
    ),
    "start_run": lambda state, epoch: state.start_run(
        a_run(a_plan("plan-2"), epoch, "run-2"), a_plan("plan-2"), TABLE, KEYS
    ),
    "adopt_run": lambda state, epoch: state.adopt_run("run-1", TABLE, epoch, later(12)),
    "interrupt_silent": lambda state, epoch: state.interrupt_silent(TABLE, epoch, later(12)),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_zombie_with_an_old_epoch_can_do_nothing(state: State, write: str) -> None:
    old = await take(state)
    await started(state, old)
    await state.save_plan(a_plan("plan-2"), PlanStatus.APPROVED, "olga")
    await take(state, holder="successor", at=later(11))

    with pytest.raises(LeaseLost):
        await WRITES[write](state, old)

    rows = await state.rows("run-1")
    assert [row.key for row in rows if row.in_flight or row.settled.result is not RowResult.PLANNED] == []
    second = await state.plan("plan-2")
    assert second is not None
    assert second.status is PlanStatus.APPROVED
    assert await state.run("run-2") is None
