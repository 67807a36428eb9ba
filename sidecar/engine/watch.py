"""One look by one check: probe, fold into the standing verdict, remember, tell."""

from collections.abc import Mapping

from sidecar.domain.check import Check, CheckState, Observation, Verdict, fold, worth_keeping
from sidecar.domain.event import CheckObserved, FaultCaught
from sidecar.ports import Clock, Probe, Reporter, State


class Watch:
    """Looks with the probe of each check's kind. The standing verdicts live here between looks."""

    def __init__(self, probes: Mapping[str, Probe], *, state: State, reporter: Reporter, clock: Clock) -> None:
        """Take one probe for each kind."""
        self._probes = probes
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._standing: dict[str, CheckState] = {}
        self._saved: dict[str, CheckState] = {}

    @property
    def standing(self) -> Mapping[str, CheckState]:
        """The standing verdicts, by check."""
        return self._standing

    async def remember(self) -> None:
        """Take up the verdicts of an earlier process, so that a restart is no flip."""
        self._saved = dict(await self._state.check_states())
        self._standing.update(self._saved)

    async def look(self, check: Check) -> Observation:
        """Look once; the answer is an observation whatever happens.

        Raises: StateUnavailable after the observation was told, when it could not be remembered.
        """
        with self._reporter.span(f"check {check.name}", **{"sidecar.check.name": check.name}):
            seen = await self._probe(check)
            before = self._standing.get(check.name, CheckState())
            state, flip = fold(check, before, seen)
            self._standing[check.name] = state
            self._reporter.emit(CheckObserved(check=check, observation=seen, state=state, flip=flip))
        await self._save(check, state)
        return seen

    async def _save(self, check: Check, state: CheckState) -> None:
        """Remember what changed, and nothing else: a write at every look cost as much as the look itself."""
        kept = worth_keeping(check, state)
        if self._saved.get(check.name) != kept:
            await self._state.save_check(check.name, kept)
            self._saved[check.name] = kept

    async def _probe(self, check: Check) -> Observation:
        started = self._clock.monotonic()
        try:
            return await self._probes[check.kind](check)
        except Exception as error:  # noqa: BLE001  # the boundary: a bug in one probe must not blind the others
            self._reporter.emit(
                FaultCaught(where=f"check {check.name}", error_type=type(error).__name__, detail="probe failed")
            )
            return Observation(
                check=check.name,
                kind=check.kind,
                verdict=Verdict.UNKNOWN,
                reason="probe_failed",
                detail=type(error).__name__,
                taken_at=self._clock.now(),
                duration_seconds=self._clock.monotonic() - started,
            )
