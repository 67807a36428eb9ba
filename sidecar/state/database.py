"""Transactions on one SQLite file: writers one after another under BEGIN IMMEDIATE, readers beside them."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sidecar.errors import StateUnavailable
from sidecar.sessions import Role
from sidecar.state.columns import microseconds

READERS_AT_MOST = 8

# FULL costs one fsync a commit: 0.29 ms against 0.01 ms with NORMAL (median of 400 on the ext4 disk this was written
# on). NORMAL survives kill -9 as well, but after a power cut it may forget the last commits, and with them the intent
# of a batch that PostgreSQL did commit.
SHARED = ("foreign_keys = ON", "synchronous = FULL")
WRITER = (*SHARED, "journal_mode = WAL", "journal_size_limit = 67108864")
READER = (*SHARED, "query_only = ON")

# By the start of SQLite's own name for the error. The rest of its text is shown; it names no values.
MEANINGS = {
    "SQLITE_BUSY": "another process keeps it locked",
    "SQLITE_LOCKED": "another process keeps it locked",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_CORRUPT": "it is damaged; restore a copy, or move it away to start with an empty memory",
    "SQLITE_NOTADB": "it is not a SQLite database",
    "SQLITE_READONLY": "it cannot be written; check its owner and mode, and those of its folder",
    "SQLITE_CANTOPEN": "it cannot be opened; check its owner and mode, and those of its folder",
    "SQLITE_IOERR": "the disk failed",
}


class SQLiteDatabase:
    """One file and two ways in. The writing pool has one connection, so that writers of this process queue fairly."""

    def __init__(self, path: Path, *, busy_timeout_seconds: float) -> None:
        """Use the file at `path`; wait `busy_timeout_seconds` for other processes before giving up."""
        self._path = path
        self._writer = _engine(path, "BEGIN IMMEDIATE", WRITER, 1, busy_timeout_seconds)
        self._reader = _engine(path, "BEGIN", READER, READERS_AT_MOST, busy_timeout_seconds)

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that may write: the lock is taken before anything is read, so no update is lost.

        Raises: StateUnavailable.
        """
        with unavailable(self._path):
            async with self._writer.begin() as connection:
                yield connection

    def sharing(self, _role: Role) -> contextlib.AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction as `writing` does: data live elsewhere, and a file knows no roles."""
        return self.writing()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees one state of the file and blocks nobody. Raises: StateUnavailable."""
        with unavailable(self._path):
            async with self._reader.connect() as connection:
                yield connection

    def clock(self, now: datetime) -> sa.ColumnElement[int]:
        """Return the caller's clock: the file belongs to this machine."""
        return sa.literal(microseconds(now), sa.BigInteger)

    async def close(self) -> None:
        """Close every connection; afterwards SQLite has folded its log back into the file."""
        await self._reader.dispose()
        await self._writer.dispose()


def _engine(
    path: Path, begin: str, pragmas: tuple[str, ...], connections: int, busy_timeout_seconds: float
) -> AsyncEngine:
    """Take transaction control from the driver, which would begin late and deferred, and give it to SQLAlchemy.

    Source: "Using SQLAlchemy to emit BEGIN in lieu of SQLite's transaction control" in sqlalchemy.dialects.sqlite.
    """
    engine = create_async_engine(
        sa.URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"timeout": busy_timeout_seconds},
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # errors are logged; values are not
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def prepare(dbapi_connection: DBAPIConnection, _record: object) -> None:
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def announce(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextlib.contextmanager
def unavailable(path: Path) -> Iterator[None]:
    """Turn what SQLite and the operating system say about the file into StateUnavailable; bugs pass as they are."""
    try:
        yield
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.InterfaceError):
        raise
    except sa.exc.DBAPIError as error:
        raise StateUnavailable(f"Sidecar's memory {path}: {_meaning(error.orig)}") from error
    except sa.exc.TimeoutError as error:
        raise StateUnavailable(f"Sidecar's memory {path}: too many of our own tasks wait for it") from error
    except OSError as error:
        raise StateUnavailable(f"Sidecar's memory {path}: {error.strerror or type(error).__name__}") from error


def _meaning(error: BaseException | None) -> str:
    name = getattr(error, "sqlite_errorname", None) or ""
    for start, meaning in MEANINGS.items():
        if name.startswith(start):
            return f"{meaning} ({error})"
    return str(error)
