"""Hold a run back while a signal says so, or while one that the rule names cannot be read."""

from collections.abc import Callable

from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.event import RunHeld
from sidecar.domain.pace import hold_reason
from sidecar.domain.rule import Rule
from sidecar.engine.work import Work
from sidecar.ports import Clock, Reporter, Signals, State

ASK_SECONDS = 10.0  # between two questions to the source of signals
HOLD_SECONDS_AT_MOST = 300.0  # then the run makes room; the next tick takes it up and asks again


class Throttle:
    """Asks the rule's signals before each batch, but not more often than they change."""

    def __init__(
        self, *, signals: Signals, state: State, reporter: Reporter, clock: Clock, stopping: Callable[[], bool]
    ) -> None:
        """A hold is written into the run in `state`; a drain, which `stopping` tells of, ends it."""
        self._signals = signals
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._stopping = stopping
        self._fine_since: dict[str, float] = {}

    async def wait(self, work: Work) -> Refuse | None:
        """Return once the run may go on (or must stop anyway), or refuse after the longest hold. Raises: LeaseLost."""
        began, told = self._clock.monotonic(), False
        while (reason := await self._reason(work.rule)) is not None:
            held_seconds = self._clock.monotonic() - began
            if held_seconds >= HOLD_SECONDS_AT_MOST:
                hint = "the run goes on at the next tick, once its signals allow it"
                limit = f"a hold of {HOLD_SECONDS_AT_MOST:g} s"
                return Refuse(guard=GuardName.SIGNALS, value=f"held: {reason}", limit=limit, hint=hint)
            if not told:
                told = True
                self._reporter.emit(RunHeld(rule=work.rule.name, run_id=work.run.id, reason=reason))
                await self._note(work, f"held: {reason}")
            if await self._rest():
                return None
        if told:
            await self._note(work, "")
        return None

    async def _reason(self, rule: Rule) -> str | None:
        """Return the first reason to wait, asking only what was not just answered."""
        now = self._clock.monotonic()
        if now - self._fine_since.get(rule.name, float("-inf")) < ASK_SECONDS:
            return None
        for signal in rule.guard.signals:
            if (reason := hold_reason(signal, await self._signals.read(signal))) is not None:
                self._fine_since.pop(rule.name, None)
                return reason
        self._fine_since[rule.name] = now
        return None

    async def _rest(self) -> bool:
        """Wait until it is worth asking again; True when somebody wants everything to end."""
        until = self._clock.monotonic() + ASK_SECONDS
        while not self._stopping() and self._clock.monotonic() < until:
            await self._clock.sleep(1.0)
        return self._stopping()

    async def _note(self, work: Work, detail: str) -> None:
        await self._state.note_run(work.run.id, work.lease.name, work.lease.epoch, detail, self._clock.now())
