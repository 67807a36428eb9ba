"""A second process for the tests: `python -m tests.state.worker VERB URL [COUNT]`. Not a test itself."""

import asyncio
import sys

from sidecar.domain.run import RowResult, Settled
from sidecar.state.open import open_state
from tests.state.cast import KEYS, TABLE, later, started, take


async def take_many(url: str, count: int) -> None:
    """Take the same lease again and again: each time reads the epoch and writes the next one."""
    async with open_state(url) as state:
        for _ in range(count):
            await take(state)


async def announce_and_hang(url: str) -> None:
    """Settle one batch, announce the next, say so, and wait to be killed."""
    async with open_state(url) as state:
        epoch = await take(state)
        await started(state, epoch)
        await state.intend("run-1", TABLE, epoch, KEYS[:2], later(1))
        settled = Settled(result=RowResult.INSERTED)
        await state.settle("run-1", TABLE, epoch, dict.fromkeys(KEYS[:2], settled), later(2))
        await state.intend("run-1", TABLE, epoch, KEYS[2:4], later(3))
        sys.stdout.write("announced\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "take":
        asyncio.run(take_many(sys.argv[2], int(sys.argv[3])))
    else:
        asyncio.run(announce_and_hang(sys.argv[2]))
