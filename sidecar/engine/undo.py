"""Take back what a run inserted, as far as nobody built on it: planned, shown, approved, capped, audited."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeAlias

from sidecar.afterwards import Direct
from sidecar.domain.decide import GuardName, Refuse, Situation, judge_amount, judge_freeze, judge_schema
from sidecar.domain.event import UndoFinished
from sidecar.domain.look import ReadProof, Sighting, Unproven
from sidecar.domain.plan import Plan, PlanStatus
from sidecar.domain.rule import Mode, Rule
from sidecar.domain.run import RowResult, Run, RunStatus
from sidecar.domain.undo import PREFIX, Removal, StoredUndo, UndoPlan, UndoRow
from sidecar.engine.bounds import Bounds
from sidecar.engine.lease import Lease, Leases
from sidecar.engine.look import Looker, blindness_of
from sidecar.engine.planning import observes
from sidecar.errors import PlanInvalid, SidecarError
from sidecar.ports import Clock, FreezeSwitch, Reporter, State

BATCH_ROWS = 100  # of one transaction: a few milliseconds, and at most so many rows after a freeze

Work: TypeAlias = "Callable[[Direct, ReadProof, Lease], Awaitable[Undone]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """What an undo came to. `rows` lists every row that the run inserted; `applied` says that rows were removed."""

    run_id: str
    plan: UndoPlan | None = None
    status: PlanStatus | None = None
    refusal: Refuse | None = None
    blind: Unproven | None = None
    applied: bool = False
    rows: Sequence[UndoRow] = field(default_factory=tuple)

    @property
    def counts(self) -> dict[str, int]:
        """Rows by how they stand now."""
        return dict(sorted(Counter(str(row.standing) for row in self.rows).items()))


class Undo:
    """Makes undo plans and carries them out, under the table's lease and after a proven look."""

    def __init__(
        self,
        *,
        looker: Looker,
        bounds: Bounds,
        switch: FreezeSwitch,
        leases: Leases,
        direct: Direct | None,
        state: State,
        reporter: Reporter,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        """Without `direct` every undo is refused: over REST nobody sees what a DELETE would take along."""
        self._looker = looker
        self._bounds = bounds
        self._switch = switch
        self._leases = leases
        self._direct = direct
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._new_id = new_id

    async def plan(self, rule: Rule, run: Run, actor: str, *, approved: bool = False, kept: bool = True) -> Undone:
        """Say which rows of a run could go; `kept` stores the plan, which waits for a person unless `approved`."""

        async def work(direct: Direct, proof: ReadProof, _lease: Lease) -> Undone:
            made = await self._draw(rule, run, actor, direct, proof)
            if isinstance(made, Refuse):
                return Undone(run_id=run.id, refusal=made)
            barred = await self._judge(rule, made, proof)
            if barred is not None or not kept or not made.removable:
                return Undone(run_id=run.id, plan=made, refusal=barred, rows=made.rows)
            status = PlanStatus.APPROVED if approved else PlanStatus.WAITING
            await self._state.save_undo(made, status, actor)
            return Undone(run_id=run.id, plan=made, status=status, rows=made.rows)

        return self._told(rule, await self._in_sight(rule, run.id, work))

    async def apply(self, rule: Rule, stored: StoredUndo, actor: str) -> Undone:
        """Remove what an approved plan lists, as far as it still may go. Once more is nothing more."""

        async def work(direct: Direct, proof: ReadProof, lease: Lease) -> Undone:
            plan = stored.plan
            if stored.status is PlanStatus.APPLIED:
                return Undone(run_id=plan.run_id, plan=plan, status=stored.status, rows=plan.rows)
            if (barred := self._judge_stored(stored, rule, proof) or await self._judge(rule, plan, proof)) is not None:
                return Undone(run_id=plan.run_id, plan=plan, refusal=barred, rows=plan.rows)
            barred = await self._remove(rule, plan, direct, lease)
            if barred is None:
                now = self._clock.now()
                await self._state.move_undo(plan.id, PlanStatus.APPROVED, PlanStatus.APPLIED, actor, now)
            after = await self._state.undo(plan.id) or stored
            return Undone(
                run_id=plan.run_id,
                plan=plan,
                status=after.status,
                refusal=barred,
                applied=True,
                rows=after.plan.rows,
            )

        return self._told(rule, await self._in_sight(rule, stored.plan.run_id, work))

    async def _remove(self, rule: Rule, plan: UndoPlan, direct: Direct, lease: Lease) -> Refuse | None:
        """Remove the rows batch by batch; return who stopped it, if somebody did."""
        left = plan.removable
        for start in range(0, len(left), BATCH_ROWS):
            if (stopped := await self._switch.thrown()) is not None:
                return stopped
            written = {row.key: row.written for row in left[start : start + BATCH_ROWS]}
            async with self._state.undo_batch(plan.id, lease.name, lease.epoch, self._clock.now()) as batch:
                if batch.frozen is not None:
                    return judge_freeze(batch.frozen)
                await batch.settle(await direct.remove(rule, written, batch.transaction))
        return None

    async def _draw(self, rule: Rule, run: Run, actor: str, direct: Direct, proof: ReadProof) -> UndoPlan | Refuse:
        """Write down how each row that the run inserted stands now."""
        stored = await self._plan_of(run)
        if (stale := _judge_run(rule, run, stored, proof)) is not None:
            return stale
        inserted = [row for row in await self._state.rows(run.id) if row.settled.result is RowResult.INSERTED]
        written = {row.key: row.settled.written for row in inserted}
        standing: Mapping[str, Removal] = await direct.standing(rule, written) if written else {}
        now = self._clock.now()
        return UndoPlan(
            id=PREFIX + self._new_id(),
            run_id=run.id,
            rule=rule.name,
            rule_digest=rule.digest,
            schema_fingerprint=proof.catalogue.fingerprint,
            database=proof.database,
            author=actor,
            created_at=now,
            expires_at=now + timedelta(seconds=rule.repair.plan_expires_seconds),
            subjects=proof.counts.subjects,
            rows=tuple(UndoRow(key=key, written=digest, standing=standing[key]) for key, digest in written.items()),
        )

    async def _plan_of(self, run: Run) -> Plan | None:
        try:
            stored = await self._state.plan(run.plan_id)
        except PlanInvalid:
            return None
        return None if stored is None else stored.plan

    async def _judge(self, rule: Rule, plan: UndoPlan, proof: ReadProof) -> Refuse | None:
        """Put what is left to remove before the guards: mode, freeze, schema, and the rule's caps on amounts.

        The breaker does not bar it: an undo is how a person answers what opened it.
        """
        if rule.mode is Mode.OBSERVE:
            return observes()
        situation = await self._situation(rule, proof)
        by_hand = replace(rule, mode=Mode.APPROVE)
        schema = judge_schema(by_hand, situation)
        return situation.stopped or schema or judge_amount(rule, len(plan.removable), situation)

    async def _situation(self, rule: Rule, proof: ReadProof) -> Situation:
        situation = await self._bounds.read(rule, proof, typed=True, trusted=True)
        table, day = str(rule.detect.expects.table), timedelta(hours=24)
        return replace(situation, rows_today=await self._state.undone_since(table, self._clock.now() - day))

    def _judge_stored(self, stored: StoredUndo, rule: Rule, proof: ReadProof) -> Refuse | None:
        """Refuse a plan that was not approved, or is no longer about this rule, schema, database or time."""
        plan = stored.plan
        again = f"make a new one: sidecar undo {plan.run_id}"
        if stored.status is not PlanStatus.APPROVED:
            hint = f"approve it: sidecar approve {plan.id}"
            value = f"undo plan {plan.id} is {stored.status}"
            return Refuse(guard=GuardName.PLAN_NOT_APPROVED, value=value, limit="approved", hint=hint)
        if self._clock.now() >= plan.expires_at:
            limit = f"until {plan.expires_at.isoformat(timespec='seconds')}"
            return Refuse(guard=GuardName.PLAN_EXPIRED, value=f"undo plan {plan.id}", limit=limit, hint=again)
        bound = (
            ("rule", plan.rule_digest, rule.digest),
            ("schema", plan.schema_fingerprint, proof.catalogue.fingerprint),
            ("database", plan.database, proof.database),
            ("list of rows", stored.whole, True),
        )
        for name, then, today in bound:
            if then != today:
                value = f"the {name} changed since undo plan {plan.id} was made"
                return Refuse(guard=GuardName.PLAN_STALE, value=value, limit=f"the same {name}", hint=again)
        return None

    async def _in_sight(self, rule: Rule, run_id: str, work: Work) -> Undone:
        """Do the work with the lease and a proven look, or say what is missing."""
        if self._direct is None:
            return Undone(run_id=run_id, refusal=needs_database())
        async with self._held(rule) as lease:
            if lease is None:
                return Undone(run_id=run_id, refusal=_busy(f"another process works on {rule.detect.expects.table}"))
            sighting = await self._looker.sight(rule, looks=1)
            if isinstance(sighting, Refuse):
                return Undone(run_id=run_id, refusal=sighting)
            if not isinstance(sighting, Sighting):
                return Undone(run_id=run_id, blind=sighting)
            try:
                return await work(self._direct, sighting.proof, lease)
            except SidecarError as error:
                why = blindness_of(error)
                if isinstance(why, Refuse):
                    return Undone(run_id=run_id, refusal=why)
                return Undone(run_id=run_id, blind=why)

    @contextlib.asynccontextmanager
    async def _held(self, rule: Rule) -> AsyncIterator[Lease | None]:
        table, wait_seconds = str(rule.detect.expects.table), self._leases.ttl_seconds + 2
        with self._reporter.span(f"undo {rule.name}", **{"sidecar.rule.name": rule.name}):
            async with self._leases.hold(table, wait_seconds=wait_seconds) as lease:
                yield lease

    def _told(self, rule: Rule, undone: Undone) -> Undone:
        self._reporter.emit(
            UndoFinished(
                rule=rule.name,
                run_id=undone.run_id,
                undo_id=undone.plan.id if undone.plan is not None else "",
                applied=undone.applied,
                rows=undone.counts,
                refusal=undone.refusal,
            )
        )
        return undone


def needs_database() -> Refuse:
    """Refuse to undo over REST."""
    return Refuse(
        guard=GuardName.UNDO_NEEDS_DATABASE,
        value="rows that refer to a profile, and cascades, cannot be seen over REST",
        limit="database.url",
        hint="set database.url (sidecar schema --fixture prints its roles), or take the rows back by hand",
    )


def _busy(value: str) -> Refuse:
    return Refuse(guard=GuardName.RULE_BUSY, value=value, limit="one", hint="wait for it; see: sidecar runs")


def _judge_run(rule: Rule, run: Run, plan: Plan | None, proof: ReadProof) -> Refuse | None:
    """Refuse a run that is not over, or that wrote somewhere else than where this rule looks now."""
    if run.status is not RunStatus.FINISHED:
        return _busy(f"run {run.id} is {run.status}; let it finish, or end it: sidecar abort {run.id}")
    here = (str(rule.detect.expects.table), proof.database)
    there = (run.lease, plan.database if plan is not None else "")
    if here != there:
        value = f"run {run.id} wrote to another table or database than this rule looks at"
        return Refuse(guard=GuardName.PLAN_STALE, value=value, limit="the same", hint="take its rows back by hand")
    return None
