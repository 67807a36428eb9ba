import pytest

from sidecar.domain.look import Baseline, Counts
from sidecar.ports import State
from tests.state.cast import BLIND, NOW, RULE, later, sighting


async def test_consecutive_proven_looks_confirm_and_a_gap_forgets(state: State) -> None:
    for seen in (sighting("alice", "bob"), sighting("alice", "carol")):
        await state.close_look(await state.open_look(RULE, NOW), seen, NOW)
    assert await state.confirmations(RULE) == {"alice": 2, "carol": 1}


async def test_an_unproven_look_neither_counts_nor_resets(state: State) -> None:
    for seen in (sighting("alice"), BLIND, sighting("alice")):
        await state.close_look(await state.open_look(RULE, NOW), seen, NOW)
    assert await state.confirmations(RULE) == {"alice": 2}


async def test_young_keys_are_not_confirmed(state: State) -> None:
    await state.close_look(await state.open_look(RULE, NOW), sighting("alice", young=["bob"]), NOW)
    assert await state.confirmations(RULE) == {"alice": 1}


async def test_a_candidate_named_twice_by_one_look_counts_once(state: State) -> None:
    await state.close_look(await state.open_look(RULE, NOW), sighting("alice", "alice"), NOW)
    assert await state.confirmations(RULE) == {"alice": 1}


async def test_confirmations_of_other_rules_stay(state: State) -> None:
    await state.close_look(await state.open_look("other", NOW), sighting("alice"), NOW)
    await state.close_look(await state.open_look(RULE, NOW), sighting("bob"), NOW)
    assert await state.confirmations("other") == {"alice": 1}


async def test_ten_thousand_candidates_are_confirmed_and_forgotten(state: State) -> None:
    many = [f"user-{number:05}" for number in range(10_000)]
    await state.close_look(await state.open_look(RULE, NOW), sighting(*many), NOW)
    await state.close_look(await state.open_look(RULE, NOW), sighting(*many[1:]), NOW)
    assert await state.confirmations(RULE) == dict.fromkeys(many[1:], 2)


async def test_a_look_is_closed_once(state: State) -> None:
    look_id = await state.open_look(RULE, NOW)
    await state.close_look(look_id, BLIND, NOW)
    with pytest.raises(ValueError, match="is not open"):
        await state.close_look(look_id, sighting("alice"), NOW)
    assert await state.confirmations(RULE) == {}


async def test_the_baseline_is_what_the_last_proven_look_saw(state: State) -> None:
    assert await state.baseline(RULE) is None
    await state.close_look(await state.open_look(RULE, NOW), sighting(ledger_rows=100), NOW)
    await state.close_look(await state.open_look(RULE, NOW), sighting(ledger_rows=101), later(1))
    await state.close_look(await state.open_look(RULE, NOW), BLIND, later(2))

    counts = Counts(ledger_rows=101, expected_rows=90, subjects=95)
    assert await state.baseline(RULE) == Baseline(counts=counts, database="db-1", taken_at=later(1))


async def test_a_dropped_baseline_is_gone_for_that_rule_alone(state: State) -> None:
    for rule in (RULE, "other"):
        await state.close_look(await state.open_look(rule, NOW), sighting(), NOW)
    await state.drop_baseline(RULE, "olga", later(1))
    assert await state.baseline(RULE) is None
    assert await state.baseline("other") is not None


async def test_looks_before_a_change_was_accepted_confirm_nothing_after_it(state: State) -> None:
    for rule in (RULE, "other"):
        await state.close_look(await state.open_look(rule, NOW), sighting("alice"), NOW)
    await state.drop_baseline(RULE, "olga", later(1))
    assert await state.confirmations(RULE) == {}
    assert await state.confirmations("other") == {"alice": 1}
    await state.close_look(await state.open_look(RULE, NOW), sighting("alice"), NOW)
    assert await state.confirmations(RULE) == {"alice": 1}
