"""One look at a rule: required checks, a read proven whole, the comparison with the last one, findings judged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from sidecar.domain.check import Check, Observation
from sidecar.domain.decide import (
    GuardName,
    Refuse,
    judge_checks,
    judge_read,
    mark_recurring,
    mark_unconfirmed,
    oldest,
    separate_forgeable,
)
from sidecar.domain.event import DamageRecurred, LookFinished
from sidecar.domain.finding import DEFERRED, Finding, FindingClass, classify
from sidecar.domain.look import Facts, ProofFailure, ReadProof, Sighting, Unproven
from sidecar.domain.rule import Rule
from sidecar.engine.watch import Watch
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    PlanUnfit,
    RateLimited,
    SchemaMismatch,
    SidecarError,
    StateUnavailable,
    TransientError,
    WriteRejected,
)
from sidecar.ports import Clock, Data, Reporter, State

FACTS_AT_ONCE = 500  # candidates examined before their facts are forgotten again: bounds memory
RESTORES_AT_MOST = 3  # of one user by one rule within the window; then the cause is what needs a person
RESTORES_WINDOW = timedelta(hours=24)
EXAMINED_PER_CAP = 20  # candidates beyond this multiple of max_rows are counted, not read one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A proven look: what it found, and how many looks in this cycle confirmed it."""

    proof: ReadProof
    findings: Sequence[Finding]
    looks: int

    @property
    def classes(self) -> dict[str, int]:
        """Findings by class."""
        return dict(sorted(Counter(str(finding.kind) for finding in self.findings).items()))

    @property
    def deferred(self) -> int:
        """Findings that only need time."""
        return sum(finding.kind in DEFERRED for finding in self.findings)

    @property
    def held(self) -> dict[str, int]:
        """Findings that need a person, by reason."""
        kinds = (finding.kind for finding in self.findings)
        return dict(
            sorted(Counter(str(k) for k in kinds if k not in DEFERRED and k is not FindingClass.REPAIRABLE).items())
        )


Sight: TypeAlias = Sighting | Unproven | Refuse


class Looker:
    """Looks at rules. Every outcome is a value; only Sidecar's own memory may raise (StateUnavailable)."""

    def __init__(
        self, *, checks: Mapping[str, Check], watch: Watch, data: Data, state: State, reporter: Reporter, clock: Clock
    ) -> None:
        """`checks` are all configured checks by name; a rule requires some of them."""
        self._checks = checks
        self._watch = watch
        self._data = data
        self._state = state
        self._reporter = reporter
        self._clock = clock

    async def sight(self, rule: Rule, *, looks: int) -> Sight:
        """Look `looks` times in a row and return the last sighting, or why there is none."""
        seen: Sight = Unproven(failure=ProofFailure.UNREACHABLE, detail="did not look")
        for _ in range(looks):
            seen = await self._sight_once(rule)
            if not isinstance(seen, Sighting):
                break
        return seen

    async def _sight_once(self, rule: Rule) -> Sight:
        started_at, started = self._clock.now(), self._clock.monotonic()
        barred = await self._ask_checks(rule)
        if barred is not None:
            self._tell_blind(rule, barred, started_at, started)
            return barred
        look_id = await self._state.open_look(rule.name, started_at)
        seen = await self._read(rule, look_id)
        if isinstance(seen, Sighting):
            baseline = await self._state.baseline(rule.name)
            seen = judge_read(rule, seen.proof.counts, seen.proof.database, baseline) or seen
        if isinstance(seen, Refuse):
            blind = Unproven(failure=failure_of(seen), detail=seen.value)
            await self._state.close_look(look_id, blind, self._clock.now())
        else:
            await self._state.close_look(look_id, seen, self._clock.now())
        if not isinstance(seen, Sighting):
            self._tell_blind(rule, seen, started_at, started)
        return seen

    async def _ask_checks(self, rule: Rule) -> Refuse | Unproven | None:
        seen: dict[str, Observation] = {}
        for name in rule.guard.require_checks:
            if (check := self._checks.get(name)) is not None:
                seen[name] = await self._watch.look(check)
        return judge_checks(rule, seen)

    async def _read(self, rule: Rule, look_id: int) -> Sight:
        try:
            return await self._data.sight(rule, self._state, look_id)
        except SidecarError as error:
            return blindness_of(error)

    async def examine(
        self, rule: Rule, sighting: Sighting, *, plan_id: str, looks: int, typed: bool
    ) -> Seen | Unproven | Refuse:
        """Read the facts of every candidate and judge them; values name `plan_id` where the rule marks its rows.

        `typed` says that a person typed `backfill`: nobody reads the rows one by one before they are written.
        """
        started_at, started = self._clock.now(), self._clock.monotonic()
        keys = [*sighting.candidates, *sighting.young]
        try:
            findings = await self._findings(rule, sighting, keys, plan_id)
        except SidecarError as error:
            blind = blindness_of(error)
            self._tell_blind(rule, blind, started_at, started)
            return blind
        confirmations = await self._state.confirmations(rule.name)
        others = mark_recurring(findings, await self._restored_often(rule))
        judged = separate_forgeable(mark_unconfirmed(rule, others, confirmations), rule.mode, typed=typed)
        seen = Seen(proof=sighting.proof, findings=judged, looks=looks)
        held = seen.held
        if recurring := held.get(FindingClass.RECURRING, 0):
            self._reporter.emit(DamageRecurred(rule=rule.name, users=recurring))
        if FindingClass.UNEXAMINED not in held:  # a mass that nobody read says nothing about the rows held so far
            reasons = {finding.key: str(finding.kind) for finding in judged if finding.kind in held}
            await self._state.hold(rule.name, reasons, "look", self._clock.now(), None)
        self._reporter.emit(
            LookFinished(
                rule=rule.name,
                failure=None,
                detail="",
                violations=seen.classes,
                counts=sighting.proof.counts,
                oldest_at=oldest(seen.findings),
                taken_at=self._clock.now(),
                duration_seconds=self._clock.monotonic() - started,
            )
        )
        return seen

    async def _findings(self, rule: Rule, sighting: Sighting, keys: Sequence[str], plan_id: str) -> list[Finding]:
        limit = rule.guard.max_rows * EXAMINED_PER_CAP
        if len(sighting.candidates) > limit:
            unread = Finding(key="", kind=FindingClass.UNEXAMINED, oldest_at=None, evidence="")
            return [replace(unread, key=key) for key in keys]
        held = {q.key for q in await self._state.held(rule.name, self._clock.now()) if q.source == "run"}
        findings: list[Finding] = []
        for start in range(0, len(keys), FACTS_AT_ONCE):
            for facts in await self.facts(rule, keys[start : start + FACTS_AT_ONCE]):
                finding = judge_facts(rule, facts, sighting.proof, plan_id)
                if finding is None:
                    continue
                if finding.key in held and finding.kind is FindingClass.REPAIRABLE:
                    finding = replace(finding, kind=FindingClass.WRITE_REJECTED, values={}, origins={})
                findings.append(finding)
        return findings

    async def _restored_often(self, rule: Rule) -> frozenset[str]:
        since = self._clock.now() - RESTORES_WINDOW
        return await self._state.restored_often(rule.name, RESTORES_AT_MOST, since)

    async def facts(self, rule: Rule, keys: Sequence[str]) -> list[Facts]:
        """Read facts by key, with the balances that a person vouched for or that Sidecar saw itself."""
        anchors = await self._state.anchors(str(rule.detect.expects.table), keys)
        return [replace(f, anchors=anchors.get(f.key, ())) for f in await self._data.facts(rule, keys)]

    def _tell_blind(self, rule: Rule, why: Unproven | Refuse, started_at: datetime, started: float) -> None:
        failure = why.failure if isinstance(why, Unproven) else failure_of(why)
        detail = why.detail if isinstance(why, Unproven) else why.value
        self._reporter.emit(
            LookFinished(
                rule=rule.name,
                failure=failure,
                detail=detail,
                violations=None,
                counts=None,
                oldest_at=None,
                taken_at=started_at,
                duration_seconds=self._clock.monotonic() - started,
            )
        )


