"""A freeze at a random moment under a running backfill: at most one batch is written after it."""

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.domain.run import Outcome
from sidecar.freeze_file import FreezeFile
from sidecar.state.open import open_state
from tests.domain.cast import RULE
from tests.engine.cast import Stage, a_world, auto, harm, keys_of
from tests.fakes import FakeClock

ROWS = 1 + 4 + 16 + 64 + 200
HOWS = ("file", "everything", "rule")


@asynccontextmanager
async def a_stage(folder: Path, number: int) -> AsyncIterator[Stage]:
    """A world with damage, over a memory that somebody made before: only its first opening takes long."""
    made = folder / "made.db"
    if not made.exists():
        async with open_state(f"sqlite:///{made}"):
            pass
    own = folder / f"{number}.db"
    shutil.copy(made, own)
    clock = FakeClock()
    data = a_world(clock)
    harm(data, *keys_of(ROWS))
    async with open_state(f"sqlite:///{own}") as state:
        yield Stage(state=state, clock=clock, data=data, switch=FreezeFile(folder / f"freeze-{number}"))


async def duration_seconds(folder: Path) -> float:
    """Return how long an undisturbed backfill takes here."""
    async with a_stage(folder, -1) as stage:
        began = time.monotonic()
        assert (await stage.repair.backfill(auto(), "olga")).outcome is Outcome.REPAIRED
        return time.monotonic() - began


async def one_trial(folder: Path, number: int, seconds: float) -> int:
    """Freeze at a random moment; return how many batches still wrote after the freeze was there."""
    how = HOWS[number % len(HOWS)]
    moment = random.Random(number).uniform(0.0, seconds)  # spreads trials, hides nothing
    async with a_stage(folder, number) as stage:
        backfill = asyncio.create_task(stage.repair.backfill(auto(), "olga"))
        await asyncio.wait([backfill], timeout=moment)
        if how == "file":
            (folder / f"freeze-{number}").write_text("trial")
        else:
            await stage.state.freeze("*" if how == "everything" else RULE.name, "olga", "trial", stage.clock.now())
        before = len(stage.data.inserted)
        cycle = await backfill
        assert (cycle.outcome is Outcome.REPAIRED) == (len(stage.data.inserted) == ROWS)
        late = set(stage.data.inserted[before:])
        return sum(not late.isdisjoint(batch) for batch in stage.data.made("insert"))


async def trials(folder: Path, count: int) -> None:
    seconds = await duration_seconds(folder)
    late = [await one_trial(folder, number, seconds) for number in range(count)]
    print(
        f"freeze: {count} trials, {sum(n > 0 for n in late)} met a batch under way, at most {max(late)} written after"
    )
    assert max(late) <= 1


async def test_after_a_freeze_at_most_one_batch_is_written(tmp_path: Path) -> None:
    await trials(tmp_path, 10)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_after_a_freeze_at_most_one_batch_is_written_in_200_trials(tmp_path: Path) -> None:
    await trials(tmp_path, 200)


async def test_a_changed_rule_and_another_process_lift_no_freeze(tmp_path: Path) -> None:
    """20 times: what a reload or a new rule file changes, a freeze does not hear of."""
    lifted = 0
    async with a_stage(tmp_path, 0) as stage:
        await stage.state.freeze(RULE.name, "olga", "audit", stage.clock.now())
        (tmp_path / "freeze-0").write_text("audit")
        for number in range(20):
            if number == 10:
                await stage.state.unfreeze(RULE.name, "olga", stage.clock.now())  # the file alone, from here on
            edited = replace(auto(), digest=f"edited-{number}", every_seconds=number + 1.0)
            reloaded = stage.beside(f"process-{number}", switch=FreezeFile(tmp_path / "freeze-0"))
            cycle = await reloaded.repair.backfill(edited, "olga")
            lifted += cycle.outcome is not Outcome.REFUSED
        assert stage.data.inserted == []
    print(f"freeze: lifted by {lifted} of 20 changed rules in new processes")
    assert lifted == 0
