"""Hold a lease for the time of a block: renewed while it lasts, and the block is cancelled when it is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sidecar.domain.event import LeaseMoved
from sidecar.errors import LeaseLost, StateUnavailable
from sidecar.ports import Clock, Reporter, State

TTL_SECONDS = 10.0  # how long a dead holder blocks its successor
RENEWALS_PER_TTL = 5  # four may fail before the lease runs out


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease that is held. `epoch` fences every write made under it."""

    name: str
    epoch: int


class Leases:
    """Leases of one process. One process never holds the same lease twice: a second taker waits for the first."""

    def __init__(
        self, *, state: State, reporter: Reporter, clock: Clock, holder: str, ttl_seconds: float = TTL_SECONDS
    ) -> None:
        """Act as `holder`, a name that no other process has."""
        self._reporter = reporter
        self.ttl_seconds = ttl_seconds
        self._state = state
        self._clock = clock
        self._holder = holder
        self._locks: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def hold(self, name: str, *, wait_seconds: float = 0.0) -> AsyncIterator[Lease | None]:
        """Yield the lease, or None when another process still holds it after `wait_seconds`.

        Raises: LeaseLost out of the block when somebody else took over meanwhile.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            epoch = await self._acquire(name, wait_seconds)
            if epoch is None:
                yield None
                return
            self._reporter.emit(LeaseMoved(lease=name, epoch=epoch, held=True))
            lost = False
            try:
                async with asyncio.TaskGroup() as group:
                    renewing = group.create_task(self._renew(name, epoch), name=f"renew {name}")
                    yield Lease(name=name, epoch=epoch)
                    renewing.cancel()
            except BaseExceptionGroup as group:
                # The group is only how the renewing is done: what ended the block comes out as itself.
                ended = (group.subgroup(LeaseLost) or group).exceptions[0]
                lost = isinstance(ended, LeaseLost)
                raise ended from ended.__cause__
            finally:
                self._reporter.emit(LeaseMoved(lease=name, epoch=epoch, held=False, lost=lost))
                await asyncio.shield(self._state.release(name, epoch))

    async def _acquire(self, name: str, wait_seconds: float) -> int | None:
        until = self._clock.monotonic() + wait_seconds
        while True:
            epoch = await self._state.acquire(name, self._holder, self.ttl_seconds, self._clock.now())
            if epoch is not None or self._clock.monotonic() >= until:
                return epoch
            await self._clock.sleep(0.25)

    async def _renew(self, name: str, epoch: int) -> None:
        ends = self._clock.monotonic() + self.ttl_seconds
        while True:
            await self._clock.sleep(self.ttl_seconds / RENEWALS_PER_TTL)
            asked = self._clock.monotonic()
            try:
                await self._state.renew(name, epoch, self.ttl_seconds, self._clock.now())
                ends = asked + self.ttl_seconds
            except StateUnavailable as error:
                if self._clock.monotonic() >= ends:
                    raise LeaseLost(f"the lease on {name} could not be renewed in time") from error
