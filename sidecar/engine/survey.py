"""One cycle of a survey: required checks, a proven read, the comparison with the last one. It never writes."""

from collections.abc import Mapping

from sidecar.domain.check import Check, Observation
from sidecar.domain.decide import Refuse, judge_required
from sidecar.domain.event import CycleFinished, LookFinished
from sidecar.domain.look import ProofFailure, Sighting, Unproven
from sidecar.domain.run import Outcome
from sidecar.domain.survey import Survey, Surveyed, judge_survey
from sidecar.engine.cycle import Cycle, blind, busy
from sidecar.engine.lease import TTL_SECONDS, Leases
from sidecar.engine.look import blindness_of, failure_of
from sidecar.engine.watch import Watch
from sidecar.errors import SidecarError
from sidecar.ports import Clock, Reporter, State, Surveys


class Surveyor:
    """Runs the cycles of surveys. One lease per survey, so that several replicas do not all read the same tables."""

    def __init__(
        self,
        *,
        checks: Mapping[str, Check],
        watch: Watch,
        surveys: Surveys,
        leases: Leases,
        state: State,
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        """`checks` are all configured checks by name; a survey requires some of them."""
        self._checks = checks
        self._watch = watch
        self._surveys = surveys
        self._leases = leases
        self._state = state
        self._reporter = reporter
        self._clock = clock

    async def look(self, survey: Survey) -> Cycle:
        """Look once, and tell what came of it."""
        started = self._clock.monotonic()
        with self._reporter.span(f"run {survey.name}", **{"sidecar.rule.name": survey.name}):
            async with self._leases.hold(f"survey {survey.name}", wait_seconds=TTL_SECONDS + 2) as lease:
                cycle = await self._cycle(survey) if lease is not None else busy(survey, survey.name)
            self._reporter.emit(
                CycleFinished(
                    rule=survey.name,
                    run_id=None,
                    outcome=cycle.outcome,
                    results={},
                    refusal=cycle.refusal,
                    detail=cycle.detail,
                    drift=None,
                    duration_seconds=self._clock.monotonic() - started,
                )
            )
        return cycle

    async def _cycle(self, survey: Survey) -> Cycle:
        started_at, started = self._clock.now(), self._clock.monotonic()
        seen = await self._ask_checks(survey) or await self._look(survey)
        surveyed = seen if isinstance(seen, Surveyed) else None
        self._reporter.emit(
            LookFinished(
                rule=survey.name,
                failure=None if surveyed else _failure(seen),
                detail=_detail(seen),
                violations={str(name): count for name, count in surveyed.classes.items()} if surveyed else None,
                counts=surveyed.proof.counts if surveyed else None,
                oldest_at=surveyed.oldest_at if surveyed else None,
                taken_at=self._clock.now() if surveyed else started_at,
                duration_seconds=self._clock.monotonic() - started,
            )
        )
        if not isinstance(seen, Surveyed):
            return blind(survey, seen)
        return Cycle(rule=survey.name, outcome=Outcome.OBSERVED, surveyed=seen)

    async def _ask_checks(self, survey: Survey) -> Refuse | Unproven | None:
        seen: dict[str, Observation] = {}
        for name in survey.require_checks:
            if (check := self._checks.get(name)) is not None:
                seen[name] = await self._watch.look(check)
        return judge_required(survey.require_checks, seen)

    async def _look(self, survey: Survey) -> Surveyed | Unproven | Refuse:
        """Read under a look of Sidecar's memory, which keeps the baseline of the next one."""
        look_id = await self._state.open_look(survey.name, self._clock.now())
        seen = await self._read(survey)
        if isinstance(seen, Surveyed):
            baseline = await self._state.baseline(survey.name)
            seen = judge_survey(survey, seen.proof.counts, seen.proof.database, baseline) or seen
        if isinstance(seen, Surveyed):
            remembered: Sighting | Unproven = Sighting(proof=seen.proof, candidates=())
        else:
            remembered = Unproven(failure=_failure(seen), detail=_detail(seen))
        await self._state.close_look(look_id, remembered, self._clock.now())
        return seen

    async def _read(self, survey: Survey) -> Surveyed | Unproven | Refuse:
        try:
            return await self._surveys.survey(survey)
        except SidecarError as error:
            return blindness_of(error)


def _failure(seen: Surveyed | Unproven | Refuse) -> ProofFailure:
    match seen:
        case Unproven():
            return seen.failure
        case Refuse():
            return failure_of(seen)
        case Surveyed():
            raise TypeError("a proven look has no failure")


def _detail(seen: Surveyed | Unproven | Refuse) -> str:
    match seen:
        case Unproven():
            return seen.detail
        case Refuse():
            return seen.value
        case Surveyed():
            return ""
