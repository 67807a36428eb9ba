"""One look by one check: parents first, probe, fold into the standing verdict, remember, tell."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sidecar.domain.check import Check, CheckState, Observation, Verdict, fold, worth_keeping
from sidecar.domain.dependence import Barred, bar, excuse
from sidecar.domain.event import CheckObserved, FaultCaught
from sidecar.domain.maintenance import Calendar
from sidecar.domain.reasons import SHOWN, CommonReason
from sidecar.engine.trying import try_probe
from sidecar.ports import Clock, Connectivity, Probe, Reporter, State


class Watch:
    """Looks with the probe of each check's kind. The standing verdicts live here between looks."""

    def __init__(
        self,
        probes: Mapping[str, Probe] | None = None,
        *,
        state: State,
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        """Take one probe for each kind, or none before `follow`."""
        self._probes = probes or {}
        self._checks: Mapping[str, Check] | None = None
        self._calendar = Calendar()
        self._connectivity: Connectivity | None = None
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._standing: dict[str, CheckState] = {}
        self._looking: dict[str, asyncio.Lock] = {}
        self._saved: dict[str, CheckState] = {}

    @property
    def standing(self) -> Mapping[str, CheckState]:
        """The standing verdicts, by check."""
        return self._standing

    async def remember(self) -> None:
        """Take up the verdicts of an earlier process, so that a restart is no flip."""
        self._saved = dict(await self._state.check_states())
        self._standing.update(self._saved)

    def follow(
        self,
        probes: Mapping[str, Probe],
        checks: Iterable[Check],
        calendar: Calendar | None = None,
        connectivity: Connectivity | None = None,
    ) -> None:
        """Look with these probes from now on, and know these checks only: others may depend on them.

        Within a window of `calendar` verdicts are held. `connectivity` is asked when a look failed; None: never.
        How a check stands is forgotten when it is gone or looks at something else by now, and kept otherwise.
        """
        self._calendar = calendar or Calendar()
        self._connectivity = connectivity
        before, self._checks = self._checks or {}, {check.name: check for check in checks}
        self._probes = probes
        for name, check in before.items():
            if not self._is_known(check):
                self._standing.pop(name, None)
                self._saved.pop(name, None)

    def _is_known(self, check: Check) -> bool:
        """Say whether a check is what its name means by now: a look that a reload overtook says nothing any more."""
        if self._checks is None:
            return True
        known = self._checks.get(check.name)
        return known is not None and (known.kind, known.spec) == (check.kind, check.spec)

    def stands(self, name: str) -> CheckState:
        """Return how a check stands: unknown before the first look."""
        return self._standing.get(name, CheckState())

    async def look(self, check: Check, *, alone: bool = False) -> Observation:
        """Look once; the answer is an observation whatever happens. A check never looks twice at the same time.

        Parents of which nothing is known yet are looked at first. `alone` asks no parent: a person wants to see this
        very check. Raises: StateUnavailable after the observation was told, when it could not be remembered.
        """
        async with self._looking.setdefault(check.name, asyncio.Lock()):
            parents = () if alone else self._parents(check)
            for parent in parents:
                if self.stands(parent.name).last is None:
                    await self.look(parent)
            return await self._look(check, parents)

    def _parents(self, check: Check) -> tuple[Check, ...]:
        known = self._checks or {}
        return tuple(known[name] for name in check.depends_on if name in known)

    async def _look(self, check: Check, parents: Iterable[Check]) -> Observation:
        with self._reporter.span(f"check {check.name}", **{"sidecar.check.name": check.name}):
            seen = await self._see(check, tuple(parents))
            if not self._is_known(check):
                return seen
            window = self._calendar.window_of(check.name, self._clock.now())
            state, flip = fold(check, self.stands(check.name), seen, window.name if window else "")
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

    async def _see(self, check: Check, parents: tuple[Check, ...]) -> Observation:
        started = self._clock.monotonic()
        try:
            barred = bar(self._stand(parents), self._clock.now())
            if barred is not None:
                return self._unjudged(check, started, barred.reason, barred.detail)
            seen = await try_probe(self._probes[check.kind], check, self._clock)
            seen = self._excused(seen, excuse(self._stand(parents)))
            return await self._connected(check, seen)
        except Exception as error:  # noqa: BLE001  # the boundary: a bug in one probe must not blind the others
            self._reporter.emit(
                FaultCaught(where=f"check {check.name}", error_type=type(error).__name__, detail="probe failed")
            )
            return self._unjudged(check, started, CommonReason.PROBE_FAILED, type(error).__name__)

    def _stand(self, parents: Iterable[Check]) -> list[tuple[Check, CheckState]]:
        return [(parent, self.stands(parent.name)) for parent in parents]

    def _excused(self, seen: Observation, barred: Barred | None) -> Observation:
        """Take a failure that a parent explains for what it is: nothing was learned about the child."""
        if barred is None or seen.verdict is not Verdict.UNHEALTHY:
            return seen
        notes = (*seen.notes, seen.reason)
        return replace(seen, verdict=Verdict.UNKNOWN, reason=barred.reason.value, detail=barred.detail, notes=notes)

    async def _connected(self, check: Check, seen: Observation) -> Observation:
        """Take a failure without an answer for what it is when it is we who have no network."""
        is_answered = isinstance(seen.facts.get("status"), int) or seen.reason in SHOWN
        if self._connectivity is None or not check.outside or is_answered or seen.verdict is Verdict.HEALTHY:
            return seen
        if await self._connectivity.connected():
            return seen
        reason, detail = CommonReason.NO_CONNECTIVITY.value, "Sidecar itself reaches none of connectivity.targets"
        notes = (*seen.notes, seen.reason)
        return replace(seen, verdict=Verdict.UNKNOWN, reason=reason, detail=detail, notes=notes)

    def _unjudged(self, check: Check, started: float, reason: CommonReason, detail: str) -> Observation:
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=Verdict.UNKNOWN,
            reason=reason.value,
            detail=detail,
            taken_at=self._clock.now(),
            duration_seconds=self._clock.monotonic() - started,
        )
