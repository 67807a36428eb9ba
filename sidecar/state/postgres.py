"""The whole memory in schema `sidecar` of a PostgreSQL database, beside the data that it is about."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.sessions import Role, Sessions
from sidecar.state.horizon import Horizon
from sidecar.state.meaning import Busy, unavailable
from sidecar.state.memory import Memory
from sidecar.state.premises import MEMORY, SCHEMA, check_premises
from sidecar.state.schema import upgrade, version
from sidecar.state.shared_batch import SharedBatches
from sidecar.state.store import one_at_a_time
from sidecar.state.tables import HEAD

if TYPE_CHECKING:
    from sidecar.ports import State

MIGRATION_SECONDS = 60  # how long a replica waits for another one that makes the tables

_now = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1_000_000, sa.BigInteger)


class PostgresDatabase:
    """Schema `sidecar` of one database. The detector reads it, the fixer writes it."""

    def __init__(self, sessions: Sessions) -> None:
        """Use the database of `sessions`, which the caller closes."""
        self._sessions = sessions

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write; leaving the block commits. Raises: StateUnavailable."""
        with unavailable():
            async with self.sharing(Role.FIXER) as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def sharing(self, role: Role) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that memory and data are both written in. Errors are those of `sidecar.sessions`."""
        async with self._sessions.writing(role) as connection:
            await connection.execution_options(schema_translate_map={None: SCHEMA})
            yield connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one state of the memory and blocks nobody. Raises: StateUnavailable."""
        with unavailable():
            async with self._sessions.reading(Role.DETECTOR) as connection:
                await connection.execution_options(schema_translate_map={None: SCHEMA})
                yield connection

    def clock(self, now: datetime) -> sa.ColumnElement[int]:  # noqa: ARG002  # the port's signature
        """Return the database's clock, read at the instant at which a row is compared or changed."""
        return _now

    async def migrate(self) -> None:
        """Bring the schema up to date; replicas that start together wait for one of them. Raises: StateUnavailable."""
        with unavailable():
            async with self._sessions.owning() as connection:
                await check_premises(connection)
                if await version(connection, SCHEMA) == HEAD:
                    return
                await connection.execute(
                    sa.select(sa.func.set_config("lock_timeout", f"{MIGRATION_SECONDS}s", sa.true()))
                )
                await one_at_a_time(connection, "migrations")
                before = await version(connection, SCHEMA)
                if before != HEAD:
                    await connection.execution_options(schema_translate_map={None: SCHEMA})
                    await upgrade(connection, before, MEMORY, SCHEMA)


class PostgresState(SharedBatches, Horizon, Memory):
    """Everything Sidecar remembers, in one schema. Implements `sidecar.ports.State`."""

    def __init__(self, database: PostgresDatabase) -> None:
        """Keep everything in `database`."""
        super().__init__(database)

    async def acquire(self, lease: str, holder: str, ttl_seconds: float, now: datetime) -> int | None:
        """Take the lease as elsewhere; None also while a batch of its holder is open for longer than we wait."""
        try:
            return await super().acquire(lease, holder, ttl_seconds, now)
        except Busy:
            return None


@contextlib.asynccontextmanager
async def open_in_database(url: str) -> AsyncIterator[PostgresState]:
    """Open the memory in the database at `url`, and bring its schema up to date. Raises: StateUnavailable."""
    sessions = Sessions(url)
    try:
        database = PostgresDatabase(sessions)
        await database.migrate()
        yield PostgresState(database)
    finally:
        await sessions.close()


if TYPE_CHECKING:

    def _conforms(database: PostgresDatabase) -> State:
        return PostgresState(database)
