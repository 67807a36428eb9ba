"""Whether Sidecar itself has a network: asked only when a look failed, so that our own outage is nobody else's."""

import asyncio
import contextlib
from collections.abc import Sequence

from sidecar.ports import Clock

FRESH_SECONDS = 5.0  # how long an answer counts: many checks fail in the same moment


class TcpConnectivity:
    """Implements `sidecar.ports.Connectivity`: one target that takes a connection is enough."""

    def __init__(self, targets: Sequence[tuple[str, int]], *, timeout_seconds: float, clock: Clock) -> None:
        """Connect to `targets` (host and port), all at once, and wait `timeout_seconds` at most."""
        self._targets = tuple(targets)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._turn = asyncio.Lock()
        self._answer = True
        self._answered_at: float | None = None

    async def connected(self) -> bool:
        """Say whether a target can be reached; who asks at the same time shares the answer."""
        async with self._turn:
            now = self._clock.monotonic()
            if self._answered_at is None or now - self._answered_at >= FRESH_SECONDS:
                self._answer = await self._ask()
                self._answered_at = self._clock.monotonic()
            return self._answer

    async def _ask(self) -> bool:
        tasks = [asyncio.create_task(self._reach(*target), name="connectivity") for target in self._targets]
        try:
            for answered in asyncio.as_completed(tasks):
                if await answered:
                    return True
            return False
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reach(self, host: str, port: int) -> bool:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                await writer.wait_closed()
        return True
