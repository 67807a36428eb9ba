"""One cycle of a rule, start to outcome: look, decide, plan, apply, verify. Reads like that sentence."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from sidecar.domain.decide import GuardName, Nothing, Refuse, decide
from sidecar.domain.event import CycleFinished, PlanMade
from sidecar.domain.look import Sighting, Unproven
from sidecar.domain.plan import PlanStatus
from sidecar.domain.rule import Mode, Rule
from sidecar.domain.run import Outcome
from sidecar.engine.cycle import Cycle, blind, busy, observed, refused
from sidecar.engine.lease import Lease, Leases
from sidecar.engine.look import Looker, Seen
from sidecar.engine.planning import Planner, observes
from sidecar.engine.running import Runner
from sidecar.ports import Clock, Reporter, State, StoredPlan


class Repair:
    """Runs the cycles of rules. One lease per target table; a cycle that cannot have it is refused."""

    def __init__(
        self,
        *,
        looker: Looker,
        planner: Planner,
        runner: Runner,
        leases: Leases,
        state: State,
        reporter: Reporter,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        """`new_id` makes ids of plans."""
        self._looker = looker
        self._planner = planner
        self._runner = runner
        self._leases = leases
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._new_id = new_id

    async def tick(self, rule: Rule) -> Cycle:
        """Do what the rule's mode allows on a schedule: watch, plan for a person, or repair."""
        return await self._in_lease(rule, lambda lease: self._cycle(rule, lease, actor="sidecar", typed=False, looks=1))

    async def once(self, rule: Rule, actor: str) -> Cycle:
        """Do what the rule's mode allows now; the confirming looks follow at once."""
        looks = rule.detect.confirmations
        return await self._in_lease(rule, lambda lease: self._cycle(rule, lease, actor=actor, typed=False, looks=looks))

    async def backfill(self, rule: Rule, actor: str) -> Cycle:
        """Repair now: a person typed it, and that is the approval."""
        looks = rule.detect.confirmations
        return await self._in_lease(rule, lambda lease: self._cycle(rule, lease, actor=actor, typed=True, looks=looks))

    async def detect(self, rule: Rule) -> Cycle:
        """Look and judge; plan nothing, write nothing."""

        async def work(_lease: Lease) -> Cycle:
            seen = await self._look(rule, looks=1, plan_id="none", typed=False)
            return blind(rule, seen) if not isinstance(seen, Seen) else observed(rule, seen)

        return await self._in_lease(rule, work)

    async def plan(self, rule: Rule, actor: str) -> Cycle:
        """Make a plan that waits for a person, whatever the mode."""

        async def work(_lease: Lease) -> Cycle:
            if rule.mode is Mode.OBSERVE:
                return refused(rule, observes())
            by_hand = replace(rule, mode=Mode.APPROVE) if rule.mode is Mode.AUTO else rule
            plan_id = self._new_id()
            seen = await self._look(by_hand, looks=rule.detect.confirmations, plan_id=plan_id, typed=False)
            if not isinstance(seen, Seen):
                return blind(rule, seen)
            return await self._decide(by_hand, seen, plan_id, actor=actor, typed=False, lease=None)

        return await self._in_lease(rule, work)

    async def rehearse(self, rule: Rule) -> Cycle:
        """Decide exactly as `backfill` would, and stop before anything is stored or written."""

        async def work(_lease: Lease) -> Cycle:
            plan_id = self._new_id()
            seen = await self._look(rule, looks=rule.detect.confirmations, plan_id=plan_id, typed=True)
            if not isinstance(seen, Seen):
                return blind(rule, seen)
            decision = decide(rule, seen.findings, await self._planner.situation(rule, seen, typed=True))
            if isinstance(decision, Refuse):
                return refused(rule, decision, seen)
            if isinstance(decision, Nothing):
                return Cycle(rule=rule.name, outcome=Outcome.NOTHING_TO_DO, seen=seen)
            plan = self._planner.render(rule, seen, decision.rows, plan_id, "rehearsal")
            return Cycle(rule=rule.name, outcome=Outcome.OBSERVED, seen=seen, plan=plan)

        return await self._in_lease(rule, work)

    async def apply(self, rule: Rule, stored: StoredPlan, actor: str) -> Cycle:
        """Apply an approved plan under every guard of this very cycle."""

        async def work(lease: Lease) -> Cycle:
            sighting = await self._looker.sight(rule, looks=1)
            if not isinstance(sighting, Sighting):
                return blind(rule, sighting)
            if (resumed := await self._runner.resume(rule, sighting.proof, lease)) is not None:
                return resumed
            refusal = await self._planner.judge_stored(rule, stored, sighting.proof)
            if refusal is not None:
                return refused(rule, refusal)
            return await self._runner.run(rule, stored.plan, sighting.proof, None, lease, actor)

        return await self._in_lease(rule, work)

    async def _in_lease(self, rule: Rule, work: Callable[[Lease], Awaitable[Cycle]]) -> Cycle:
        """Do the work under the target table's lease, and tell how it ended."""
        started = self._clock.monotonic()
        table = str(rule.detect.expects.table)
        with self._reporter.span(f"run {rule.name}", **{"sidecar.rule.name": rule.name}):
            async with self._hold(table) as lease:
                cycle = await work(lease) if lease is not None else busy(rule, table)
            drift = float(cycle.verified.drift) if cycle.verified is not None else None
            self._reporter.emit(
                CycleFinished(
                    rule=rule.name,
                    run_id=cycle.run_id,
                    outcome=cycle.outcome,
                    results=cycle.results,
                    refusal=cycle.refusal,
                    detail=cycle.detail,
                    drift=drift,
                    duration_seconds=self._clock.monotonic() - started,
                )
            )
        return cycle

    def _hold(self, table: str) -> AbstractAsyncContextManager[Lease | None]:
        outlast_the_dead = self._leases.ttl_seconds + 2
        return self._leases.hold(table, wait_seconds=outlast_the_dead)

    async def _cycle(self, rule: Rule, lease: Lease, *, actor: str, typed: bool, looks: int) -> Cycle:
        """Look; take up what a dead holder left; else decide and act."""
        sighting = await self._looker.sight(rule, looks=looks)
        if not isinstance(sighting, Sighting):
            return blind(rule, sighting)
        if (resumed := await self._runner.resume(rule, sighting.proof, lease)) is not None:
            return resumed
        plan_id = self._new_id()
        seen = await self._looker.examine(rule, sighting, plan_id=plan_id, looks=looks, typed=typed)
        if not isinstance(seen, Seen):
            return blind(rule, seen)
        return await self._decide(rule, seen, plan_id, actor=actor, typed=typed, lease=lease)

    async def _look(self, rule: Rule, *, looks: int, plan_id: str, typed: bool) -> Seen | Unproven | Refuse:
        sighting = await self._looker.sight(rule, looks=looks)
        if not isinstance(sighting, Sighting):
            return sighting
        return await self._looker.examine(rule, sighting, plan_id=plan_id, looks=looks, typed=typed)

    async def _decide(
        self, rule: Rule, seen: Seen, plan_id: str, *, actor: str, typed: bool, lease: Lease | None
    ) -> Cycle:
        """Decide, and act on it. Without a lease a plan is only made, never run."""
        await self._planner.meet(rule, seen)
        decision = decide(rule, seen.findings, await self._planner.situation(rule, seen, typed=typed))
        match decision:
            case Nothing():
                await self._planner.withdraw(rule)
                return Cycle(rule=rule.name, outcome=Outcome.NOTHING_TO_DO, seen=seen)
            case Refuse():
                observing = decision.guard is GuardName.MODE and not typed  # a person who asked is told no
                return observed(rule, seen) if observing else refused(rule, decision, seen)
            case _:
                plan = self._planner.render(rule, seen, decision.rows, plan_id, actor)
                if lease is None or not decision.automatic:
                    return await self._planner.wait_for_person(rule, plan, seen, actor)
                await self._state.save_plan(plan, PlanStatus.APPROVED, actor)
                self._reporter.emit(PlanMade(rule=rule.name, plan_id=plan.id, rows=len(plan.rows), waiting=False))
                return await self._runner.run(rule, plan, seen.proof, seen, lease, actor)
