"""What a person at the prompt sees while a verb works: a bar on a terminal, plain lines elsewhere, faults always."""

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sidecar.domain.event import BatchSettled, Event, FaultCaught, RunStarted, VerifyFailed

if TYPE_CHECKING:
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 2.0


class Progress:
    """Implements `sidecar.ports.Reporter` for one verb, on stderr. As a context it leaves the terminal tidy."""

    def __init__(self) -> None:
        """Nothing is under way yet."""
        self._meter: Meter | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        if self._meter is not None:
            self._meter.close()

    def emit(self, event: Event) -> None:
        """Say what a person would like to know now."""
        match event:
            case RunStarted():
                verb = "resuming" if event.resumed else "writing"
                say(f"run {event.run_id}: {verb} {event.rows} rows of plan {event.plan_id}")
                self._meter = Meter()
            case BatchSettled():
                self._meter = self._meter or Meter()
                self._meter.move(event.done, event.total, settled=sum(event.results.values()))
            case VerifyFailed():
                say(f"VERIFY FAILED: {event.rows} rows, {event.invariant}")
            case FaultCaught():
                say(f"fault in {event.where}: {event.error_type} {event.detail}")
            case _:
                pass

    def span(self, name: str, **attributes: str | float | bool) -> contextlib.AbstractContextManager[None]:
        """Do not trace: a verb typed by a person reports to that person."""
        del name, attributes
        return contextlib.nullcontext()


class Meter:
    """Rows of one run as they are settled: a bar on a terminal, elsewhere a line every few seconds and at the end."""

    def __init__(self) -> None:
        """Measure from now on."""
        self._started = time.monotonic()
        self._said: float | None = None
        self._done_before: int | None = None
        self._bar: Bar | None = None

    def move(self, done: int, total: int, *, settled: int) -> None:
        """Show that `done` of `total` rows are accounted for, `settled` of them just now."""
        now = time.monotonic()
        if self._done_before is None:
            self._done_before = done - settled
        rate = (done - self._done_before) / max(now - self._started, 1e-6)
        if sys.stderr.isatty():
            self._bar = self._bar or Bar(total)
            self._bar.move(done, rate)
        elif done >= total or self._said is None or now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            say(f"{done}/{total} rows{pace_words(rate, total - done)}")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()


class Bar:
    """A bar with rows per second and the time that is left."""

    def __init__(self, total: int) -> None:
        """Draw an empty bar on stderr."""
        # Rich is 40 ms of imports, and only a terminal needs it.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        self._rich: RichProgress = RichProgress(
            TextColumn("sidecar:"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows{task.fields[pace]}"),
            console=Console(stderr=True),
            auto_refresh=False,  # no thread: each batch draws it
        )
        self._task: TaskID = self._rich.add_task("rows", total=total, pace="")
        self._rich.start()

    def move(self, done: int, rate: float) -> None:
        """Draw it anew."""
        left = int(self._rich.tasks[0].total or 0) - done
        self._rich.update(self._task, completed=done, pace=pace_words(rate, left), refresh=True)
        if left <= 0:
            self.close()

    def close(self) -> None:
        """Stop drawing; what was drawn stays."""
        self._rich.stop()


def pace_words(rate: float | None, left: int) -> str:
    """Tell rows per second and the time that is left, as far as either is known."""
    if not rate or rate <= 0:
        return ""
    words = f", {rate:.0f} rows/s" if rate >= 10 else f", {rate:.1f} rows/s"
    return words + (f", about {_duration(left / rate)} left" if left > 0 else "")


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def say(line: str) -> None:
    """Say one line on stderr."""
    sys.stderr.write(f"sidecar: {line}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Show on a terminal what is being waited for, and wipe it away again; elsewhere say nothing."""
    shown = sys.stderr.isatty()
    if shown:
        sys.stderr.write(f"\r{what}\x1b[K")
        sys.stderr.flush()
    try:
        yield
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
