"""A seeded database, made once and copied for each test."""

import uuid
from collections.abc import AsyncIterator
from importlib import resources

import psycopg
import pytest_asyncio

from sidecar.demo.postgres import PostgresServer
from sidecar.demo.seed import Seeded, SeedSpec, seed
from sidecar.fixture import fixture_sql

SPEC = SeedSpec(users=300, orphans=7, seed=7)


async def make_empty(server: PostgresServer, name: str) -> str:
    """Make a database with the demo's schema and the canary fixture, and return its URL."""
    await server.create_database(name)
    async with await psycopg.AsyncConnection.connect(server.url(name)) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("schema.sql").read_bytes())
        await connection.execute(fixture_sql("the-nonce").encode())
    return server.url(name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def seeded_template(postgres_server: PostgresServer) -> tuple[str, Seeded]:
    """The name of a seeded database that nobody connects to, and what is in it."""
    name = f"seeded_{uuid.uuid4().hex}"
    return name, await seed(await make_empty(postgres_server, name), SPEC)


@pytest_asyncio.fixture
async def seeded_url(postgres_server: PostgresServer, seeded_template: tuple[str, Seeded]) -> str:
    """The URL of a seeded database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    await postgres_server.create_database(name, template=seeded_template[0])
    return postgres_server.url(name)


@pytest_asyncio.fixture
async def connection(seeded_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """The superuser in a seeded database of the test's own."""
    async with await psycopg.AsyncConnection.connect(seeded_url, autocommit=True) as opened:
        yield opened
