import asyncio
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from sidecar.domain.credits import Anchor
from sidecar.domain.look import Sighting, Unproven
from sidecar.domain.plan import canonical
from sidecar.domain.rule import Amount, Origin
from sidecar.ports import State
from sidecar.state.columns import Exact, Instant
from tests.state.cast import BLIND, NOW, RULE, TABLE, later, sighting


async def look(
    state: State,
    seen: Sequence[tuple[str, Amount]],
    at: datetime,
    end: Sighting | Unproven | None,
    rule: str = RULE,
) -> int:
    look_id = await state.open_look(rule, at)
    await state.note(look_id, TABLE, seen, at)
    if end is not None:
        await state.close_look(look_id, end, at)
    return look_id


async def book(state: State, table: str = TABLE) -> list[tuple[str, Amount]]:
    return [pair async for pair in state.known(table)]


async def test_the_book_holds_the_latest_proven_balance_of_each_key_in_text_order(state: State) -> None:
    await look(state, [("b", 2), ("a", 1), ("10", 7), ("9", 8)], NOW, sighting())
    await look(state, [("b", 20)], later(1), sighting())
    assert await book(state) == [("10", 7), ("9", 8), ("a", 1), ("b", 20)]
    assert await book(state, "public.other") == []


@pytest.mark.parametrize("end", [BLIND, None], ids=["unproven", "never closed"])
async def test_what_an_unproven_look_noted_is_never_evidence(state: State, end: Unproven | None) -> None:
    await look(state, [("alice", 1)], NOW, sighting())
    await look(state, [("alice", 999), ("bob", 999)], later(1), end)
    assert await book(state) == [("alice", 1)]
    anchor = Anchor(origin=Origin.SNAPSHOT, balance=1, at=NOW)
    assert await state.anchors(TABLE, ["alice", "bob"]) == {"alice": (anchor,)}


async def test_a_closed_look_takes_no_more_notes(state: State) -> None:
    look_id = await look(state, [("alice", 1)], NOW, sighting())
    with pytest.raises(ValueError, match="is not open"):
        await state.note(look_id, TABLE, [("alice", 999)], later(1))
    assert await book(state) == [("alice", 1)]


async def test_the_last_note_of_a_look_that_reads_twice_counts(state: State) -> None:
    look_id = await look(state, [("alice", 1)], NOW, None)
    await state.note(look_id, TABLE, [("alice", 2)], NOW)
    await state.note(look_id, TABLE, [("alice", 3), ("alice", 4)], NOW)
    await state.close_look(look_id, sighting(), NOW)
    assert await book(state) == [("alice", 4)]


async def test_the_book_is_read_over_page_borders(state: State) -> None:
    """One key's history is longer than a page, and many keys follow it."""
    look_id = await state.open_look(RULE, NOW)
    for turn in range(6):
        await state.note(look_id, TABLE, [(f"k{n:04}", turn * 10_000 + n) for n in range(2_000)], later(turn))
    await state.close_look(look_id, sighting(), NOW)
    assert await book(state) == [(f"k{n:04}", 50_000 + n) for n in range(2_000)]


async def test_reading_the_book_neither_blocks_notes_nor_sees_them(state: State) -> None:
    await look(state, [("alice", 1), ("bob", 2)], NOW, sighting())
    known = aiter(state.known(TABLE))
    first = await anext(known)
    async with asyncio.timeout(5):
        await look(state, [("bob", 99)], later(1), None)
    assert [first, *[pair async for pair in known]] == [("alice", 1), ("bob", 2)]


async def test_anchors_are_the_latest_attestation_and_the_latest_snapshot(state: State) -> None:
    await look(state, [("alice", 1), ("bob", 2)], NOW, sighting())
    await look(state, [("alice", Decimal("1.50"))], later(1), sighting())
    await state.attest(TABLE, "alice", 7, "invoice 12", "olga", later(2))
    await state.attest(TABLE, "alice", Decimal("8.00"), "invoice 13", "olga", later(3))
    await state.attest("public.other", "bob", 9, "another table", "olga", later(3))

    anchors = await state.anchors(TABLE, ["alice", "bob", "carol"])

    vouched = Anchor(origin=Origin.ATTESTED, balance=Decimal("8.00"), at=later(3))
    seen = Anchor(origin=Origin.SNAPSHOT, balance=Decimal("1.50"), at=later(1))
    assert set(anchors["alice"]) == {vouched, seen}
    assert anchors["bob"] == (Anchor(origin=Origin.SNAPSHOT, balance=2, at=NOW),)
    assert "carol" not in anchors


async def stood(state: State, key: str = "alice") -> datetime:
    (anchor,) = (await state.anchors(TABLE, [key]))[key]
    return anchor.at


