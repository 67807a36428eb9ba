"""One look's way through several requests: one deadline over all, phases summed up, every end a `Stopped`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx

from sidecar.checks.stopped import Stopped
from sidecar.errors import TargetUnreachable, Unreached
from sidecar.ports import Clock
from sidecar.wire import Answer, exchange

AHEAD_SECONDS = 0.05  # a request gives up this much before the look does, so that the reason is always the request's
ANSWER_BYTES_AT_MOST = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """`deadline` is on the clock's monotonic scale. `phases` grows with every answer, on this way and those from it."""

    clock: Clock
    deadline: float
    phases: dict[str, float] = field(default_factory=dict)

    def until(self, deadline: float) -> "Way":
        """Return the same way with another deadline."""
        return replace(self, deadline=deadline)

    @property
    def remaining_seconds(self) -> float:
        """How much time is left; at least a moment, so that a deadline that passed is met by its timeout."""
        return max(0.001, self.deadline - self.clock.monotonic())

    async def ask(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        body_bytes_at_most: int = ANSWER_BYTES_AT_MOST,
    ) -> Answer:
        """Send one request. Raises: TargetUnreachable."""
        answer = await exchange(
            client,
            method,
            url,
            timeout_seconds=max(0.001, self.remaining_seconds - AHEAD_SECONDS),
            params=params,
            headers=headers,
            content=content,
            body_bytes_at_most=body_bytes_at_most,
        )
        for phase, seconds in answer.phases.items():
            self.phases[phase] = self.phases.get(phase, 0.0) + seconds
        return answer

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Hold whatever is awaited inside to the deadline. Raises: Stopped."""
        try:
            async with asyncio.timeout(self.remaining_seconds):
                yield
        except TimeoutError as error:
            raise Stopped(Unreached.TIMED_OUT, "the time of the look is over") from error
        except TargetUnreachable as error:
            raise Stopped(error.cause, str(error)) from error
