"""The stand-in over the recorded schema. With SIDECAR_TEST_REST_URL set, a real PostgREST answers in its place."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest_asyncio

from sidecar.demo.postgres import PostgresServer
from sidecar.demo.standin import Keys, StandIn, make_keys, standin
from tests.standin.recorded import SECRET, bearer

SCHEMA = Path(__file__).parent.parent / "data" / "postgrest" / "schema.sql"
REAL_REST_URL = os.environ.get("SIDECAR_TEST_REST_URL")


@dataclass(frozen=True, kw_only=True)
class Project:
    """A stand-in over a fresh database, and a client at its bare REST root."""

    served: StandIn
    keys: Keys
    database_url: str
    http: httpx.AsyncClient

    async def ask(
        self, method: str, path: str, *, role: str | None = "service_role", json: object = None, **headers: str
    ) -> httpx.Response:
        """Ask the REST root as a role; underscores in names of headers stand for dashes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        token = bearer(role)
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return await self.http.request(method, path, json=json, headers=sent)

    async def get(self, path: str, *, role: str | None = "service_role", **headers: str) -> httpx.Response:
        """Ask for rows."""
        return await self.ask("GET", path, role=role, **headers)

    async def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement as superuser, and let a real PostgREST hear of it."""
        async with await psycopg.AsyncConnection.connect(self.database_url) as connection:
            cursor = await connection.execute(statement.encode(), values or None)
            rows = await cursor.fetchall() if cursor.description else []
            await connection.execute("notify pgrst, 'reload schema'")
        if REAL_REST_URL and not rows:
            await asyncio.sleep(0.5)  # PostgREST does not say when it has read its schema again
        return rows


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def recorded_template(postgres_server: PostgresServer) -> str:
    """The name of a database with the recorded schema, which nobody connects to."""
    name = f"recorded_{uuid.uuid4().hex}"
    await postgres_server.create_database(name)
    async with await psycopg.AsyncConnection.connect(postgres_server.url(name)) as connection:
        await connection.execute(SCHEMA.read_bytes())
    return name


async def _reload(url: str) -> str:
    """Load the recorded schema afresh into the database behind a real PostgREST."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("drop schema if exists auth cascade; drop schema public cascade; create schema public")
        await connection.execute(SCHEMA.read_bytes())
        await connection.execute("notify pgrst, 'reload schema'")
    await asyncio.sleep(0.5)  # PostgREST does not say when it has read its schema again
    return url


async def _fresh(server: PostgresServer, template: str) -> str:
    if REAL_REST_URL:
        return await _reload(os.environ["SIDECAR_TEST_DATABASE_URL"])
    name = f"test_{uuid.uuid4().hex}"
    await server.create_database(name, template=template)
    return server.url(name)


@pytest_asyncio.fixture
async def recorded_url(postgres_server: PostgresServer, recorded_template: str) -> str:
    """The superuser's URL of a database freshly made from the recorded schema."""
    return await _fresh(postgres_server, recorded_template)


@contextlib.asynccontextmanager
async def _serve(url: str) -> AsyncIterator[Project]:
    keys = make_keys(SECRET, "demo", now=datetime.now(UTC))
    async with (
        standin(url, jwt_secret=SECRET, keys=keys, rest_url=REAL_REST_URL) as served,
        httpx.AsyncClient(base_url=served.rest_url, timeout=20) as http,
    ):
        yield Project(served=served, keys=keys, database_url=url, http=http)


@pytest_asyncio.fixture
async def project(recorded_url: str) -> AsyncIterator[Project]:
    """A project of the test's own."""
    async with _serve(recorded_url) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def readable(postgres_server: PostgresServer, recorded_template: str) -> AsyncIterator[Project]:
    """A project that a module's tests share, and so only read."""
    async with _serve(await _fresh(postgres_server, recorded_template)) as served:
        yield served
