"""Carry a run from its plan to its outcome, and take up runs that a dead or drained holder left."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sidecar.domain.decide import GuardName, Refuse, judge_amount, judge_plan
from sidecar.domain.event import RunStarted
from sidecar.domain.look import ReadProof
from sidecar.domain.plan import Plan
from sidecar.domain.rule import Mode, Rule
from sidecar.domain.run import Outcome, RowResult, Run, RunStatus, outcome_of
from sidecar.domain.steering import abort_of, pause_of
from sidecar.domain.verification import AT_ONCE
from sidecar.engine.apply import Applier
from sidecar.engine.bounds import Bounds
from sidecar.engine.breaker import Breakers
from sidecar.engine.cycle import Cycle, blind, paused, refused
from sidecar.engine.ending import Ender
from sidecar.engine.lease import TTL_SECONDS, Lease
from sidecar.engine.look import Seen, blindness_of
from sidecar.engine.planning import observes
from sidecar.engine.trust import LOST, trust_digest
from sidecar.engine.verify import Verified, Verifier
from sidecar.engine.work import Halted, Work
from sidecar.errors import LeaseLost, PlanInvalid, SidecarError
from sidecar.ports import Clock, Reporter, State, StoredPlan

AUTOMATIC = "sidecar"  # the actor of ticks: approves, in mode auto, what every guard lets through


class Runner:
    """Runs plans."""

    def __init__(
        self,
        *,
        applier: Applier,
        verifier: Verifier,
        ender: Ender,
        bounds: Bounds,
        breakers: Breakers,
        state: State,
        reporter: Reporter,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        """`new_id` makes ids of runs."""
        self._applier = applier
        self._verifier = verifier
        self._ender = ender
        self._bounds = bounds
        self._breakers = breakers
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._new_id = new_id

    async def run(self, rule: Rule, plan: Plan, proof: ReadProof, seen: Seen | None, lease: Lease, actor: str) -> Cycle:
        """Take the approved plan and run it."""
        now = self._clock.now()
        run = Run(
            id=self._new_id(),
            rule=rule.name,
            plan_id=plan.id,
            status=RunStatus.APPLYING,
            outcome=None,
            actor=actor,
            epoch=lease.epoch,
            started_at=now,
            heartbeat_at=now,
        )
        if not await self._state.start_run(run, plan, lease.name, [row.key for row in plan.rows]):
            taken = Refuse(
                guard=GuardName.PLAN_TAKEN, value=f"plan {plan.id}", limit="applied once", hint="see: sidecar runs"
            )
            return refused(rule, taken, seen)
        self._reporter.emit(
            RunStarted(rule=rule.name, run_id=run.id, plan_id=plan.id, rows=len(plan.rows), resumed=False)
        )
        return await self._carry_on(Work(rule=rule, plan=plan, run=run, lease=lease, proof=proof), seen)

    async def resume(self, rule: Rule, proof: ReadProof, lease: Lease) -> Cycle | None:
        """Take up the oldest run that a dead or drained holder left, or account for its rows and abandon it."""
        await self._state.interrupt_silent(lease.name, lease.epoch, self._clock.now())
        left = [r for r in await self._state.runs(rule.name, unfinished=True) if r.status is RunStatus.INTERRUPTED]
        if not left:
            return None
        wishes = {freeze.scope: freeze for freeze in await self._state.freezes()}
        run = next((one for one in left if abort_of(one.id) in wishes), left[-1])
        if (aborted := wishes.get(abort_of(run.id))) is not None:
            return await self._end(rule, run, lease, Outcome.CANCELLED, f"aborted by {aborted.actor}")
        if (wish := wishes.get(pause_of(run.id))) is not None:
            return paused(rule, run, wish)
        if (stored := await self._plan_of(run)) is None:
            return await self._end(rule, run, lease, Outcome.ABANDONED, "its plan is gone")
        lost = await self._state.trusted(rule.name) == LOST
        stale = _judge_mode(rule, stored, lost=lost) or judge_plan(stored.plan, rule, proof, self._clock.now())
        if (barred := await self._judge_rest(rule, proof, run, is_stale=stale is not None)) is not None:
            return refused(rule, barred, run_id=run.id)
        if not await self._state.adopt_run(run.id, lease.name, lease.epoch, self._clock.now()):
            return None
        work = Work(rule=rule, plan=stored.plan, run=run, lease=lease, proof=proof)
        self._reporter.emit(
            RunStarted(rule=rule.name, run_id=run.id, plan_id=run.plan_id, rows=len(stored.plan.rows), resumed=True)
        )
        return await self._carry_on(work, None) if stale is None else await self._abandon(work, stale)

    async def _judge_rest(self, rule: Rule, proof: ReadProof, run: Run, *, is_stale: bool) -> Refuse | None:
        """Put what is left of a run before the guards again. Nothing more is written of a stale one: no cap bars it."""
        situation = await self._bounds.read(rule, proof, typed=False, trusted=True)
        if is_stale:
            return None
        rows = [r for r in await self._state.rows(run.id) if r.settled.result is RowResult.PLANNED]
        left = sum(not r.in_flight for r in rows)
        barred = situation.stopped or (situation.breaker if rows else None)
        return barred or (judge_amount(rule, left, situation) if left else None)

    async def _plan_of(self, run: Run) -> StoredPlan | None:
        try:
            return await self._state.plan(run.plan_id)
        except PlanInvalid:  # what memory holds is no plan any more, and nothing may be written by it
            return None

    async def _end(self, rule: Rule, run: Run, lease: Lease, outcome: Outcome, why: str) -> Cycle:
        """End a run that nothing more is written of, with a plan or without."""
        try:
            await self._ender.end(run, rule, lease, outcome, why)
        except SidecarError as error:
            return blind(rule, blindness_of(error), run_id=run.id)
        ended = await self._state.run(run.id) or run
        return Cycle(rule=rule.name, outcome=outcome, detail=why, run_id=run.id, results=ended.results)

    async def _abandon(self, work: Work, why: Refuse) -> Cycle:
        """End a run whose plan no longer holds, after saying what happened to every row of it."""
        try:
            await self._applier.account_in_flight(work)
        except SidecarError as error:
            why_blind = blindness_of(error)
            await self._move(work, RunStatus.INTERRUPTED, detail="could not read back its rows")
            return blind(work.rule, why_blind, run_id=work.run.id)
        await self._hold_back(work)
        detail, verify_at = f"{why.guard}: {why.value}", await self._again(work)
        await self._move(work, RunStatus.FINISHED, outcome=Outcome.ABANDONED, detail=detail, verify_at=verify_at)
        return await self._told(work, Outcome.ABANDONED, None, None, f"{why.guard}: {why.value}")

    async def _carry_on(self, work: Work, seen: Seen | None) -> Cycle:
        """Apply what is left, then verify from the source."""
        try:
            halted = await self._applier.apply(work)
        except asyncio.CancelledError:  # out of time to drain: leave word, so that nobody has to wait for a silence
            await asyncio.shield(self._leave_word(work))
            raise
        if halted is not None:
            return await self._halt(work, seen, halted)
        await self._move(work, RunStatus.VERIFYING)
        work = replace(work, run=replace(work.run, status=RunStatus.VERIFYING))
        try:
            verified = await self._verifier.verify(work)
        except SidecarError as error:
            why_blind = blindness_of(error)
            await self._move(work, RunStatus.INTERRUPTED, detail="could not verify")
            return blind(work.rule, why_blind, run_id=work.run.id)
        opened = await self._breakers.verified(work.rule, work.lease, verified)
        await self._hold_back(work)
        results = await self._results(work)
        outcome = outcome_of(results, verified=verified.holds)
        if verified.holds and verified.rows:
            digest = trust_digest(work.rule, work.proof.catalogue)
            await self._state.trust(work.rule.name, digest, work.run.actor, self._clock.now())
        await self._verifier.note(work, AT_ONCE, self._clock.now(), verified)
        await self._move(work, RunStatus.FINISHED, outcome=outcome, verify_at=await self._again(work))
        return await self._told(work, outcome, seen, verified, opened.value if opened else "")

    async def _halt(self, work: Work, seen: Seen | None, halted: Halted) -> Cycle:
        await self._move(work, RunStatus.INTERRUPTED, detail=halted.why)
        outcome = Outcome.CANCELLED if halted.drained else Outcome.UNKNOWN
        cycle = await self._told(work, outcome, seen, None, halted.why)
        cycle = replace(cycle, retry_after_seconds=halted.retry_after_seconds)
        if halted.refusal is None:
            return cycle
        return replace(cycle, outcome=Outcome.REFUSED, refusal=halted.refusal)

    async def _move(
        self,
        work: Work,
        after: RunStatus,
        *,
        outcome: Outcome | None = None,
        detail: str = "",
        verify_at: Sequence[datetime] = (),
    ) -> None:
        """Move the run from where we hold it. Raises: LeaseLost when somebody else has moved it."""
        before = work.run.status if work.run.status is not RunStatus.INTERRUPTED else RunStatus.APPLYING
        now = self._clock.now()
        if not await self._state.move_run(
            work.run.id, before, after, now, outcome=outcome, detail=detail, verify_at=verify_at
        ):
            raise LeaseLost(f"run {work.run.id} is not {before} any more")

    async def _again(self, work: Work) -> list[datetime]:
        """Return when what the run wrote is to be verified again; never, where it wrote nothing."""
        wrote = (await self._results(work)).get(RowResult.INSERTED, 0)
        now = self._clock.now()
        return [now + timedelta(seconds=after) for after in work.rule.verify_again_after_seconds if wrote]

    async def _leave_word(self, work: Work) -> None:
        """Mark the run as interrupted, unless the lease is lost: then it is another's to mark."""
        with contextlib.suppress(SidecarError):  # whatever it is, the cancellation goes on
            await self._state.renew(work.lease.name, work.lease.epoch, TTL_SECONDS, self._clock.now())
            await self._move(work, RunStatus.INTERRUPTED, detail="cancelled")

    async def _hold_back(self, work: Work) -> None:
        """Keep rows that the database refused out of the next plans for a day."""
        refused = {RowResult.CONFLICT, RowResult.FAILED}
        rows = [row for row in await self._state.rows(work.run.id) if row.settled.result in refused]
        if rows:
            now = self._clock.now()
            reasons = {row.key: f"{row.settled.result}:{row.settled.reason}" for row in rows}
            await self._state.hold(work.rule.name, reasons, "run", now, now + timedelta(hours=24))

    async def _results(self, work: Work) -> Mapping[RowResult, int]:
        stored = await self._state.run(work.run.id)
        return stored.results if stored is not None else {}

    async def _told(
        self, work: Work, outcome: Outcome, seen: Seen | None, verified: Verified | None, detail: str
    ) -> Cycle:
        return Cycle(
            rule=work.rule.name,
            outcome=outcome,
            detail=detail,
            seen=seen,
            plan=work.plan,
            run_id=work.run.id,
            results=await self._results(work),
            verified=verified,
        )


def _judge_mode(rule: Rule, stored: StoredPlan, *, lost: bool) -> Refuse | None:
    """Refuse to go on where the mode has changed to one that would not have begun, or `auto` was `lost`."""
    if rule.mode is Mode.OBSERVE:
        return observes()
    cause = "auto was lost" if lost else "the mode is approve"
    if (lost or rule.mode is Mode.APPROVE) and stored.approver == AUTOMATIC:
        return Refuse(
            guard=GuardName.PLAN_NOT_APPROVED,
            value=f"plan {stored.plan.id} was approved by the guards alone, and {cause} by now",
            limit="approved by a person",
            hint="what is left of it will wait in a new plan",
        )
    return None
