"""A memory in a SQLite file of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.ports import State
from sidecar.state.open import open_state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "sidecar.db"


@pytest.fixture
async def state(path: Path) -> AsyncIterator[State]:
    async with open_state(f"sqlite:///{path}") as state:
        yield state
