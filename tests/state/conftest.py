"""One suite for both implementations of the port: every test that asks for `state` runs on each."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio

from sidecar.demo.postgres import PostgresServer
from sidecar.ports import State
from sidecar.state.open import open_state
from tests.state.audit_reading import trail, trail_in_postgres
from tests.state.in_postgres import make_roles, open_aged

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[State]]
TrailReader: TypeAlias = Callable[[], Awaitable[list[dict[str, object]]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "sidecar.db"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def memory_template(postgres_server: PostgresServer) -> str:
    """The login's URL of a database with an empty memory, which others are copied from."""
    name = f"memory_{uuid.uuid4().hex}"
    await postgres_server.create_database(name)
    url = await make_roles(postgres_server, name)
    async with open_state(url):
        pass
    return url


@pytest_asyncio.fixture
async def memory_url(postgres_server: PostgresServer, memory_template: str) -> str:
    """The login's URL of a database with an empty memory that no other test sees."""
    name = f"test_{uuid.uuid4().hex}"
    before, template = memory_template.rsplit("/", 1)
    await postgres_server.create_database(name, template)
    return f"{before}/{name}"


@pytest.fixture(params=["sqlite", "postgres"])
def memory_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def open_memory(request: pytest.FixtureRequest, memory_kind: str, path: Path) -> Opener:
    if memory_kind == "sqlite":
        return lambda: open_state(f"sqlite:///{path}")
    url: str = request.getfixturevalue("memory_url")
    return lambda: open_aged(url)


@pytest.fixture
async def state(open_memory: Opener) -> AsyncIterator[State]:
    async with open_memory() as state:
        yield state


@pytest.fixture
def read_trail(request: pytest.FixtureRequest, memory_kind: str, path: Path) -> TrailReader:
    """Read the audit as somebody without Sidecar would."""

    async def of_file() -> list[dict[str, object]]:
        return trail(path)

    if memory_kind == "sqlite":
        return of_file
    url: str = request.getfixturevalue("memory_url")
    return lambda: trail_in_postgres(url)


@pytest.fixture
def admin_url(postgres_server: PostgresServer, memory_url: str) -> str:
    """The superuser's URL of the database of `memory_url`."""
    return postgres_server.url(memory_url.rsplit("/", 1)[1])


@pytest.fixture
async def two(memory_url: str) -> AsyncIterator[tuple[State, State]]:
    """Two replicas on one database."""
    async with open_aged(memory_url) as one, open_aged(memory_url) as other:
        yield one, other
