"""The memory in a real PostgreSQL, made as an operator makes it: roles first, then Sidecar's own migrations."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

import psycopg
import sqlalchemy as sa
from psycopg import sql

from sidecar.demo.postgres import PostgresServer
from sidecar.roles import roles_sql
from sidecar.state.postgres import PostgresDatabase, PostgresState, open_in_database
from tests.state.cast import NOW

# What Supabase has before anybody asks. The last line is Supabase's habit in schema public, here for the login too:
# tables are open to the API unless somebody closes them.
PROJECT = """
DO $$ BEGIN
  CREATE ROLE anon NOLOGIN; CREATE ROLE authenticated NOLOGIN; CREATE ROLE service_role NOLOGIN BYPASSRLS;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE SCHEMA IF NOT EXISTS auth;
CREATE TABLE IF NOT EXISTS auth.users (id uuid PRIMARY KEY, email text);
"""
HABIT = "ALTER DEFAULT PRIVILEGES FOR ROLE sidecar GRANT ALL ON TABLES TO PUBLIC, anon, authenticated, service_role"


async def execute(url: str, *statements: str | sql.Composed) -> None:
    """Run statements one by one, each in its own transaction."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(sql.SQL(statement) if isinstance(statement, str) else statement)


async def make_roles(server: PostgresServer, database: str) -> str:
    """Make roles, login and schema in a database; return the login's URL. The login's password is the superuser's."""
    named = sql.SQL("ALTER ROLE sidecar PASSWORD {}").format(sql.Literal(server.password))
    await execute(server.url(database), PROJECT, roles_sql([]), named, HABIT)
    return f"postgresql://sidecar:{server.password}@127.0.0.1:{server.port}/{database}"


async def rows_of(url: str, query: str) -> list[dict[str, object]]:
    """Return what a query answers, by column."""
    async with await psycopg.AsyncConnection.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        return await (await connection.execute(query)).fetchall()


class Aged(PostgresState):
    """A memory whose leases and ticks grow old as the instants tell that the test hands in.

    The database's own clock times them, so time is let pass by moving them back.
    """

    def __init__(self, database: PostgresDatabase) -> None:
        super().__init__(database)
        self._sessions = database._sessions
        self._then = NOW

    async def acquire(self, lease: str, holder: str, ttl_seconds: float, now: datetime) -> int | None:
        await self._pass_time(now)
        return await super().acquire(lease, holder, ttl_seconds, now)

    async def renew(self, lease: str, epoch: int, ttl_seconds: float, now: datetime) -> None:
        await self._pass_time(now)
        await super().renew(lease, epoch, ttl_seconds, now)

    async def claim_tick(self, rule: str, every_seconds: float, holder: str, now: datetime) -> bool:
        await self._pass_time(now)
        return await super().claim_tick(rule, every_seconds, holder, now)

    async def silent_rules(self, now: datetime) -> list[str]:
        await self._pass_time(now)
        return await super().silent_rules(now)

    async def _pass_time(self, now: datetime) -> None:
        passed, self._then = round((now - self._then).total_seconds() * 1_000_000), now
        if passed:
            async with self._sessions.owning() as connection:
                back = {"passed": passed}
                await connection.execute(sa.text("UPDATE sidecar.leases SET expires_at = expires_at - :passed"), back)
                await connection.execute(sa.text("UPDATE sidecar.ticks SET at = at - :passed"), back)


@contextlib.asynccontextmanager
async def open_aged(url: str) -> AsyncIterator[Aged]:
    async with open_in_database(url) as state:
        assert isinstance(state._database, PostgresDatabase)
        yield Aged(state._database)


async def expire(url: str) -> None:
    """Let every lease run out."""
    await execute(url, "UPDATE sidecar.leases SET expires_at = 0")


async def until_waiting(url: str, *, transactions: int = 1) -> None:
    """Return once so many transactions of the database wait for a lock."""
    waiting = "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted"
    waiting += " AND a.datname = current_database()"
    async with asyncio.timeout(10):
        while len(await rows_of(url, waiting)) < transactions:  # noqa: ASYNC110  # PostgreSQL tells nobody that somebody waits
            await asyncio.sleep(0.01)
