"""A database of each test's own."""

import pytest_asyncio

from sidecar.demo.postgres import PostgresServer
from tests.verify.cast import Ground, make_ground


@pytest_asyncio.fixture
async def ground(postgres_server: PostgresServer, database_url: str) -> Ground:
    """The demo's schema and Sidecar's roles, and nobody in it yet."""
    return await make_ground(postgres_server, database_url)
