"""A seeded database with Sidecar's roles, made once and copied for each test."""

import uuid
from collections.abc import AsyncIterator
from importlib import resources

import psycopg
import pytest_asyncio

from sidecar.demo.postgres import PostgresServer
from sidecar.demo.seed import SeedSpec, seed
from sidecar.domain.rule import Rule
from sidecar.fixture import fixture_sql
from sidecar.roles import roles_sql
from tests.direct.cast import Project, a_login, shipped_rule


@pytest_asyncio.fixture
def rule() -> Rule:
    return shipped_rule()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(postgres_server: PostgresServer) -> str:
    """The name of a database that nobody connects to: 300 users, 13 of them to be repaired."""
    name = f"direct_{uuid.uuid4().hex}"
    await postgres_server.create_database(name)
    async with await psycopg.AsyncConnection.connect(postgres_server.url(name)) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("schema.sql").read_bytes())
        await connection.execute(fixture_sql("the-nonce").encode())
        await connection.execute(roles_sql([shipped_rule()]).encode())
    await seed(postgres_server.url(name), SeedSpec(users=300, orphans=12, seed=7))
    async with await psycopg.AsyncConnection.connect(postgres_server.url(name)) as connection:
        # Over REST a profile younger than the horizon is not seen; the direct path sees every profile.
        await connection.execute(
            "update public.users set created_at = now() - interval '1 day' where created_at > now() - interval '1 hour'"
        )
    return name


@pytest_asyncio.fixture
async def project(postgres_server: PostgresServer, template: str) -> AsyncIterator[Project]:
    """A database of the test's own; roles belong to the whole server, so they are mended afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    await postgres_server.create_database(name, template=template)
    project = Project(
        server=postgres_server,
        name=name,
        url=postgres_server.url(name),
        login_url=await a_login(postgres_server, name),
    )
    yield project
    await project.sql("alter role sidecar_detector bypassrls; alter role sidecar reset all")
