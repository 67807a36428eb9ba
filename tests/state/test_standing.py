from sidecar.domain.check import CheckState, Verdict
from sidecar.ports import State
from tests.state.cast import NOW, RULE, later
from tests.state.conftest import Opener


async def test_a_checks_standing_verdict_is_remembered(state: State) -> None:
    fresh = CheckState()
    failing = CheckState(verdict=Verdict.UNHEALTHY, since=NOW, pending=Verdict.HEALTHY, streak=1)
    await state.save_check("backend", CheckState(verdict=Verdict.HEALTHY, since=NOW, streak=9))
    await state.save_check("backend", failing)
    await state.save_check("auth", fresh)
    assert await state.check_states() == {"backend": failing, "auth": fresh}


async def test_a_freeze_of_a_rule_stops_that_rule(state: State) -> None:
    await state.freeze(RULE, "olga", "strange numbers", NOW)
    assert await state.frozen(RULE) == f"olga froze {RULE}: strange numbers"
    assert await state.frozen("other") is None


async def test_a_freeze_of_everything_stops_every_rule(state: State) -> None:
    await state.freeze("*", "olga", "strange numbers", NOW)
    assert await state.frozen("other") == "olga froze everything: strange numbers"


async def test_a_freeze_is_lifted_by_its_own_scope_alone(state: State) -> None:
    await state.freeze("*", "olga", "a", NOW)
    await state.freeze(RULE, "peter", "b", NOW)
    await state.freeze(RULE, "peter", "again", NOW)
    assert not await state.unfreeze("other", "olga", later(1))
    assert await state.unfreeze(RULE, "olga", later(1))
    assert await state.frozen(RULE) == "olga froze everything: a"
    assert not await state.unfreeze(RULE, "olga", later(2))
    assert await state.unfreeze("*", "olga", later(3))
    assert await state.frozen(RULE) is None


async def test_a_long_reason_is_told_shortly(state: State) -> None:
    await state.freeze(RULE, "olga", "because " * 100, NOW)
    told = await state.frozen(RULE)
    assert told is not None
    assert len(told) < 250


async def test_the_last_digest_trusted_counts(state: State) -> None:
    assert await state.trusted(RULE) is None
    await state.trust(RULE, "d1", "sidecar", NOW)
    await state.trust(RULE, "d2", "olga", later(1))
    assert await state.trusted(RULE) == "d2"
    assert await state.trusted("other") is None


async def test_what_is_stored_is_there_after_a_restart(open_memory: Opener) -> None:
    async with open_memory() as first:
        await first.trust(RULE, "d1", "sidecar", NOW)
    async with open_memory() as second:
        assert await second.trusted(RULE) == "d1"
