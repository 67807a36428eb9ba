"""A balance is proven or it is not; nothing in here may invent a number."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.credits import Anchor, Balance, LedgerRow, NoBalance, prove_balance
from sidecar.domain.rule import Amount, Origin
from tests.domain.cast import LONG_AGO, ORDER, anchor, chain, ledger_row

LEDGER_ONLY = (Origin.LEDGER,)


def prove(order: Sequence[Origin], anchors: Sequence[Anchor], ledger: Sequence[LedgerRow]) -> Balance | NoBalance:
    """Prove with no margin around snapshots, so that every instant counts."""
    return prove_balance(order, anchors, ledger, margin=timedelta(0))


def proven(amount: Amount, origin: Origin, *, rests_on_ledger: bool) -> Balance:
    return Balance(amount=amount, origin=origin, rests_on_ledger=rests_on_ledger)


def test_a_verified_chain_proves_its_last_balance() -> None:
    assert prove(ORDER, (), chain(1000, 200)) == proven(1200, Origin.LEDGER, rests_on_ledger=True)


def test_exact_fractions_are_followed_as_exactly_as_whole_numbers() -> None:
    rows = chain(Decimal("0.1"), Decimal("0.2"), 5)

    assert prove(ORDER, (), rows) == proven(Decimal("5.3"), Origin.LEDGER, rests_on_ledger=True)


def test_what_a_person_attested_ranks_above_what_sidecar_saw_and_above_the_ledger() -> None:
    seen = (anchor(Origin.SNAPSHOT, 7, 5), anchor(Origin.ATTESTED, 9, 10))

    assert prove(ORDER, seen, chain(1, 2)) == proven(9, Origin.ATTESTED, rests_on_ledger=False)


def test_what_sidecar_saw_ranks_above_the_ledger() -> None:
    seen = (anchor(Origin.SNAPSHOT, 7, 10),)

    assert prove(ORDER, seen, chain(1, 2)) == proven(7, Origin.SNAPSHOT, rests_on_ledger=False)


def test_the_latest_of_several_anchors_of_one_origin_counts() -> None:
    seen = (anchor(Origin.ATTESTED, 9, 5), anchor(Origin.ATTESTED, 4, 6), anchor(Origin.ATTESTED, 8, 2))

    assert prove(ORDER, seen, ()) == proven(4, Origin.ATTESTED, rests_on_ledger=False)


def test_an_origin_that_the_rule_does_not_name_is_not_asked() -> None:
    assert prove((Origin.ATTESTED,), (anchor(Origin.SNAPSHOT, 7, 1),), chain(5)) is NoBalance.NO_EVIDENCE


def test_an_empty_ledger_is_no_evidence_and_the_next_origin_is_asked() -> None:
    order = (Origin.LEDGER, Origin.ATTESTED)

    assert prove(order, (anchor(Origin.ATTESTED, 4, 1),), ()) == proven(4, Origin.ATTESTED, rests_on_ledger=False)


def test_nothing_recorded_is_no_evidence() -> None:
    assert prove(ORDER, (), ()) is NoBalance.NO_EVIDENCE
    assert prove((), (anchor(Origin.ATTESTED, 4, 1),), chain(1)) is NoBalance.NO_EVIDENCE


@pytest.mark.parametrize(("amount", "balance"), [(None, 10), (10, None), (None, None)])
def test_a_ledger_row_without_amount_or_balance_is_no_evidence(amount: Amount | None, balance: Amount | None) -> None:
    assert prove(ORDER, (), (ledger_row(0, amount, balance),)) is NoBalance.NO_EVIDENCE
    assert prove(ORDER, (), (*chain(5), ledger_row(9, amount, balance))) is NoBalance.NO_EVIDENCE


def test_a_balance_that_does_not_follow_is_a_broken_chain() -> None:
    rows = (ledger_row(0, 10, 10), ledger_row(1, 5, 16), ledger_row(2, 1, 17))

    assert prove(ORDER, (), rows) is NoBalance.CHAIN_BROKEN


def test_a_chain_broken_in_its_first_row_and_again_later_is_broken() -> None:
    rows = (ledger_row(0, 10, 12), ledger_row(1, 5, 99))

    assert prove(ORDER, (), rows) is NoBalance.CHAIN_BROKEN


def test_a_chain_that_starts_from_credits_that_no_row_explains_is_an_unexplained_opening() -> None:
    rows = (ledger_row(0, 10, 60), ledger_row(1, 5, 65))

    assert prove(ORDER, (), rows) is NoBalance.OPENING_UNEXPLAINED


def test_an_unexplained_opening_is_named_so_whatever_the_order_in_which_tied_rows_were_read() -> None:
    rows = (ledger_row(0, 10, 60, "b"), ledger_row(0, 5, 65, "a"), ledger_row(1, 1, 66, "c"))

    assert {prove(ORDER, (), order) for order in permutations(rows)} == {NoBalance.OPENING_UNEXPLAINED}


def test_a_negative_balance_is_for_a_person() -> None:
    assert prove(ORDER, (), chain(10, -15)) is NoBalance.BALANCE_NEGATIVE
    assert prove(ORDER, (anchor(Origin.ATTESTED, -1, 1),), ()) is NoBalance.BALANCE_NEGATIVE


def test_a_balance_of_zero_is_a_balance() -> None:
    assert prove(ORDER, (), chain(10, -10)) == proven(0, Origin.LEDGER, rests_on_ledger=True)


def test_rows_tied_in_time_are_read_in_the_one_order_that_holds_and_not_by_their_uuid() -> None:
    rows = (ledger_row(0, 100, 100, "zz"), ledger_row(0, -30, 70, "aa"), ledger_row(1, 5, 75, "mm"))

    assert prove(ORDER, (), rows) == proven(75, Origin.LEDGER, rests_on_ledger=True)


def test_rows_tied_in_time_that_can_be_read_in_two_orders_are_ambiguous() -> None:
    tied = [ledger_row(1, *pair, tie) for pair, tie in zip(((10, 110), (-10, 100), (20, 120), (-20, 100)), "abcd")]  # noqa: B905  # equal by sight

    assert prove(ORDER, (), (*chain(100), *tied)) is NoBalance.CHAIN_AMBIGUOUS


def test_an_integer_in_the_order_does_say_what_came_first() -> None:
    def row(number: int, amount: int, balance: int) -> LedgerRow:
        return LedgerRow(order=(LONG_AGO, number), created_at=LONG_AGO, amount=amount, balance_after=balance)

    rows = (row(5, -20, 100), row(1, 100, 100), row(3, -10, 100), row(4, 20, 120), row(2, 10, 110))

    assert prove(ORDER, (), rows) == proven(100, Origin.LEDGER, rests_on_ledger=True)


def test_equal_rows_tied_in_time_are_one_reading_of_them() -> None:
    tied = (ledger_row(0, 10, 10, "a"), ledger_row(0, 0, 10, "b"), ledger_row(0, 0, 10, "c"))

    assert prove(ORDER, (), tied) == proven(10, Origin.LEDGER, rests_on_ledger=True)


def test_six_rows_tied_in_time_are_read_and_seven_are_ambiguous_unread() -> None:
    def tied(count: int) -> list[LedgerRow]:
        return [ledger_row(0, 1, number + 1, f"{number}") for number in range(count)]

    assert prove(ORDER, (), tied(6)) == proven(6, Origin.LEDGER, rests_on_ledger=True)
    assert prove(ORDER, (), tied(7)) is NoBalance.CHAIN_AMBIGUOUS


def test_tied_rows_of_which_no_order_holds_are_a_broken_chain() -> None:
    tied = (ledger_row(1, 10, 11, "a"), ledger_row(1, 10, 12, "b"))

    assert prove(ORDER, (), (*chain(100), *tied)) is NoBalance.CHAIN_BROKEN


def test_rows_younger_than_an_anchor_go_on_from_it_and_older_ones_are_not_asked() -> None:
    broken_past = ledger_row(0, 3, 4711)
    later = (ledger_row(20, 5, 55), ledger_row(21, -15, 40))

    assert prove(ORDER, (anchor(Origin.ATTESTED, 50, 10),), (*later, broken_past)) == proven(
        40, Origin.ATTESTED, rests_on_ledger=True
    )


def test_a_row_of_the_very_instant_of_an_anchor_is_part_of_it() -> None:
    assert prove(ORDER, (anchor(Origin.SNAPSHOT, 50, 10),), (ledger_row(10, 5, 55),)) == proven(
        50, Origin.SNAPSHOT, rests_on_ledger=False
    )


@pytest.mark.parametrize(
    "later",
    [
        (ledger_row(20, 5, 56),),
        (ledger_row(20, None, 55),),
        (ledger_row(20, 5, None),),
        (ledger_row(20, 5, 55), ledger_row(21, 1, 58)),
        tuple(ledger_row(20, 1, 51 + n, f"{n}") for n in range(7)),
    ],
    ids=["other start", "no amount", "no balance", "breaks later", "ambiguous"],
)
@pytest.mark.parametrize("origin", [Origin.ATTESTED, Origin.SNAPSHOT])
def test_later_rows_that_do_not_go_on_from_an_anchor_contradict_it_and_no_lower_origin_is_asked(
    origin: Origin, later: tuple[LedgerRow, ...]
) -> None:
    seen = (anchor(origin, 50, 10), anchor(Origin.SNAPSHOT, 1, 1))

    assert prove(ORDER, seen, (*chain(50), *later)) is NoBalance.EVIDENCE_CONTRADICTED


def test_a_row_without_an_instant_cannot_be_placed_beside_an_anchor_and_so_contradicts_it() -> None:
    row = LedgerRow(order=(1,), created_at=None, amount=5, balance_after=5)

    assert prove(ORDER, (anchor(Origin.ATTESTED, 50, 10),), (row,)) is NoBalance.EVIDENCE_CONTRADICTED
    assert prove(ORDER, (), (row,)) == proven(5, Origin.LEDGER, rests_on_ledger=True)


def test_a_balance_below_zero_after_an_anchor_is_named_negative() -> None:
    assert prove(ORDER, (anchor(Origin.ATTESTED, 5, 1),), (ledger_row(2, -6, -1),)) is NoBalance.BALANCE_NEGATIVE


amounts = st.one_of(st.integers(-(10**6), 10**6), st.decimals(-1000, 1000, places=2))


@st.composite
def valid_chains(draw: st.DrawFn) -> list[LedgerRow]:
    """Chains from zero that never go below it, with ties in time that have one reading or several."""
    rows: list[LedgerRow] = []
    balance: Amount = 0
    minute = 0
    for number, amount in enumerate(draw(st.lists(amounts, min_size=1, max_size=12))):
        movement = amount if balance + amount >= 0 else -amount
        balance += movement
        minute += draw(st.integers(0, 1))
        rows.append(ledger_row(minute, movement, balance, f"{number}"))
    return rows


def total(rows: Sequence[LedgerRow]) -> Amount:
    whole: Amount = 0
    for row in rows:
        whole += row.amount or 0
    return whole


@given(st.lists(amounts, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_a_valid_chain_always_proves_to_its_sum_whatever_the_order_in_which_it_was_read(
    movements: list[Amount], random: st.DataObject
) -> None:
    rows = list(chain(*movements))
    expected = total(rows)
    random.shuffle(rows)  # type: ignore[attr-defined]  # hypothesis types its randoms as data
    found = prove(LEDGER_ONLY, (), rows)

    if expected < 0:
        assert found is NoBalance.BALANCE_NEGATIVE
    else:
        assert found == proven(expected, Origin.LEDGER, rests_on_ledger=True)


@given(valid_chains())
def test_a_valid_chain_with_ties_proves_to_its_sum_or_is_ambiguous_never_to_another_number(
    rows: list[LedgerRow],
) -> None:
    found = prove(LEDGER_ONLY, (), list(reversed(rows)))

    assert found in (NoBalance.CHAIN_AMBIGUOUS, proven(total(rows), Origin.LEDGER, rests_on_ledger=True))
    assert prove(LEDGER_ONLY, (), rows) == found


@given(valid_chains(), st.data())
def test_a_corrupted_balance_is_never_proven_to_a_wrong_number_from_the_ledger_alone(
    rows: list[LedgerRow], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    off = data.draw(amounts.filter(lambda amount: amount != 0))
    right = total(rows)
    rows[place] = replace(rows[place], balance_after=(rows[place].balance_after or 0) + off)
    found = prove(LEDGER_ONLY, (), rows)

    assert isinstance(found, NoBalance) or found.amount == right


@given(valid_chains(), st.data())
def test_a_missing_row_before_the_end_is_never_proven_to_another_number_than_the_last_recorded_one(
    rows: list[LedgerRow], data: st.DataObject
) -> None:
    del rows[data.draw(st.integers(0, len(rows) - 1))]
    found = prove(LEDGER_ONLY, (), rows)

    if isinstance(found, Balance):
        assert found.amount == total(rows)
        assert found.amount in {row.balance_after for row in rows}


some_rows = st.lists(
    st.builds(
        ledger_row,
        st.integers(0, 5),
        st.one_of(st.none(), st.integers(-3, 3)),
        st.one_of(st.none(), st.integers(-3, 6)),
        st.sampled_from("abc"),
    ),
    max_size=8,
)
some_anchors = st.lists(
    st.builds(anchor, st.sampled_from([Origin.ATTESTED, Origin.SNAPSHOT]), st.integers(-2, 6), st.integers(0, 5)),
    max_size=3,
)


@given(st.permutations(ORDER), some_anchors, some_rows)
def test_a_balance_is_never_invented(order: list[Origin], anchors: list[Anchor], rows: list[LedgerRow]) -> None:
    found = prove(order, anchors, rows)

    if isinstance(found, Balance):
        recorded = {row.balance_after for row in rows} | {a.balance for a in anchors if a.origin is found.origin}
        assert found.amount in recorded
        assert found.amount >= 0
        assert found.rests_on_ledger or found.amount in {a.balance for a in anchors if a.origin is found.origin}


@given(some_anchors, some_rows, st.randoms(use_true_random=False))
def test_a_judgement_does_not_depend_on_the_order_in_which_evidence_was_read(
    anchors: list[Anchor], rows: list[LedgerRow], random: st.DataObject
) -> None:
    before = prove(ORDER, sorted(anchors, key=lambda a: (a.at, a.balance)), rows)
    random.shuffle(rows)  # type: ignore[attr-defined]  # hypothesis types its randoms as data

    assert prove(ORDER, sorted(anchors, key=lambda a: (a.at, a.balance)), rows) == before


def test_a_day_of_rows_is_placed_by_instant_and_not_by_text() -> None:
    rows = [replace(row, order=(row.order[0], "tie")) for row in chain(*range(1, 30))]

    assert prove(ORDER, (), rows) == proven(sum(range(1, 30)), Origin.LEDGER, rests_on_ledger=True)
    assert rows[-1].created_at == LONG_AGO + timedelta(minutes=28)


def test_what_sidecar_saw_after_a_person_attested_another_number_contradicts_both() -> None:
    attested, newer = anchor(Origin.ATTESTED, 9, 5), anchor(Origin.SNAPSHOT, 7, 10)

    assert prove(ORDER, (attested, newer), ()) is NoBalance.EVIDENCE_CONTRADICTED
    assert prove(ORDER, (attested, anchor(Origin.SNAPSHOT, 9, 10)), ()) == proven(
        9, Origin.ATTESTED, rests_on_ledger=False
    )


def test_a_movement_just_before_a_snapshot_must_be_seen_in_it() -> None:
    seen = anchor(Origin.SNAPSHOT, 50, 10)
    under_way, included = ledger_row(9, 500, 550), ledger_row(9, 20, 50)
    margin = timedelta(minutes=5)

    assert prove_balance(ORDER, (seen,), (under_way,), margin=margin) is NoBalance.EVIDENCE_CONTRADICTED
    assert isinstance(prove_balance(ORDER, (seen,), (included,), margin=margin), Balance)
    assert isinstance(prove_balance(ORDER, (seen,), (under_way,), margin=timedelta(0)), Balance)
