"""The direct path killed at random moments: no row twice, none missed, at most one batch redone."""

import asyncio
import random
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
import pytest

from sidecar.domain.run import Outcome
from tests.trials.worker import backfill
from tests.trials.world import World, a_replica, a_world

LEASE_SECONDS = 1.0
DEATH = ("kill", "terminate")


@dataclass(slots=True)
class Tally:
    """What the trials came to."""

    kills: int = 0
    terminations: int = 0
    trials: int = 0


@pytest.mark.timeout(580)
async def test_a_direct_backfill_killed_at_random_moments_ends_as_an_unbroken_one(
    shared_tmp: Path, children: ForkServerContext
) -> None:
    await _trials(shared_tmp, children, deaths=25, orphans=200)


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_a_direct_backfill_killed_five_hundred_times_ends_as_an_unbroken_one(
    shared_tmp: Path, children: ForkServerContext
) -> None:
    await _trials(shared_tmp, children, deaths=500, orphans=1_000)


async def _trials(folder: Path, children: ForkServerContext, *, deaths: int, orphans: int) -> None:
    seed = random.randrange(2**32)
    print(f"deaths drawn from seed {seed}")
    moments, tally = random.Random(seed), Tally()
    async with a_world(folder, orphans=orphans, users=2 * orphans) as world:
        config = world.config()
        await world.forget()
        started = time.monotonic()
        async with a_replica(config, lease_seconds=LEASE_SECONDS) as (app, rule):
            assert (await app.repair.tick(rule)).outcome is Outcome.REPAIRED
        unbroken_seconds = time.monotonic() - started
        unbroken = await world.restored()
        assert len(unbroken) == world.orphans + 1
        while tally.kills + tally.terminations < deaths:
            await world.forget()
            await _trial(world, children, moments, tally, unbroken_seconds)
            assert await world.restored() == unbroken
            await _account(world, rows=len(unbroken))
            print(f"{tally.kills} kills, {tally.terminations} terminations in {tally.trials} trials so far", flush=True)
    told = (
        f"{tally.kills} kills and {tally.terminations} backends terminated in {tally.trials} trials of {len(unbroken)}"
    )
    print(f"{told} rows: 0 twice, 0 missed; an unbroken run takes {unbroken_seconds:.1f} s")


async def _trial(
    world: World, children: ForkServerContext, moments: random.Random, tally: Tally, unbroken_seconds: float
) -> None:
    """Kill it, or the server's side of it, until it has nothing left to do."""
    tally.trials += 1
    for _ in range(3):
        child = children.Process(target=backfill, args=(str(world.folder), world.environment, LEASE_SECONDS))
        child.start()
        if moments.random() < 0.2:
            tally.terminations += await _terminate_in_commit(world, child)
        elif await _ended(child, within_seconds=moments.uniform(0.05, unbroken_seconds)):
            break
        else:
            child.kill()
            tally.kills += 1
            await _ended(child, within_seconds=10)
    last = children.Process(target=backfill, args=(str(world.folder), world.environment, LEASE_SECONDS))
    last.start()
    assert await _ended(last, within_seconds=100), "the last backfill never ended"
    assert last.exitcode == 0


async def _ended(child: BaseProcess, *, within_seconds: float) -> bool:
    await asyncio.to_thread(child.join, within_seconds)
    return child.exitcode is not None


async def _terminate_in_commit(world: World, child: BaseProcess) -> int:
    """End the backend of a batch while it commits, as often as that is seen; the process must live through it."""
    ended = 0
    async with await psycopg.AsyncConnection.connect(world.served.database_url, autocommit=True) as connection:
        while not await _ended(child, within_seconds=0.0):
            found = await connection.execute(
                """select pg_terminate_backend(pid) from pg_stat_activity
                   where usename = 'sidecar' and state = 'active' and query ilike 'commit%'"""
            )
            ended += found.rowcount
            if ended >= 2:
                break
    await _ended(child, within_seconds=60)
    return ended


async def _account(world: World, *, rows: int) -> None:
    """Ask Sidecar's own memory: each row was inserted by one run, and no row of any run is left in doubt."""
    inserted = await world.sql("select count(*), count(distinct key) from sidecar.run_rows where result = 'inserted'")
    doubtful = await world.sql("select count(*) from sidecar.run_rows where in_flight or result = 'undetermined'")
    unfinished = await world.sql("select count(*) from sidecar.runs where status <> 'finished'")
    assert inserted == [(rows, rows)]
    assert (doubtful, unfinished) == ([(0,)], [(0,)])
