"""One suite for every implementation of the port: a second one joins by a second parameter here."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from sidecar.ports import State
from sidecar.state.open import open_state

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[State]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "sidecar.db"


@pytest.fixture(params=["sqlite"])
def open_memory(request: pytest.FixtureRequest, path: Path) -> Opener:
    return {"sqlite": lambda: open_state(f"sqlite:///{path}")}[request.param]


@pytest.fixture
async def state(open_memory: Opener) -> AsyncIterator[State]:
    async with open_memory() as state:
        yield state
