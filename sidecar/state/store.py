"""What every part of the memory stands on, whatever keeps it: SQLite or PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.sessions import Role

AT_ONCE = 500  # values in one IN list or one executemany: keeps the event loop free in between

Item = TypeVar("Item")
Upsert: TypeAlias = postgresql.Insert | sqlite.Insert


class Database(Protocol):
    """Where the memory is kept."""

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that may write; leaving the block commits. Raises: StateUnavailable."""
        ...

    def sharing(self, role: Role) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction of `role` that data are written in as well, where they share a database with the memory.

        Raises: what the writer of the data raises; StateUnavailable where they do not share one.
        """
        ...

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that sees one state of the memory. Raises: StateUnavailable."""
        ...

    def clock(self, now: datetime) -> sa.ColumnElement[int]:
        """Return what leases and ticks are timed by, in microseconds since 1970.

        A file belongs to one machine, so its caller's clock does: `now`. Where machines share a database only that
        database's clock does, and `now` is not used.
        """
        ...


class Store:
    """A part of the memory. Each of its methods is one transaction."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database


def slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces of at most AT_ONCE."""
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def on_postgresql(connection: AsyncConnection) -> bool:
    """Say which of the two the connection leads to."""
    return connection.dialect.name == postgresql.dialect.name


def among(connection: AsyncConnection, column: sa.Column[str], keys: Sequence[str]) -> sa.ColumnElement[bool]:
    """Pick rows by key: on PostgreSQL in one array, however many there are."""
    if on_postgresql(connection):
        return column == sa.any_(sa.literal(list(keys), postgresql.ARRAY(sa.Text)))
    return column.in_(keys)


def insert(connection: AsyncConnection, table: sa.Table) -> Upsert:
    """Return an INSERT that knows ON CONFLICT, in the words of the connection's database."""
    return postgresql.insert(table) if on_postgresql(connection) else sqlite.insert(table)


async def one_at_a_time(connection: AsyncConnection, what: str) -> None:
    """Let no other transaction into `what` until this one ends: what it read, nobody adds to meanwhile.

    SQLite has one writer anyhow. Order: the whole of a rule before single things of it, the audit last of all.
    """
    if on_postgresql(connection):
        key = sa.func.hashtextextended(f"sidecar:{what}", 0)
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
