"""A child that looks once, and says how much memory it held at rest and at most. Linux only: it asks /proc."""

import asyncio
import json
import sys
from pathlib import Path

from sidecar.engine.cycle import Cycle
from tests.trials.world import a_replica, load_config

STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _held_mb(name: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


async def _look() -> Cycle:
    config = load_config(Path(sys.argv[1]), json.loads(sys.argv[2]))
    async with a_replica(config, lease_seconds=10) as (app, rule):
        for check in config.checks:
            await app.watch.look(check)
        idle_mb = _held_mb("VmRSS")
        await asyncio.to_thread(PEAK_RESET.write_text, "5")
        cycle = await app.repair.detect(rule)
        sys.stdout.write(json.dumps([idle_mb, _held_mb("VmHWM")]) + "\n")
    return cycle


asyncio.run(_look())
