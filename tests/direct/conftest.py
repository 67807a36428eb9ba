"""A seeded database with Sidecar's roles, made once and copied for each test."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sidecar.demo.postgres import PostgresServer
from sidecar.domain.rule import Rule
from tests.direct.cast import LOGIN, Project, login_url, make_login, make_seeded, shipped_rule


@pytest.fixture
def rule() -> Rule:
    """The shipped rule."""
    return shipped_rule()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(postgres_server: PostgresServer) -> tuple[str, str]:
    """The name of a database that nobody connects to, and the login's password."""
    name = f"direct_{uuid.uuid4().hex}"
    await make_seeded(postgres_server, name)
    return name, await make_login(postgres_server.url(name))


@pytest_asyncio.fixture
async def project(postgres_server: PostgresServer, template: tuple[str, str]) -> AsyncIterator[Project]:
    """A database of the test's own; roles belong to the whole server, so they are mended afterwards."""
    project = await copied(postgres_server, template)
    yield project
    await project.sql(f"alter role sidecar_detector bypassrls; alter role {LOGIN} reset all")


@pytest_asyncio.fixture
async def other_project(postgres_server: PostgresServer, template: tuple[str, str]) -> Project:
    """Another database with the very same rows."""
    return await copied(postgres_server, template)


async def copied(server: PostgresServer, template: tuple[str, str]) -> Project:
    name = f"test_{uuid.uuid4().hex}"
    await server.create_database(name, template=template[0])
    return Project(server=server, name=name, url=server.url(name), login_url=login_url(server, name, template[1]))
