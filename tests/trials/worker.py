"""What a child process does: repair by one rule until nothing is left, or until it is killed."""

import asyncio
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from sidecar.domain.run import Outcome
from sidecar.errors import LeaseLost, StateUnavailable
from tests.trials.world import a_replica, load_config, quiet

LEASE_LOST = 7
MEMORY_LOST = 8  # the server ended a transaction that stood still for too long


def backfill(folder: str, environment: Mapping[str, str], lease_seconds: float) -> None:
    """Look and repair until nothing is left to do. A lost lease ends it with a code of its own."""
    quiet()

    async def work() -> None:
        config = load_config(Path(folder), environment)
        async with a_replica(config, lease_seconds=lease_seconds) as (app, rule):
            while (await app.repair.tick(rule)).outcome is not Outcome.NOTHING_TO_DO:
                pass

    try:
        asyncio.run(work())
    except LeaseLost:
        sys.exit(LEASE_LOST)
    except StateUnavailable:
        sys.exit(MEMORY_LOST)
    except BaseException:
        Path(folder, "last_words").write_text(traceback.format_exc())
        raise
