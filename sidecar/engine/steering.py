"""Pause, resume and abort one run, whoever works on it: wishes in memory, read where its batches are announced."""

from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome, Run, RunStatus
from sidecar.domain.steering import abort_of, pause_of
from sidecar.engine.ending import Ender
from sidecar.engine.lease import Lease, Leases
from sidecar.ports import Clock, State


class Steering:
    """Steers runs of any process."""

    def __init__(self, *, leases: Leases, ender: Ender, state: State, clock: Clock) -> None:
        """`leases` are this process's."""
        self._leases = leases
        self._ender = ender
        self._state = state
        self._clock = clock

    async def pause(self, run: Run, actor: str, reason: str) -> bool:
        """Let no further batch of the run begin; False when it is paused already."""
        return await self._wish(pause_of(run.id), actor, reason)

    async def resume(self, run: Run, actor: str) -> bool:
        """Let the run go on at the next look of its rule; False when it was not paused."""
        return await self._state.unfreeze(pause_of(run.id), actor, self._clock.now())

    async def abort(self, run: Run, rule: Rule | None, actor: str, reason: str, *, unread: bool) -> Run:
        """Let no further batch begin, and end the run now if its lease can be had; else its next holder ends it.

        Returns the run as it is afterwards. Raises: what `Ender.end` raises; the wish stands then.
        """
        await self._wish(abort_of(run.id), actor, reason)
        outlast_the_dead = self._leases.ttl_seconds + 2
        async with self._leases.hold(run.lease, wait_seconds=outlast_the_dead) as lease:
            if lease is not None:
                await self._end(run, rule, lease, actor, reason, unread=unread)
        return await self._state.run(run.id) or run

    async def _wish(self, scope: str, actor: str, reason: str) -> bool:
        if any(freeze.scope == scope for freeze in await self._state.freezes()):
            return False
        await self._state.freeze(scope, actor, reason, self._clock.now())
        return True

    async def _end(self, run: Run, rule: Rule | None, lease: Lease, actor: str, reason: str, *, unread: bool) -> None:
        await self._state.interrupt_silent(lease.name, lease.epoch, self._clock.now())
        now = await self._state.run(run.id)
        if now is None or now.status is RunStatus.FINISHED:  # it ended while we waited: the wish has nothing to hold
            await self._state.unfreeze(abort_of(run.id), actor, self._clock.now())
            return
        why = f"aborted by {actor}" + (f": {reason}" if reason else "")
        await self._ender.end(now, rule, lease, Outcome.CANCELLED, why, unread=unread)
