"""What a person at the prompt sees while a verb works: a bar on a terminal, plain lines elsewhere, faults always."""

import contextlib
import sys
import time

from sidecar.domain.event import BatchSettled, Event, FaultCaught, RunStarted, VerifyFailed

SECONDS_BETWEEN_LINES = 2.0


class Progress:
    """Implements `sidecar.ports.Reporter` for one verb, on stderr."""

    def __init__(self) -> None:
        """Nothing is under way yet."""
        self._started = time.monotonic()
        self._said = 0.0
        self._done_before = 0

    def emit(self, event: Event) -> None:
        """Say what a person would like to know now."""
        match event:
            case RunStarted():
                self._started = time.monotonic()
                verb = "resuming" if event.resumed else "writing"
                _say(f"run {event.run_id}: {verb} {event.rows} rows of plan {event.plan_id}")
            case BatchSettled():
                self._settled(event)
            case VerifyFailed():
                _say(f"VERIFY FAILED: {event.rows} rows, {event.invariant}")
            case FaultCaught():
                _say(f"fault in {event.where}: {event.error_type} {event.detail}")
            case _:
                pass

    def span(self, name: str, **attributes: str | float | bool) -> contextlib.AbstractContextManager[None]:
        """Do not trace: a verb typed by a person reports to that person."""
        del name, attributes
        return contextlib.nullcontext()

    def _settled(self, event: BatchSettled) -> None:
        now = time.monotonic()
        last = event.done >= event.total
        if sys.stderr.isatty():
            width = 30
            filled = width * event.done // max(1, event.total)
            bar = "#" * filled + "." * (width - filled)
            sys.stderr.write(
                f"\r[{bar}] {event.done}/{event.total} rows{self._eta(event, now)}" + ("\n" if last else "")
            )
            sys.stderr.flush()
        elif last or now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            _say(f"{event.done}/{event.total} rows{self._eta(event, now)}")

    def _eta(self, event: BatchSettled, now: float) -> str:
        settled = sum(event.results.values())
        self._done_before = self._done_before or event.done - settled
        mine = event.done - self._done_before
        if event.done >= event.total or mine <= 0:
            return ""
        left_seconds = (now - self._started) / mine * (event.total - event.done)
        return f", about {left_seconds:.0f} s left"


def _say(line: str) -> None:
    sys.stderr.write(f"sidecar: {line}\n")
    sys.stderr.flush()
