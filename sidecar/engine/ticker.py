"""When to look: APScheduler as a clock only. A tick hands work to the supervisor and is over; it owns nothing.

The order of the edge cases: a tick whose work still runs is an overlap; a tick that comes too late is a misfire; ticks
that piled up while the process was away become one; a target that asked to be left alone gets no tick until then.
"""

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    JobEvent,
)
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from sidecar.domain.event import TickMissed, TickStarted
from sidecar.engine.supervisor import Supervisor, Work
from sidecar.ports import Reporter

FIRST_SECONDS_AT_MOST = 10.0  # after the start, every name has had its first tick
JITTER_RATIO = 0.1  # of the interval: spreads ticks without changing how many there are
BEAT_SECONDS = 0.02  # ticks come on multiples of this; far below any interval, and below what a look takes
BACKOFF_SECONDS_AT_MOST = 3600.0  # no answer of a target may blind us for longer

_CAUSES = {EVENT_JOB_MISSED: "misfire", EVENT_JOB_MAX_INSTANCES: "overlap", EVENT_JOB_ERROR: "error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What ticks. `kind` (check, rule or audit) and `name` together are unique; the task is named `kind name`."""

    kind: str
    name: str
    every_seconds: float
    work: Work

    @property
    def task(self) -> str:
        """The name of the supervisor's task, and of the clock's job."""
        return f"{self.kind} {self.name}"


class Ticker:
    """Hands each tick's work to the supervisor, and says what became of every tick."""

    def __init__(self, supervisor: Supervisor, reporter: Reporter, *, rng: random.Random) -> None:
        """Draw first instants and jitter from `rng`."""
        self._supervisor = supervisor
        self._reporter = reporter
        self._rng = rng
        self._ticks: dict[str, Tick] = {}
        self._grids: dict[str, _Every] = {}
        self._paces: dict[str, float] = {}
        self._not_before: dict[str, datetime] = {}
        # DebugExecutor calls the job inside the loop's own callback: a hand-off needs no thread and no task of its own,
        # and so there is nothing that APScheduler's shutdown could cancel or hide.
        self._scheduler = AsyncIOScheduler(timezone=UTC, executors={"default": DebugExecutor()})
        self._scheduler.add_listener(self._heard, EVENT_JOB_EXECUTED | sum(_CAUSES))

    def add(self, tick: Tick) -> None:
        """Let it tick, first at a random instant within its interval or ten seconds, whichever is shorter.

        Raises: ValueError when its name is taken.
        """
        if tick.task in self._ticks:
            raise ValueError(f"{tick.task} ticks already")
        self._ticks[tick.task] = tick
        first_seconds = self._rng.uniform(0, min(tick.every_seconds, FIRST_SECONDS_AT_MOST))
        trigger = _Every(tick.every_seconds, datetime.now(UTC) + timedelta(seconds=first_seconds), self._rng)
        self._grids[tick.task] = trigger
        self._scheduler.add_job(
            self._hand_off,
            trigger,
            id=tick.task,
            args=[tick],
            coalesce=True,
            max_instances=1,
            misfire_grace_time=_grace_seconds(tick.every_seconds),
        )

    def remove(self, kind: str, name: str) -> None:
        """Let it tick no more. Work that was handed over goes on. Raises: KeyError for a name that does not tick."""
        task = self._ticks.pop(f"{kind} {name}").task
        self._scheduler.remove_job(task)
        for known in (self._grids, self._paces, self._not_before):
            known.pop(task, None)

    def set_pace(self, kind: str, name: str, every_seconds: float) -> None:
        """Tick at another interval from now on, or at its own again, on the grid that it had. Idempotent.

        Raises: KeyError for a name that does not tick.
        """
        tick = self._ticks[f"{kind} {name}"]
        if every_seconds == self._paces.get(tick.task, tick.every_seconds):
            return
        self._paces[tick.task] = every_seconds
        now = datetime.now(UTC)
        is_own = every_seconds == tick.every_seconds
        grid = self._grids[tick.task] if is_own else _Every(every_seconds, now, self._rng)
        self._scheduler.modify_job(tick.task, trigger=grid, misfire_grace_time=_grace_seconds(every_seconds))
        self._move(tick, grid.get_next_fire_time(now, now))

    def start(self) -> None:
        """Start ticking in the running loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop ticking. Work that was handed over goes on; it is the supervisor's."""
        if self._scheduler.running:
            self._scheduler.pause()  # at once; `shutdown` itself only takes effect in the loop's next round
            self._scheduler.shutdown(wait=False)

    def request_soon(self, kind: str, name: str) -> None:
        """Let the next tick come now, or once a backoff is over. Raises: KeyError for a name that does not tick."""
        self._move(self._ticks[f"{kind} {name}"], datetime.now(UTC))

    def not_before(self, kind: str, name: str, seconds: float) -> None:
        """Back off: no tick for `seconds` from now, but for an hour at most; the ticks left out count as nothing.

        Raises: KeyError for a name that does not tick.
        """
        tick = self._ticks[f"{kind} {name}"]
        wait_seconds = min(max(seconds, 0.0), BACKOFF_SECONDS_AT_MOST)
        until_at = datetime.now(UTC) + timedelta(seconds=wait_seconds)
        self._not_before[tick.task] = until_at
        job = self._scheduler.get_job(tick.task)
        if job is not None and job.next_run_time is not None and job.next_run_time < until_at:
            self._move(tick, until_at)

    def _move(self, tick: Tick, at: datetime) -> None:
        at = max(at, self._not_before.get(tick.task, at))
        self._scheduler.modify_job(tick.task, next_run_time=at)

    def _hand_off(self, tick: Tick) -> bool:
        return self._supervisor.submit(tick.task, tick.work)

    def _heard(self, event: JobEvent) -> None:
        tick = self._ticks.get(event.job_id)
        if tick is None or self._supervisor.stopping.is_set():
            return  # nothing is missed when nothing is wanted any more
        cause = _CAUSES.get(event.code) or ("overlap" if not event.retval else None)
        if cause is not None:
            self._reporter.emit(TickMissed(kind=tick.kind, name=tick.name, cause=cause))
            return
        lag_seconds = max(0.0, (datetime.now(UTC) - event.scheduled_run_time).total_seconds())
        self._reporter.emit(TickStarted(kind=tick.kind, name=tick.name, lag_seconds=lag_seconds))


def _grace_seconds(every_seconds: float) -> int:
    """Return how late a tick may be: later than that, the next one is nearer."""
    return max(1, round(every_seconds / 2))


class _Every(BaseTrigger):  # type: ignore[misc]  # APScheduler publishes no types
    """Ticks at start + n * interval + jitter.

    Not APScheduler's own IntervalTrigger: it adds each jitter to the tick before (`get_next_fire_time`, 3.11.3), so
    that an interval of 60 s with 6 s of jitter really is one of 63 s, and it draws from the global generator.
    """

    def __init__(self, every_seconds: float, start_at: datetime, rng: random.Random) -> None:
        self._every_seconds = every_seconds
        self._start_at = start_at
        self._rng = rng

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the first instant, or the next one of the grid after the previous tick, whatever moved that tick."""
        if previous_fire_time is None:
            return max(self._start_at, now)
        # A shade more than passed, so that rounding to microseconds cannot find the same place in the grid twice.
        passed = (previous_fire_time - self._start_at).total_seconds() / self._every_seconds
        place = max(0, math.floor(passed + 1e-4)) + 1
        jitter_seconds = self._rng.uniform(0, self._every_seconds * JITTER_RATIO)
        return _on_beat(self._start_at + timedelta(seconds=place * self._every_seconds + jitter_seconds))


def _on_beat(at: datetime) -> datetime:
    """Return the next beat: ticks that share one wake the clock once, which costs as much as a third of a look."""
    return datetime.fromtimestamp(math.ceil(at.timestamp() / BEAT_SECONDS) * BEAT_SECONDS, UTC)
