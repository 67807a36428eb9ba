"""A leader stopped for three times its lease, and continued after another took over: nothing of it lands any more."""

import asyncio
import os
import random
import signal
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from sidecar.domain.run import Outcome
from tests.trials.worker import LEASE_LOST, MEMORY_LOST, backfill
from tests.trials.world import World, a_replica, a_world

LEASE_SECONDS = 0.5


@pytest.mark.timeout(580)
async def test_a_leader_that_slept_through_its_lease_writes_nothing_more(
    shared_tmp: Path, children: ForkServerContext
) -> None:
    await _trials(shared_tmp, children, zombies=5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_a_hundred_leaders_that_slept_through_their_leases_write_nothing_more(
    shared_tmp: Path, children: ForkServerContext
) -> None:
    await _trials(shared_tmp, children, zombies=100)


async def _trials(folder: Path, children: ForkServerContext, *, zombies: int) -> None:
    seed = random.randrange(2**32)
    print(f"zombies drawn from seed {seed}")
    moments, seen, fenced = random.Random(seed), 0, 0
    async with a_world(folder, orphans=500, users=1_000) as world:
        config = world.config()
        while seen < zombies:
            await world.forget()
            child = children.Process(target=backfill, args=(str(folder), world.environment, LEASE_SECONDS))
            child.start()
            if await _stopped_while_writing(world, child, moments):
                await asyncio.sleep(3 * LEASE_SECONDS)
                async with a_replica(config, lease_seconds=LEASE_SECONDS) as (app, rule):
                    heir = await app.repair.tick(rule)
                    while heir.outcome is not Outcome.NOTHING_TO_DO:
                        heir = await app.repair.tick(rule)
                    before = await _written(world)
                    _signal(child, signal.SIGCONT)
                    await asyncio.to_thread(child.join, 60)
                    assert child.exitcode in (LEASE_LOST, MEMORY_LOST), last_words(folder)
                    fenced += child.exitcode == LEASE_LOST
                    assert await _written(world) == before
                assert len(await world.restored()) == world.orphans + 1
                seen += 1
            child.kill()
            await asyncio.to_thread(child.join, 60)
    ended = f"{fenced} by the fence, {seen - fenced} by the server, which had ended their open transaction"
    print(f"zombies: the first write of {seen} of {zombies} was rejected: {ended}")


async def _stopped_while_writing(world: World, child: BaseProcess, moments: random.Random) -> bool:
    """Stop the child a moment after its first batch; False when it was done by then."""
    while child.exitcode is None:
        exists = await world.sql("select to_regclass('sidecar.batches') is not null")
        if exists[0][0] and (await world.sql("select count(*) from sidecar.batches"))[0][0]:
            break
    await asyncio.sleep(moments.uniform(0, 0.2))
    if child.exitcode is None:
        _signal(child, signal.SIGSTOP)
    writing = await world.sql("select count(*) from sidecar.runs where status = 'applying'")
    return bool(writing[0][0])


def last_words(folder: Path) -> str:
    """Return what a child said that ended of itself, and not as it should."""
    path = folder / "last_words"
    return path.read_text() if path.exists() else "it left no word"


def _signal(child: BaseProcess, number: signal.Signals) -> None:
    assert child.pid is not None
    os.kill(child.pid, number)


async def _written(world: World) -> list[tuple[int, int, int]]:
    """Count everything that a zombie could add: rows, settled rows, batches."""
    return await world.sql(
        """select (select count(*) from public.users), (select count(*) from sidecar.batches),
                  (select count(*) from sidecar.run_rows where result = 'inserted')"""
    )
