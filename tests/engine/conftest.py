"""A stage for each test, over a memory of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.ports import State
from sidecar.state.open import open_state
from tests.engine.cast import Stage, a_world
from tests.fakes import FakeClock, FakeData


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with open_state(f"sqlite:///{tmp_path / 'sidecar.db'}") as memory:
        yield memory


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def data(clock: FakeClock) -> FakeData:
    return a_world(clock)


@pytest.fixture
def stage(state: State, clock: FakeClock, data: FakeData) -> Stage:
    return Stage(state=state, clock=clock, data=data)
