"""One real PostgreSQL for all tests, and a database of its own for each test that asks."""

import uuid
from collections.abc import AsyncIterator

import pytest_asyncio

from sidecar.demo.postgres import PostgresServer, postgres
from sidecar.demo.premises import temporary_data_dir


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server() -> AsyncIterator[PostgresServer]:
    """A running server; make databases on it with `create_database`."""
    with temporary_data_dir() as data_dir:
        async with postgres(data_dir) as server:
            yield server


@pytest_asyncio.fixture
async def database_url(postgres_server: PostgresServer) -> str:
    """The superuser's URL of an empty database that no other test sees."""
    name = f"test_{uuid.uuid4().hex}"
    await postgres_server.create_database(name)
    return postgres_server.url(name)
