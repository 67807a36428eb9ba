"""From a decision's rows to a plan, and what bounds it: caps, freeze, trust, and a plan that waits for a person."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sidecar.domain.decide import (
    GuardName,
    Refuse,
    Situation,
    judge_amount,
    judge_plan,
    judge_schema,
    percent_cap,
)
from sidecar.domain.event import CapMeasured, PlanMade
from sidecar.domain.finding import Finding, FindingClass
from sidecar.domain.look import ReadProof
from sidecar.domain.plan import Plan, PlanRow, PlanStatus
from sidecar.domain.rule import Mode, Rule
from sidecar.domain.run import Outcome
from sidecar.engine.bounds import Bounds
from sidecar.engine.cycle import Cycle
from sidecar.engine.look import Seen
from sidecar.engine.trust import trust_digest
from sidecar.ports import Clock, Reporter, State, StoredPlan


class Planner:
    """Makes plans and puts them before the guards."""

    def __init__(self, *, bounds: Bounds, state: State, reporter: Reporter, clock: Clock) -> None:
        """Plans are stored in `state`."""
        self._bounds = bounds
        self._state = state
        self._reporter = reporter
        self._clock = clock

    async def situation(self, rule: Rule, seen: Seen, *, typed: bool) -> Situation:
        """Gather what a decision rests on, and tell how much of each cap would be used."""
        digest = trust_digest(rule, seen.proof.catalogue)
        known = await self._state.trusted(rule.name) in (None, digest)
        situation = await self._bounds.read(rule, seen.proof, typed=typed, trusted=known)
        counted = (FindingClass.REPAIRABLE, FindingClass.UNEXAMINED)
        rows = sum(finding.kind in counted for finding in seen.findings)
        cap = min(rule.guard.max_rows, percent_cap(rule.guard.max_percent, situation.subjects))
        day = (situation.rows_today + rows) / rule.guard.max_rows_per_day
        self._reporter.emit(CapMeasured(rule=rule.name, window="run", ratio=rows / cap))
        self._reporter.emit(CapMeasured(rule=rule.name, window="day", ratio=day))
        return situation

    async def meet(self, rule: Rule, seen: Seen) -> None:
        """Take the first sight of a rule as the one that later ones are compared with."""
        if await self._state.trusted(rule.name) is None:
            digest = trust_digest(rule, seen.proof.catalogue)
            await self._state.trust(rule.name, digest, "sidecar", self._clock.now())

    def render(self, rule: Rule, seen: Seen, rows: Sequence[Finding], plan_id: str, author: str) -> Plan:
        """Write the decided rows down as a plan."""
        now = self._clock.now()
        catalogue = seen.proof.catalogue
        return Plan(
            id=plan_id,
            rule=rule.name,
            rule_digest=rule.digest,
            schema_fingerprint=catalogue.fingerprint,
            database=seen.proof.database,
            author=author,
            created_at=now,
            expires_at=now + timedelta(seconds=rule.repair.plan_expires_seconds),
            subjects=seen.proof.counts.subjects,
            classes=seen.classes,
            not_visible=() if catalogue.visible else ("triggers", "foreign keys", "defaults", "ledger privileges"),
            rows=tuple(
                PlanRow(key=f.key, values=f.values, origins=f.origins, evidence=f.evidence, version=f.version)
                for f in rows
            ),
        )

    async def wait_for_person(self, rule: Rule, plan: Plan, seen: Seen, actor: str) -> Cycle:
        """Store the plan for a person, unless one with the same rows waits, or was approved, already."""
        for stored in await self._state.plans(rule.name):
            if stored.status not in (PlanStatus.WAITING, PlanStatus.APPROVED):
                continue
            if _same_rows(rule, stored.plan, plan) and stored.plan.expires_at > self._clock.now():
                return Cycle(rule=rule.name, outcome=Outcome.PLANNED, seen=seen, plan=stored.plan)
        await self._state.save_plan(plan, PlanStatus.WAITING, actor)
        self._reporter.emit(PlanMade(rule=rule.name, plan_id=plan.id, rows=len(plan.rows), waiting=True))
        return Cycle(rule=rule.name, outcome=Outcome.PLANNED, seen=seen, plan=plan)

    async def withdraw(self, rule: Rule) -> None:
        """Reject what waits: a proven look found nothing that it could repair any more."""
        for stored in await self._state.plans(rule.name, PlanStatus.WAITING):
            await self._state.move_plan(
                stored.plan.id, PlanStatus.WAITING, PlanStatus.REJECTED, "sidecar", self._clock.now()
            )

    async def judge_stored(self, rule: Rule, stored: StoredPlan, proof: ReadProof) -> Refuse | None:
        """Put an approved plan before every guard again: it was approved some time ago."""
        if stored.status is not PlanStatus.APPROVED:
            taken = stored.status is PlanStatus.APPLIED
            return Refuse(
                guard=GuardName.PLAN_TAKEN if taken else GuardName.PLAN_NOT_APPROVED,
                value=f"plan {stored.plan.id} is {stored.status}",
                limit="approved",
                hint=f"see: sidecar runs; or approve it: sidecar approve {stored.plan.id}",
            )
        situation = await self._bounds.read(rule, proof, typed=False, trusted=True)
        return (
            judge_plan(stored.plan, rule, proof, self._clock.now())
            or (observes() if rule.mode is Mode.OBSERVE else None)
            or situation.stopped
            or situation.breaker
            or judge_schema(replace(rule, mode=Mode.APPROVE), situation)
            or judge_amount(rule, len(stored.plan.rows), situation)
        )


def observes() -> Refuse:
    """Refuse to write for a rule that only watches."""
    return Refuse(guard=GuardName.MODE, value="observe", limit="approve or auto", hint="the rule only watches")


def _same_rows(rule: Rule, one: Plan, other: Plan) -> bool:
    """Compare what two plans would do; their ids and times differ, and so does the mark in their rows."""
    bound = (one.rule_digest, one.schema_fingerprint, one.database)
    if bound != (other.rule_digest, other.schema_fingerprint, other.database):
        return False
    return _deeds(rule, one) == _deeds(rule, other)


def _deeds(rule: Rule, plan: Plan) -> list[tuple[str, str, object, object]]:
    mark = rule.plan_marker[0] if rule.plan_marker else None
    rows = sorted(plan.rows, key=lambda row: row.key)
    return [(r.key, r.evidence, r.origins, {c: v for c, v in r.values.items() if c != mark}) for r in rows]
