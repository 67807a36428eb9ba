"""The pace as a value: one row first, growth on success, never on error."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.pace import Pace, Reading, Signal, after, first, hold_reason

LOAD = Signal(name="load", query="x", at_most=Decimal("0.5"))


def sizes(rows_at_most: int, *took_seconds: float) -> list[int]:
    pace = first(rows_at_most)
    seen = [pace.rows]
    for took in took_seconds:
        pace = after(pace, took, troubled=False)
        seen.append(pace.rows)
    return seen


def test_it_begins_with_one_row_and_grows_fourfold_up_to_what_the_path_takes() -> None:
    assert sizes(1000, *[0.001] * 7) == [1, 4, 16, 64, 256, 1000, 1000, 1000]
    assert sizes(100, *[0.0] * 5) == [1, 4, 16, 64, 100, 100]


def test_it_aims_at_half_a_second_a_batch() -> None:
    assert after(Pace(rows=64, rows_at_most=1000), 0.25, troubled=False).rows == 128
    assert after(Pace(rows=64, rows_at_most=1000), 0.5, troubled=False).rows == 64
    assert after(Pace(rows=64, rows_at_most=1000), 0.75, troubled=False).rows == 64


def test_a_batch_of_more_than_a_second_halves_it_but_never_below_one_row() -> None:
    assert after(Pace(rows=64, rows_at_most=100), 1.001, troubled=False).rows == 32
    assert after(Pace(rows=1, rows_at_most=100), 9.0, troubled=False).rows == 1


def test_trouble_halves_it_however_quick_it_was() -> None:
    assert after(Pace(rows=64, rows_at_most=100), 0.001, troubled=True).rows == 32


@given(st.integers(1, 1000), st.integers(1, 1000), st.floats(0, 100), st.booleans())
def test_it_never_grows_on_error_and_stays_in_its_bounds(rows: int, most: int, took: float, troubled: bool) -> None:  # noqa: FBT001  # drawn
    before = Pace(rows=min(rows, most), rows_at_most=most)
    now = after(before, took, troubled=troubled)
    assert 1 <= now.rows <= most
    assert not (troubled or took > 1.0) or now.rows <= max(1, before.rows // 2)


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (Reading(value=Decimal("0.5")), None),
        (Reading(value=Decimal(-3)), None),
        (Reading(value=Decimal("0.51")), "signal load is 0.51, at most 0.5"),
        (Reading(value=None, trouble="timed_out"), "signal load cannot be read: timed_out"),
    ],
)
def test_a_signal_holds_above_its_limit_and_when_it_cannot_be_read(reading: Reading, reason: str | None) -> None:
    assert hold_reason(LOAD, reading) == reason