def judge_facts(rule: Rule, facts: Facts, proof: ReadProof, plan_id: str) -> Finding | None:
    """Judge one candidate under what the catalogue says of the ledger: not visible counts as writable."""
    forgeable = not proof.catalogue.visible or bool(proof.catalogue.ledger_writers)
    return classify(rule, facts, ledger_forgeable=forgeable, plan_id=plan_id, horizon_at=proof.horizon_at)


def failure_of(refusal: Refuse) -> ProofFailure:
    """Return what a refused look is told as, in metrics and in Sidecar's memory."""
    if refusal.guard is GuardName.REQUIRE_CHECKS:
        return ProofFailure.CHECK_UNHEALTHY
    if refusal.guard is GuardName.PLAN_GUARD:
        return ProofFailure.PLAN_UNFIT
    return ProofFailure.SCHEMA_MISMATCH


def blindness_of(error: SidecarError) -> Unproven | Refuse:
    """Turn what data raised into a value: a wrong schema is refused by name, everything else leaves us blind.

    Raises: the error itself where it is not about the data (StateUnavailable, LeaseLost).
    """
    match error:
        case StateUnavailable():
            raise error
        case SchemaMismatch():
            typed = str(error).startswith("key_type_unsupported")
            return Refuse(
                guard=GuardName.KEY_TYPE_UNSUPPORTED if typed else GuardName.SCHEMA_MISMATCH,
                value=str(error),
                limit="the tables and columns that the rule names",
                hint="edit the rule, or let PostgREST reload its schema cache after a migration",
            )
        case PlanUnfit():
            return Refuse(
                guard=GuardName.PLAN_GUARD,
                value=str(error),
                limit="an anti join over whole tables",
                hint="index the keys that the rule names, then let PostgreSQL analyze both tables",
            )
        case RateLimited():
            return Unproven(
                failure=ProofFailure.UNREACHABLE, detail=str(error), retry_after_seconds=error.retry_after_seconds
            )
        case AccessDenied():
            return Unproven(failure=ProofFailure.ACCESS_DENIED, detail=str(error))
        case AnswerMalformed() | WriteRejected():  # what an undo may meet: a trigger that lets no row go
            return Unproven(failure=ProofFailure.ANSWER_MALFORMED, detail=str(error))
        case TransientError():
            return Unproven(failure=ProofFailure.UNREACHABLE, detail=str(error))
        case _:
            raise error
