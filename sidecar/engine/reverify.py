"""Verify runs again when their time has come: damage that comes back, or money that was raced, shows only later."""

from sidecar.domain.event import VerificationMade
from sidecar.domain.look import ReadProof, Sighting
from sidecar.domain.rule import Rule
from sidecar.domain.verification import Verification, VerifyResult
from sidecar.engine.breaker import Breakers
from sidecar.engine.lease import Lease, Leases
from sidecar.engine.look import Looker, blindness_of
from sidecar.engine.verify import Verifier
from sidecar.engine.work import Work
from sidecar.errors import PlanInvalid, SidecarError
from sidecar.ports import Clock, Reporter, State


class Reverifier:
    """Makes the verifications that memory holds due, under the table's lease and after a proven look."""

    def __init__(
        self,
        *,
        looker: Looker,
        verifier: Verifier,
        breakers: Breakers,
        leases: Leases,
        state: State,
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        """What is due lives in `state`, so that a restart forgets none."""
        self._looker = looker
        self._verifier = verifier
        self._breakers = breakers
        self._leases = leases
        self._state = state
        self._reporter = reporter
        self._clock = clock

    async def due(self, rule: Rule) -> list[Verification]:
        """Make what is due of a rule's runs; return what was made. What cannot be made now stays due.

        Raises: LeaseLost, StateUnavailable.
        """
        waiting = await self._state.verifications_due(rule.name, self._clock.now())
        if not waiting:
            return []
        with self._reporter.span(f"verify {rule.name}", **{"sidecar.rule.name": rule.name}):
            table, wait_seconds = str(rule.detect.expects.table), self._leases.ttl_seconds + 2
            async with self._leases.hold(table, wait_seconds=wait_seconds) as lease:
                if lease is None:
                    return []
                sighting = await self._looker.sight(rule, looks=1)
                if not isinstance(sighting, Sighting):
                    return []
                made = [await self._verify(rule, due, sighting.proof, lease) for due in waiting]
        return [verification for verification in made if verification is not None]

    async def _verify(self, rule: Rule, due: Verification, proof: ReadProof, lease: Lease) -> Verification | None:
        """Make one; None when the source could not be read."""
        work = await self._work(rule, due, proof, lease)
        if work is None:
            skipped = Verification(
                run_id=due.run_id,
                number=due.number,
                due_at=due.due_at,
                done_at=self._clock.now(),
                result=VerifyResult.SKIPPED,
            )
            await self._state.note_verification(skipped, "sidecar")
            return skipped
        try:
            verified = await self._verifier.verify(work)
        except SidecarError as error:
            blindness_of(error)  # raises what is not about the data
            return None
        await self._verifier.note(work, due.number, due.due_at, verified)
        self._reporter.emit(
            VerificationMade(
                rule=rule.name,
                run_id=due.run_id,
                number=due.number,
                holds=verified.holds,
                rows=verified.rows,
                corrected=verified.corrected,
                drift=float(verified.drift),
            )
        )
        if not verified.holds:
            await self._breakers.verified(rule, lease, verified)
        found = await self._state.verifications(due.run_id)
        return next((made for made in found if made.number == due.number), None)

    async def _work(self, rule: Rule, due: Verification, proof: ReadProof, lease: Lease) -> Work | None:
        """Return the run as it was carried out; None where its rule is another by now, or its database is."""
        run = await self._state.run(due.run_id)
        try:
            stored = None if run is None else await self._state.plan(run.plan_id)
        except PlanInvalid:  # what memory holds is no plan any more: nobody can say what was due
            return None
        if run is None or stored is None:
            return None
        if (stored.plan.rule_digest, stored.plan.database) != (rule.digest, proof.database):
            return None
        return Work(rule=rule, plan=stored.plan, run=run, lease=lease, proof=proof)
