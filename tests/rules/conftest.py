"""A shop of the test's own, copied from one that was made once."""

import uuid
from collections.abc import AsyncIterator
from importlib import resources

import psycopg
import pytest
import pytest_asyncio

from sidecar.demo.postgres import PostgresServer
from sidecar.fixture import fixture_sql
from sidecar.roles import roles_sql
from tests.rules.cast import SHOP, Shop, a_shop


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shop_template(postgres_server: PostgresServer) -> str:
    """The name of a database with the demo's schema, the fixture, the roles and a shop."""
    name = f"shop_{uuid.uuid4().hex}"
    await postgres_server.create_database(name)
    async with await psycopg.AsyncConnection.connect(postgres_server.url(name), autocommit=True) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("schema.sql").read_bytes())
        await connection.execute(fixture_sql("the-nonce").encode())
        await connection.execute(roles_sql([]).encode())
        await connection.execute(b"grant select on public.sidecar_canary to sidecar_detector")
        await connection.execute(SHOP.encode())
    return name


@pytest.fixture
async def shop(postgres_server: PostgresServer, shop_template: str) -> AsyncIterator[Shop]:
    name = f"test_{uuid.uuid4().hex}"
    await postgres_server.create_database(name, template=shop_template)
    async with a_shop(postgres_server.url(name), postgres_server.port, name) as shop:
        yield shop