async def test_a_snapshot_bears_the_instant_of_the_last_proven_look_that_saw_it_stand(state: State) -> None:
    await look(state, [("alice", 1), ("bob", 2)], NOW, sighting(read_at=NOW))
    for at in (later(10), later(20)):
        await look(state, [], at, sighting(read_at=at))
    await look(state, [], later(30), BLIND)
    await look(state, [], later(40), None)
    assert await stood(state) == later(20)
    for at in (later(50), later(60)):
        await look(state, [], at, sighting("alice", read_at=at))
    assert await stood(state) == later(20)
    assert await stood(state, "bob") == later(60)
    await look(state, [], later(70), sighting(read_at=later(70)))  # the row is back, with the balance it had
    assert await stood(state) == later(70)
    await look(state, [("alice", 5)], later(80), sighting(read_at=later(80)))
    assert await state.anchors(TABLE, ["alice"]) == {
        "alice": (Anchor(origin=Origin.SNAPSHOT, balance=5, at=later(80)),)
    }


async def test_a_key_missed_by_the_first_look_that_could_see_it_keeps_its_snapshots_instant(state: State) -> None:
    await look(state, [("alice", 1)], NOW, sighting(read_at=NOW))
    await look(state, [], later(10), sighting("alice", read_at=later(10)), rule="other")
    assert await stood(state) == NOW


async def test_a_key_that_was_missed_while_it_was_young_did_not_stand_then(state: State) -> None:
    await look(state, [("alice", 1)], NOW, sighting(read_at=NOW))
    await look(state, [], later(10), sighting(read_at=later(10)))
    await look(state, [], later(20), sighting(young=["alice"], read_at=later(20)))
    assert await stood(state) == later(10)
    await look(state, [], later(30), sighting("alice", read_at=later(30)))
    assert await stood(state) == later(10)
    assert await state.confirmations(RULE) == {"alice": 1}


async def test_of_two_rules_that_miss_a_key_the_earlier_answer_counts(state: State) -> None:
    await look(state, [("alice", 1)], NOW, sighting(read_at=NOW))
    await look(state, [], later(10), sighting(read_at=later(10)))
    await look(state, [], later(20), sighting("alice", read_at=later(20)))
    await look(state, [], later(30), sighting(read_at=later(30)), rule="other")  # knew of no evidence
    await look(state, [], later(40), sighting("alice", read_at=later(40)), rule="other")
    assert await stood(state) == later(10)


async def test_our_own_clock_says_nothing_about_how_long_a_balance_stood(state: State) -> None:
    await look(state, [("alice", 1)], NOW, sighting(read_at=NOW))
    await look(state, [], later(900), sighting(read_at=later(10)))
    assert await stood(state) == later(10)
    await look(state, [], later(990), sighting())
    assert await stood(state) == NOW


async def test_what_was_seen_before_a_change_was_accepted_is_no_evidence(state: State) -> None:
    await look(state, [("alice", 1), ("bob", 2)], NOW, sighting("alice"))
    await look(state, [("carol", 3)], NOW, sighting(), rule="of the same database")
    await look(state, [("dave", 4)], NOW, sighting(database="db-9"), rule="of another one")
    await look(state, [("erin", 9)], NOW, None)
    await state.drop_baseline(RULE, "olga", later(1))
    keys = ["alice", "bob", "carol", "dave", "erin"]

    assert await book(state) == [("dave", 4)]
    assert (await state.anchors(TABLE, keys)).keys() == {"dave"}

    await look(state, [("bob", 2)], later(2), sighting(database="db-2", read_at=later(2)))
    assert await book(state) == [("bob", 2), ("dave", 4)]
    assert (await state.anchors(TABLE, keys)).keys() == {"bob", "dave"}
    await state.drop_baseline(RULE, "olga", later(3))
    assert await book(state) == [("dave", 4)]


async def test_anchors_of_many_keys_come_in_one_answer(state: State) -> None:
    keys = [f"k{number:04}" for number in range(1_501)]
    await look(state, [(key, 5) for key in keys], NOW, sighting())
    anchors = await state.anchors(TABLE, keys)
    assert anchors.keys() == set(keys)


amounts = st.integers() | st.decimals(allow_nan=False, allow_infinity=False)


@given(amounts)
def test_money_comes_back_with_every_digit_and_its_type(amount: Amount) -> None:
    column, dialect = Exact(), sqlite.dialect()
    back = column.process_result_value(column.process_bind_param(amount, dialect), dialect)
    assert canonical(back) == canonical(amount)


@pytest.mark.parametrize("wrong", [1.5, True, Decimal("NaN"), Decimal("Infinity"), "12"])
def test_money_that_is_not_exact_is_refused(wrong: Amount) -> None:
    with pytest.raises((TypeError, ValueError), match="money is"):
        Exact().process_bind_param(wrong, sqlite.dialect())


@given(st.datetimes(timezones=st.timezones()))
def test_instants_come_back_equal_and_aware(instant: datetime) -> None:
    column, dialect = Instant(), sqlite.dialect()
    back = column.process_result_value(column.process_bind_param(instant, dialect), dialect)
    assert back is not None
    assert back.tzinfo is not None
    assert (back - instant).total_seconds() == 0


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        Instant().process_bind_param(NOW.replace(tzinfo=None), sqlite.dialect())
