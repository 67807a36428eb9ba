"""How many rows the next batch has, and what holds it back. Grows on success, never on error."""

from dataclasses import dataclass, replace
from decimal import Decimal

FIRST_ROWS = 1  # the canary: verified from the source before the next batch
GROWTH = 4
AIM_SECONDS = 0.5
TOO_LONG_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The size of the next batch; `rows_at_most` is what the path to the data takes at once."""

    rows: int
    rows_at_most: int


def first(rows_at_most: int) -> Pace:
    """Begin with one row, whatever the path takes."""
    return Pace(rows=FIRST_ROWS, rows_at_most=rows_at_most)


def after(pace: Pace, took_seconds: float, *, troubled: bool) -> Pace:
    """Return the pace after a batch. `troubled`: a row was refused, a lock was not had, or an answer did not come."""
    if troubled or took_seconds > TOO_LONG_SECONDS:
        return replace(pace, rows=max(FIRST_ROWS, pace.rows // 2))
    if took_seconds > AIM_SECONDS:
        return pace
    grown = min(pace.rows * GROWTH, pace.rows_at_most)
    fitting = pace.rows * AIM_SECONDS / took_seconds if took_seconds > 0 else grown
    return replace(pace, rows=int(min(grown, fitting)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A PromQL query with one number for its answer, and how high that may be before runs wait."""

    name: str
    query: str
    at_most: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a signal said; `value` is None when it could not be read, and `trouble` says why."""

    value: Decimal | None
    trouble: str = ""


def hold_reason(signal: Signal, reading: Reading) -> str | None:
    """Say why a run must wait; None when it may go on. What cannot be read is no permission."""
    if reading.value is None:
        return f"signal {signal.name} cannot be read: {reading.trouble}"
    if not reading.value <= signal.at_most:
        return f"signal {signal.name} is {reading.value}, at most {signal.at_most}"
    return None
