"""A child that looks as often as it can, with all that the daemon has but its clock; prints looks a CPU second."""

import asyncio
import sys
import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from sidecar.app import open_app
from sidecar.daemon import _telemetry
from sidecar.domain.check import Check, Verdict
from sidecar.status import LastLooks
from sidecar.verbs.runner import load_config

AT_ONCE = 8  # as many as ask blackbox_exporter


async def _run(path: Path, seconds: float) -> float:
    config, looks = load_config(path), 0
    async with (
        _telemetry(config, CollectorRegistry(), LastLooks()) as told,
        open_app(config, told.reporter, stopping=lambda: False) as app,
    ):
        until = 0.0

        async def look_on(checks: list[Check]) -> None:
            nonlocal looks
            while time.monotonic() < until:
                for check in checks:
                    seen = await app.watch.look(check)
                    if seen.verdict is not Verdict.HEALTHY:
                        raise RuntimeError(seen.reason)
                    looks += 1

        for check in config.checks:
            await app.watch.look(check)
        until, cpu = time.monotonic() + seconds, time.process_time()
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(look_on(list(config.checks[number::AT_ONCE])))
        return looks / (time.process_time() - cpu)


sys.stdout.write(f"{asyncio.run(_run(Path(sys.argv[1]), float(sys.argv[2])))}\n")
