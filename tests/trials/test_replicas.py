"""Several Sidecars on one database: together they do what one would do, and no more."""

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from sidecar.app import App
from sidecar.domain.decide import GuardName
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome
from tests.trials.world import World, a_replica, a_world

LEASE_SECONDS = 5.0
COUNTED = "select count(*), count(distinct key) from sidecar.run_rows where result = 'inserted'"


@pytest.mark.timeout(580)
async def test_replicas_that_race_insert_every_orphan_once(shared_tmp: Path) -> None:
    await _races(shared_tmp, seeds=5, orphans=500)


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_replicas_that_race_over_ten_thousand_orphans_insert_each_once(shared_tmp: Path) -> None:
    await _races(shared_tmp, seeds=100, orphans=10_000)


async def _races(folder: Path, *, seeds: int, orphans: int) -> None:
    told: Counter[str] = Counter()
    async with a_world(folder, orphans=orphans, users=orphans * 2) as world:
        for seed in range(seeds):
            chance = random.Random(seed)
            replicas = chance.choice((2, 4, 8))
            cap = chance.choice((orphans + 1, orphans + 1, orphans // 3))  # every third race meets its cap
            await world.forget()
            await _race(world, replicas, cap, chance)
            inserted = len(await world.restored())
            counted = await world.sql(
                "select count(*), count(distinct key) from sidecar.run_rows where result = 'inserted'"
            )
            assert counted == [(inserted, inserted)], seed
            assert inserted <= cap, (seed, "cap breached")
            assert inserted == (orphans + 1 if cap > orphans else 0), seed
            told[f"{replicas} replicas"] += 1
    print(f"races: {dict(sorted(told.items()))} over {orphans} orphans: inserts = orphans, 0 twice, 0 cap breaches")


async def _race(world: World, replicas: int, cap: int, chance: random.Random) -> None:
    config = world.config({"max_rows_per_day: 5000": f"max_rows_per_day: {cap}"} if cap <= world.orphans else None)
    async with contextlib.AsyncExitStack() as opened:
        apps = [
            await opened.enter_async_context(a_replica(config, lease_seconds=LEASE_SECONDS)) for _ in range(replicas)
        ]
        async with asyncio.TaskGroup() as group:
            for app, rule in apps:
                group.create_task(_work(app, rule, chance.uniform(0, 0.3)))


async def _work(app: App, rule: Rule, wait_seconds: float) -> None:
    """Tick until there is nothing to do, or a cap says no."""
    await asyncio.sleep(wait_seconds)
    seen: list[Outcome] = []
    while len(seen) < 50:
        cycle = await app.repair.tick(rule)
        seen.append(cycle.outcome)
        capped = cycle.refusal is not None and cycle.refusal.guard is GuardName.MAX_ROWS_PER_DAY
        if cycle.outcome is Outcome.NOTHING_TO_DO or capped:
            return
    pytest.fail(f"never came to an end: {seen}")
