"""Windows go by the clock on the wall, through midnight and through both switches of the clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.check import CheckState, Verdict, fold
from sidecar.domain.maintenance import EVERY_DAY, Calendar, Once, Recurring, Window
from tests.domain.cast import NOW, a_check, observation

BERLIN = ZoneInfo("Europe/Berlin")
UP, DOWN, BLIND = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.UNKNOWN
SAT = 5


def minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def recurring(starts: str, ends: str, days: frozenset[int] = EVERY_DAY, zone: ZoneInfo = BERLIN) -> Recurring:
    return Recurring(zone=zone, days=days, starts_minute=minute(starts), ends_minute=minute(ends))


def open_minutes(span: Recurring, first: datetime, hours: int) -> list[str]:
    """Return the UTC minutes, a quarter of an hour apart, at which a window is open."""
    instants = [first + timedelta(minutes=15 * n) for n in range(hours * 4)]
    return [f"{at:%H:%M}" for at in instants if span.is_open(at)]


def test_a_window_begins_at_its_first_minute_and_is_over_at_its_last() -> None:
    span = recurring("02:00", "04:00", frozenset({SAT}))
    at = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)  # a Saturday, 02:00 in Berlin
    assert not span.is_open(at - timedelta(seconds=1))
    assert span.is_open(at)
    assert span.is_open(at + timedelta(hours=2) - timedelta(seconds=1))
    assert not span.is_open(at + timedelta(hours=2))
    assert not span.is_open(at + timedelta(days=1))


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_starts() -> None:
    span = recurring("23:00", "01:00", frozenset({SAT}), ZoneInfo("UTC"))
    saturday = datetime(2026, 11, 21, tzinfo=UTC)
    told = {hour: span.is_open(saturday + timedelta(hours=hour)) for hour in (-1, 0, 22, 23, 24, 25, 47, 48)}
    assert told == {-1: False, 0: False, 22: False, 23: True, 24: True, 25: False, 47: False, 48: False}


def test_a_whole_day_is_one() -> None:
    span = recurring("00:00", "24:00", frozenset({SAT}))
    friday = datetime(2026, 11, 20, 22, 59, tzinfo=UTC)
    assert not span.is_open(friday)
    assert all(span.is_open(friday + timedelta(minutes=1, hours=n)) for n in range(24))
    assert not span.is_open(friday + timedelta(hours=24, minutes=1))


def test_in_autumn_the_hour_that_comes_twice_holds_the_window_twice() -> None:
    night = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)  # 00:00 in Berlin; 03:00 becomes 02:00 at 01:00 UTC
    assert open_minutes(recurring("02:30", "02:45"), night, 6) == ["00:30", "01:30"]
    assert open_minutes(recurring("01:45", "03:00"), night, 6) == [
        "23:45", "00:00", "00:15", "00:30", "00:45", "01:00", "01:15", "01:30", "01:45",
    ]  # fmt: skip


def test_in_spring_the_hour_that_is_skipped_holds_no_window_and_one_around_it_is_shorter() -> None:
    night = datetime(2027, 3, 27, 23, 0, tzinfo=UTC)  # 00:00 in Berlin; 02:00 becomes 03:00 at 01:00 UTC
    assert open_minutes(recurring("02:15", "02:45"), night, 6) == []
    assert open_minutes(recurring("01:45", "03:15"), night, 6) == ["00:45", "01:00"]
    over_midnight = recurring("23:30", "03:15")
    assert open_minutes(over_midnight, night, 6) == [
        "23:00", "23:15", "23:30", "23:45", "00:00", "00:15", "00:30", "00:45", "01:00",
    ]  # fmt: skip


def test_the_same_wall_clock_is_another_instant_in_summer() -> None:
    span = recurring("02:00", "02:15")
    assert span.is_open(datetime(2026, 1, 10, 1, 0, tzinfo=UTC))
    assert span.is_open(datetime(2026, 7, 10, 0, 0, tzinfo=UTC))
    assert not span.is_open(datetime(2026, 7, 10, 1, 0, tzinfo=UTC))


@given(
    st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2035, 1, 1)),  # noqa: DTZ001  # made aware below
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.sets(st.integers(0, 6), min_size=1),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]),
)
def test_no_instant_is_in_a_window_and_in_the_rest_of_the_week_or_in_neither(
    at: datetime, starts: int, ends: int, days: set[int], zone: str
) -> None:
    """A window and its complements cover the week exactly once, whatever the clock does."""
    if ends in (starts, 1440):
        return
    instant = at.replace(tzinfo=UTC)
    place = ZoneInfo(zone)
    here = Recurring(zone=place, days=EVERY_DAY, starts_minute=starts, ends_minute=ends)
    rest = Recurring(zone=place, days=EVERY_DAY, starts_minute=ends, ends_minute=starts)
    if starts:  # a window that ends at 00:00 ends with the day before: it must be written 24:00
        assert here.is_open(instant) != rest.is_open(instant)
    some = Recurring(zone=place, days=frozenset(days), starts_minute=starts, ends_minute=ends)
    other = Recurring(zone=place, days=EVERY_DAY - days, starts_minute=starts, ends_minute=ends)
    assert here.is_open(instant) == (some.is_open(instant) or other.is_open(instant))
    assert not (some.is_open(instant) and other.is_open(instant))


def test_a_calendar_knows_whom_a_window_is_for_and_which_forbid_writing() -> None:
    once = Once(starts_at=NOW, ends_at=NOW + timedelta(hours=1))
    some = Window(name="models", span=once, checks=frozenset({"models"}))
    everything = Window(name="move", span=once, freeze=True)
    calendar = Calendar((some, everything))
    assert calendar.window_of("models", NOW) == some
    assert calendar.window_of("health", NOW) == everything
    assert calendar.freezing(NOW) == (everything,)
    assert calendar.window_of("models", NOW + timedelta(hours=1)) is None
    assert calendar.freezing(NOW - timedelta(seconds=1)) == ()
    assert Calendar((some,)).window_of("health", NOW) is None


def test_within_a_window_looks_count_and_no_verdict_moves() -> None:
    check = a_check(fail_after=2)
    state, _ = fold(check, CheckState(), observation(UP))
    for streak in (1, 2, 3):
        state, flip = fold(check, state, observation(DOWN), "nightly")
        assert (state.verdict, state.pending, state.streak, flip) == (UP, DOWN, streak, None)
        assert state.maintenance == "nightly"
    state, flip = fold(check, state, observation(DOWN))
    assert (state.verdict, state.maintenance, flip is not None) == (DOWN, "", True), "what lasts is told afterwards"
    held, flip = fold(check, state, observation(BLIND), "nightly")
    assert (held.verdict, flip) == (DOWN, None)


@pytest.mark.parametrize("verdict", [UP, DOWN, BLIND])
def test_a_window_that_is_there_from_the_start_lets_nothing_be_said(verdict: Verdict) -> None:
    state, flip = fold(a_check(), CheckState(), observation(verdict), "nightly")
    assert (state.verdict, flip) == (BLIND, None)
