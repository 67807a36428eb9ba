"""A run whose holder fell silent is found by whoever looks; one that is held, or over, is not."""

from sidecar.domain.run import RunStatus
from sidecar.ports import State
from tests.state.cast import RULE, TABLE, later, started, take


async def test_a_run_is_silent_once_its_lease_ran_out(state: State) -> None:
    await started(state, await take(state, ttl_seconds=10))
    assert await state.silent_rules(later(9)) == []
    assert await state.silent_rules(later(10.5)) == [RULE]


async def test_a_run_whose_lease_was_given_back_is_silent_at_once(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.release(TABLE, epoch)
    assert await state.silent_rules(later(1)) == [RULE]


async def test_an_interrupted_run_waits_for_its_rules_own_tick(state: State) -> None:
    await started(state, await take(state))
    await state.move_run("run-1", RunStatus.APPLYING, RunStatus.INTERRUPTED, later(1))
    assert await state.silent_rules(later(60)) == []
