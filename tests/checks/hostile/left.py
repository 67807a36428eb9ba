"""What a look leaves behind in this process. Linux only: it asks /proc."""

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator
from pathlib import Path

STATUS, PEAK_RESET, FILES = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/self/fd")
GROWTH_MB = 40  # what a single hostile target may cost for a moment; the bomb alone would be 50 and more
ROUNDS = 200  # of the loop, for closing what was let go


def resident_mb(name: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def _open_files() -> int:
    return len(list(FILES.iterdir()))


def _reset_peak() -> None:
    PEAK_RESET.write_text("5")


@contextlib.asynccontextmanager
async def nothing_left(growth_mb: float = GROWTH_MB) -> AsyncIterator[None]:
    """Demand that tasks, open files and threads are as before, and that memory never rose by more than `growth_mb`."""
    gc.collect()
    tasks, files, threads = asyncio.all_tasks(), _open_files(), set(threading.enumerate())
    before_mb = resident_mb("VmRSS")
    _reset_peak()
    yield
    for _ in range(ROUNDS):
        if asyncio.all_tasks() == tasks and _open_files() <= files:
            break
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - tasks == set()
    assert _open_files() <= files
    assert set(threading.enumerate()) - threads == set()
    assert resident_mb("VmHWM") - before_mb < growth_mb
