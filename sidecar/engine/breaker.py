"""Keep the breaker of a target table: ask it before a run, tell it of every batch and verification."""

from datetime import datetime

from sidecar.domain.breaker import (
    ACTOR,
    Breaker,
    BreakerStatus,
    Tried,
    admit,
    after_batch,
    after_verification,
    judge_breaker,
)
from sidecar.domain.decide import Refuse
from sidecar.domain.event import BreakerMoved, BreakerRead
from sidecar.domain.rule import Rule
from sidecar.engine.lease import Lease
from sidecar.engine.trust import LOST
from sidecar.engine.verify import Verified
from sidecar.ports import Clock, Reporter, State


class Breakers:
    """Reads and moves breakers. Whoever moves one holds the lease of its table."""

    def __init__(self, *, state: State, reporter: Reporter, clock: Clock) -> None:
        """Breakers are kept in `state`, so that a restart closes none."""
        self._state = state
        self._reporter = reporter
        self._clock = clock

    async def judge(self, rule: Rule) -> tuple[Refuse | None, bool]:
        """Say whether a run that began now would be refused, and whether the breaker is closed."""
        before = await self._state.breaker(str(rule.detect.expects.table))
        met = admit(before, self._clock.now(), frozen=await self._is_frozen(before))
        is_closed = met.status is BreakerStatus.CLOSED
        self._reporter.emit(BreakerRead(rule=rule.name, open=not is_closed))
        return judge_breaker(met), is_closed

    async def is_closed(self, lease: Lease) -> bool:
        """Say whether nothing at all stands against the lease's table."""
        return (await self._state.breaker(lease.name)).status is BreakerStatus.CLOSED

    async def admit(self, rule: Rule, lease: Lease) -> Refuse | None:
        """Let a run begin to write, or refuse it; a breaker that has cooled down becomes half-open."""
        before = await self._state.breaker(lease.name)
        met = admit(before, self._clock.now(), frozen=await self._is_frozen(before))
        await self._keep(rule, lease, before, met)
        return judge_breaker(met)

    async def tried(self, rule: Rule, lease: Lease, batch: Tried) -> Refuse | None:
        """Count a batch; return the refusal of the next one when the breaker is open now."""
        before = await self._state.breaker(lease.name)
        after = after_batch(before, batch, rule.name, self._clock.now())
        await self._keep(rule, lease, before, after)
        return judge_breaker(after)

    async def verified(self, rule: Rule, lease: Lease, verified: Verified) -> Refuse | None:
        """Take note of a verification; a failed one opens the breaker and takes the rule's `auto` away."""
        now = self._clock.now()
        if not verified.holds:
            await self._distrust(rule, now)
        before = await self._state.breaker(lease.name)
        after = after_verification(
            before,
            rows=verified.rows,
            holds=verified.holds,
            drifted=verified.drift != 0,
            rule=rule.name,
            now=now,
        )
        await self._keep(rule, lease, before, after)
        return judge_breaker(after)

    async def _is_frozen(self, breaker: Breaker) -> bool:
        """Ask whether the freeze that the breaker set still stands; only a breaker that needs a person waits for it."""
        return breaker.needs_person and await self._state.frozen(breaker.rule) is not None

    async def _keep(self, rule: Rule, lease: Lease, before: Breaker, after: Breaker) -> None:
        if after == before:
            return
        now = self._clock.now()
        moved = after.status is not before.status
        if moved and after.status is BreakerStatus.OPEN:
            await self._distrust(rule, now)  # before the breaker: a crash in between must not leave `auto` behind
        await self._state.save_breaker(lease.name, lease.epoch, after, now)
        if moved:
            self._reporter.emit(
                BreakerMoved(rule=rule.name, before=before.status, after=after.status, reason=after.reason)
            )

    async def _distrust(self, rule: Rule, now: datetime) -> None:
        await self._state.trust(rule.name, LOST, ACTOR, now)
