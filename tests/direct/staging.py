"""A whole engine over real data, with a memory of its own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

from sidecar.ports import Data, State
from sidecar.state.open import open_state
from tests.engine.cast import Stage
from tests.fakes import FakeClock, FakeData


@contextlib.asynccontextmanager
async def engine(data: Data, folder: Path) -> AsyncIterator[Stage]:
    """Run a whole engine over `data`, with a memory of its own."""
    async with open_state(f"sqlite:///{folder / 'sidecar.db'}") as state:
        yield staged(state, data)


def staged(state: State, data: Data) -> Stage:
    """Join an engine; the stage is written for fake data, and asks nothing of them that the port does not have."""
    return Stage(state=state, clock=FakeClock(), data=cast("FakeData", data))
