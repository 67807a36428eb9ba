"""When work on the watched things was announced: looks go on, and nothing is said about what they see.

A recurring window goes by the clock on the wall of its zone, as Alertmanager's time intervals do. An hour that the
clock skips in spring holds no window; an hour that it shows twice in autumn holds it twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import TypeAlias

MINUTES_A_DAY = 24 * 60
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurring:
    """Every week on `days` (0 is Monday), from one minute of the day until another, which it does not include.

    One that ends at or before its start goes on over midnight; `days` are those on which it starts.
    """

    zone: tzinfo
    days: frozenset[int]
    starts_minute: int
    ends_minute: int

    def is_open(self, at: datetime) -> bool:
        """Say whether the wall shows a time of the window."""
        wall = at.astimezone(self.zone)
        minute = wall.hour * 60 + wall.minute
        if self.starts_minute < self.ends_minute:
            return wall.weekday() in self.days and self.starts_minute <= minute < self.ends_minute
        if minute >= self.starts_minute:
            return wall.weekday() in self.days
        return minute < self.ends_minute and (wall - timedelta(days=1)).weekday() in self.days


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """From one instant until another, which it does not include."""

    starts_at: datetime
    ends_at: datetime

    def is_open(self, at: datetime) -> bool:
        """Say whether the instant is in the window."""
        return self.starts_at <= at < self.ends_at


Span: TypeAlias = Recurring | Once


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Announced work: on which checks (None: all), when, and whether rules must not write meanwhile."""

    name: str
    span: Span
    checks: frozenset[str] | None = None
    freeze: bool = False

    @property
    def stop(self) -> str:
        """How a refusal names the window as what keeps rules from writing."""
        return f"maintenance window {self.name} freezes everything"


@dataclass(frozen=True, slots=True)
class Calendar:
    """All windows."""

    windows: tuple[Window, ...] = ()

    def window_of(self, check: str, at: datetime) -> Window | None:
        """Return the first window that a check is in, None when it is in none."""
        named = (window for window in self.windows if window.checks is None or check in window.checks)
        return next(self._open(at, named), None)

    def freezing(self, at: datetime) -> tuple[Window, ...]:
        """Return every window that forbids writing at an instant."""
        return tuple(self._open(at, (window for window in self.windows if window.freeze)))

    def _open(self, at: datetime, windows: Iterable[Window]) -> Iterator[Window]:
        return (window for window in windows if window.span.is_open(at))
