"""The real clock."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `sidecar.ports.Clock` with the machine's own time."""

    def now(self) -> datetime:
        """Return the wall clock as aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
