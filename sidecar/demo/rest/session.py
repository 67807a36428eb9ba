"""Run one statement as one caller in one transaction, in as few round trips as possible."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool

from sidecar.demo.rest.catalogue import Pool
from sidecar.demo.rest.tokens import Caller
from sidecar.demo.rest.writer import Writer

Row = tuple[Any, ...]

_CONNECTIONS_AT_MOST = 10
_PATIENCE_SECONDS = 10.0
# PostgREST logs in as `authenticator`, which may become the roles granted to it and nobody else. We log in as a
# superuser, whose password the demo knows, and step down for the life of the connection.
_STEP_DOWN = """select set_config('session_authorization', rolname, false)
from pg_catalog.pg_roles where rolname = 'authenticator'"""


@contextlib.asynccontextmanager
async def connections(url: str, *, step_down: bool) -> AsyncIterator[Pool]:
    """Hold a pool of connections to a database; `step_down` lets each act as `authenticator` only."""

    async def configure(connection: AsyncConnection[Row]) -> None:
        if step_down:
            await connection.execute(_STEP_DOWN)

    pool: Pool = AsyncConnectionPool(
        url,
        kwargs={"autocommit": True, "options": "-c TimeZone=UTC"},
        min_size=1,
        max_size=_CONNECTIONS_AT_MOST,
        timeout=_PATIENCE_SECONDS,
        configure=configure,
        open=False,
    )
    async with pool:
        yield pool


async def run(
    pool: Pool,
    caller: Caller,
    writer: Writer,
    *,
    settings: Mapping[str, str],
    read_only: bool,
    accept: Callable[[Row], None] = lambda _: None,
    then: Writer | None = None,
) -> tuple[Row, Row | None]:
    """Run a statement as its caller and return its row; `then` is explained in the same transaction.

    What `accept` raises undoes everything. Raises: psycopg.Error, psycopg_pool.PoolTimeout.
    """
    async with pool.connection() as connection:
        async with _one_trip(connection):
            await connection.execute(sql.SQL("begin read only" if read_only else "begin"))
            await connection.execute(_assume(settings), [caller.role, caller.claims, *_flat(settings)])
            cursor = await connection.execute(writer.statement(), writer.values)
            explained = None
            if then is not None:
                explain = sql.SQL("explain (format json) ") + then.statement()
                explained = await connection.execute(explain, then.values)
            if read_only:
                await connection.execute(sql.SQL("commit"))
        row = await cursor.fetchone() or ()
        accept(row)
        if not read_only:
            await connection.execute(sql.SQL("commit"))
        return row, None if explained is None else await explained.fetchone()


@contextlib.asynccontextmanager
async def _one_trip(connection: AsyncConnection[Row]) -> AsyncIterator[None]:
    """Send what the block executes together, and raise its first error.

    That error may already arrive inside the block; psycopg then logs what the statements after it came to.
    """
    failure: psycopg.Error | None = None
    try:
        async with connection.pipeline():
            try:
                yield
            except psycopg.Error as error:
                failure = error
    except psycopg.Error:
        if failure is None:
            raise
    if failure is not None:
        raise failure


def _assume(settings: Mapping[str, str]) -> sql.Composed:
    own = sql.SQL(
        "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),"
        " set_config('search_path', 'public, extensions', true)"
    )
    return own + sql.SQL("").join([sql.SQL(", set_config(%s, %s, true)")] * len(settings))


def _flat(settings: Mapping[str, str]) -> list[str]:
    return [word for pair in settings.items() for word in pair]
