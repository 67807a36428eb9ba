"""A world of its own for each test, with a few well users and nobody harmed."""

import uuid
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import psycopg
import pytest

from sidecar.demo.postgres import PostgresServer
from sidecar.fixture import fixture_sql
from tests.adversary.cast import World, a_world, key_of


@pytest.fixture
async def world(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    name = f"adversary_{uuid.uuid4().hex}"
    await postgres_server.create_database(name)
    async with await psycopg.AsyncConnection.connect(postgres_server.url(name)) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("schema.sql").read_bytes())
        await connection.execute(fixture_sql("the-nonce").encode())
    async with a_world(postgres_server.url(name), tmp_path) as made:
        for number in range(900, 906):
            await made.user(key_of(number))
            await made.profile(key_of(number), 1200)
        yield made
