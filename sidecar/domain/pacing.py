"""How far a run is, how fast, how long it still takes, and how much its caps leave."""

from dataclasses import dataclass

from sidecar.domain.decide import percent_cap
from sidecar.domain.rule import Rule
from sidecar.domain.run import ACTIVE, RowResult, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Rows of a run. Units: `rate` rows per second, `left_seconds` seconds; None where nothing was measured."""

    done: int
    total: int
    rate: float | None
    left_seconds: float | None


def pace_of(run: Run) -> Pace:
    """Measure a run by what it settled between its start and its last sign of life, pauses included."""
    total = sum(run.results.values())
    done = total - run.results.get(RowResult.PLANNED, 0)
    took_seconds = ((run.finished_at or run.heartbeat_at) - run.started_at).total_seconds()
    rate = done / took_seconds if done and took_seconds > 0 else None
    left = (total - done) / rate if rate is not None and run.status in ACTIVE else None
    return Pace(done=done, total=total, rate=rate, left_seconds=left)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapsLeft:
    """How many more rows each cap allows: one run's, its share of subjects (None before a proven look), the day's."""

    run: int
    percent: int | None
    day: int


def caps_left(rule: Rule, *, rows: int, subjects: int | None, rows_today: int) -> CapsLeft:
    """Subtract what is used. `rows` are of the run in question, `rows_today` of the table in 24 hours."""
    share = None if not subjects else max(0, percent_cap(rule.guard.max_percent, subjects) - rows)
    return CapsLeft(
        run=max(0, rule.guard.max_rows - rows), percent=share, day=max(0, rule.guard.max_rows_per_day - rows_today)
    )
