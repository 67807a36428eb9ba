"""A stage of the engine for verbs that need no stack, and a whole project for those that do."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.app import App
from sidecar.ports import State
from sidecar.state.open import open_state
from tests.cli.cast import an_app
from tests.e2e.conftest import bent, detour, portal, project, served
from tests.engine.cast import Stage, a_world
from tests.fakes import FakeClock

__all__ = ["bent", "detour", "portal", "project", "served"]


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with open_state(f"sqlite:///{tmp_path / 'sidecar.db'}") as memory:
        yield memory


@pytest.fixture
def stage(state: State) -> Stage:
    clock = FakeClock()
    return Stage(state=state, clock=clock, data=a_world(clock), holder="cli")


@pytest.fixture
def app(stage: Stage, tmp_path: Path) -> App:
    return an_app(stage, tmp_path)
