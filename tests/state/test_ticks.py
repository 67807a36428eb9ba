"""N replicas look at a rule once in each interval."""

from sidecar.ports import State
from tests.state.cast import NOW, RULE, later

EVERY = 300.0


async def test_one_replica_in_an_interval_looks(state: State) -> None:
    claims = [await state.claim_tick(RULE, EVERY, holder, NOW) for holder in ("a", "b", "c", "a")]
    assert claims == [True, False, False, False]
    assert not await state.claim_tick(RULE, EVERY, "b", later(298))
    assert await state.claim_tick(RULE, EVERY, "b", later(300))
    assert not await state.claim_tick(RULE, EVERY, "a", later(301))


async def test_the_last_taker_may_come_a_little_early(state: State) -> None:
    assert await state.claim_tick(RULE, EVERY, "a", NOW)
    assert not await state.claim_tick(RULE, EVERY, "a", later(268))
    assert not await state.claim_tick(RULE, EVERY, "b", later(275))
    assert await state.claim_tick(RULE, EVERY, "a", later(275))


async def test_rules_tick_apart(state: State) -> None:
    assert await state.claim_tick(RULE, EVERY, "a", NOW)
    assert await state.claim_tick("other", EVERY, "b", NOW)


async def test_a_clock_that_was_set_back_does_not_stop_a_rule(state: State) -> None:
    assert await state.claim_tick(RULE, EVERY, "a", NOW)
    assert await state.claim_tick(RULE, EVERY, "b", later(-86400))
    assert not await state.claim_tick(RULE, EVERY, "a", later(-86399))
