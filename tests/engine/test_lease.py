"""A lease fences whoever held it before, and its loss ends the work that stood on it."""

import asyncio
from datetime import datetime, timedelta
from typing import cast

import pytest

from sidecar.domain.event import LeaseMoved
from sidecar.engine.lease import RENEWALS_PER_TTL, TTL_SECONDS, Lease, Leases
from sidecar.errors import LeaseLost, StateUnavailable
from sidecar.ports import State
from tests.fakes import FakeClock, RecordingReporter

TABLE = "public.users"


class Killed(BaseException):
    """Stands for the end of a process."""


class ShakyMemory:
    """The real memory, whose renewals fail while `failing` is set; `renewals` counts the tries."""

    def __init__(self, state: State) -> None:
        self.failing = False
        self.renewals: asyncio.Queue[bool] = asyncio.Queue()
        self._state = state

    def __getattr__(self, name: str) -> object:
        return getattr(self._state, name)

    async def renew(self, lease: str, epoch: int, ttl_seconds: float, now: datetime) -> None:
        try:
            if self.failing:
                raise StateUnavailable("locked")
            await self._state.renew(lease, epoch, ttl_seconds, now)
        finally:
            self.renewals.put_nowait(self.failing)


def leases(state: State | ShakyMemory, clock: FakeClock, holder: str = "a") -> Leases:
    return Leases(state=cast("State", state), reporter=RecordingReporter(), clock=clock, holder=holder)


async def test_a_lease_is_held_for_the_time_of_a_block_under_a_rising_epoch(state: State, clock: FakeClock) -> None:
    epochs = []
    for holder in ("a", "b", "a"):
        async with leases(state, clock, holder).hold(TABLE) as lease:
            assert lease is not None
            epochs.append(lease.epoch)

    assert epochs == [1, 2, 3]
    assert clock.slept == []


async def test_a_lease_that_another_process_holds_is_not_had(state: State, clock: FakeClock) -> None:
    async with leases(state, clock).hold(TABLE), leases(state, clock, "b").hold(TABLE) as second:
        assert second is None
    async with leases(state, clock, "b").hold(TABLE) as third:
        assert third == Lease(name=TABLE, epoch=2)


async def test_leases_of_other_tables_are_no_hindrance(state: State, clock: FakeClock) -> None:
    async with leases(state, clock).hold(TABLE), leases(state, clock, "b").hold("public.other") as other:
        assert other is not None


async def test_the_lease_of_a_dead_holder_is_waited_for_and_taken(state: State, clock: FakeClock) -> None:
    await state.acquire(TABLE, "dead", TTL_SECONDS, clock.now())
    async with leases(state, clock).hold(TABLE, wait_seconds=TTL_SECONDS - 1) as early:
        assert early is None
    async with leases(state, clock).hold(TABLE, wait_seconds=TTL_SECONDS) as late:
        assert late == Lease(name=TABLE, epoch=2)


async def test_in_one_process_a_second_taker_waits_for_the_first(state: State, clock: FakeClock) -> None:
    ours = leases(state, clock)
    order: list[str] = []
    inside = asyncio.Event()

    async def second() -> None:
        await inside.wait()
        async with ours.hold(TABLE) as lease:
            order.append(f"second {lease.epoch if lease else None}")

    async with asyncio.TaskGroup() as group:
        group.create_task(second())
        async with ours.hold(TABLE) as lease:
            inside.set()
            for _ in range(20):
                await asyncio.sleep(0)
            order.append(f"first {lease.epoch if lease else None}")

    assert order == ["first 1", "second 2"]


async def test_a_lease_is_renewed_while_the_block_lasts_so_that_nobody_takes_it(state: State, clock: FakeClock) -> None:
    shaky = ShakyMemory(state)
    async with leases(shaky, clock).hold(TABLE):
        for _ in range(10):
            await clock.let_renew(TTL_SECONDS / RENEWALS_PER_TTL)
            await shaky.renewals.get()
        assert await state.acquire(TABLE, "b", TTL_SECONDS, clock.now()) is None


async def test_a_lost_lease_cancels_the_block_and_says_so(state: State, clock: FakeClock) -> None:
    ended: list[str] = []

    async def block() -> None:
        async with leases(state, clock).hold(TABLE):
            await state.acquire(TABLE, "b", TTL_SECONDS, clock.now() + timedelta(seconds=TTL_SECONDS))
            await clock.let_renew(TTL_SECONDS / RENEWALS_PER_TTL)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

    with pytest.raises(LeaseLost, match="not held under epoch 1"):
        await block()

    assert ended == ["cancelled"]
    with pytest.raises(LeaseLost):
        await state.renew(TABLE, 1, TTL_SECONDS, clock.now())
    await state.renew(TABLE, 2, TTL_SECONDS, clock.now())


@pytest.mark.parametrize("error", [StateUnavailable("disk full"), ValueError("bug"), Killed(), LeaseLost("fenced")])
async def test_an_error_of_the_block_comes_out_as_itself_with_its_cause(
    state: State, clock: FakeClock, error: BaseException
) -> None:
    cause = OSError("why")

    async def held() -> None:
        async with leases(state, clock).hold(TABLE):
            raise error from cause

    with pytest.raises(type(error)) as caught:
        await held()

    assert caught.value is error
    assert caught.value.__cause__ is cause
    assert await state.acquire(TABLE, "b", TTL_SECONDS, clock.now()) == 2


async def test_a_cancelled_block_gives_the_lease_back_and_stays_cancelled(state: State, clock: FakeClock) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with leases(state, clock).hold(TABLE):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await state.acquire(TABLE, "b", TTL_SECONDS, clock.now()) == 2


async def test_memory_that_cannot_be_written_for_a_while_does_not_end_the_block(state: State, clock: FakeClock) -> None:
    shaky = ShakyMemory(state)
    shaky.failing = True
    async with leases(shaky, clock).hold(TABLE) as lease:
        for _ in range(4):
            await clock.let_renew(TTL_SECONDS / RENEWALS_PER_TTL)
            assert await shaky.renewals.get()
        shaky.failing = False
        for _ in range(5):
            await clock.let_renew(TTL_SECONDS / RENEWALS_PER_TTL)
            assert not await shaky.renewals.get()
        assert lease is not None
        assert await state.acquire(TABLE, "b", TTL_SECONDS, clock.now()) is None


async def test_a_lease_that_could_not_be_renewed_in_its_time_counts_as_lost(state: State, clock: FakeClock) -> None:
    shaky = ShakyMemory(state)
    shaky.failing = True

    async def block() -> None:
        async with leases(shaky, clock).hold(TABLE):
            for _ in range(5):
                await clock.let_renew(TTL_SECONDS / RENEWALS_PER_TTL)
                await shaky.renewals.get()
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost, match="could not be renewed in time"):
        await block()


async def test_taking_losing_and_giving_back_are_told(state: State, clock: FakeClock) -> None:
    reporter = RecordingReporter()
    ours = Leases(state=state, reporter=reporter, clock=clock, holder="a")
    async with ours.hold(TABLE):
        pass

    async def block() -> None:
        async with ours.hold(TABLE):
            await state.acquire(TABLE, "b", TTL_SECONDS, clock.now() + timedelta(seconds=TTL_SECONDS))
            await clock.let_renew(TTL_SECONDS / RENEWALS_PER_TTL)
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost):
        await block()
    told = [(event.epoch, event.held, event.lost) for event in reporter.told(LeaseMoved)]
    assert told == [(1, True, False), (1, False, False), (2, True, False), (2, False, True)]
