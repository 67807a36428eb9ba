"""Open Sidecar's memory: make its file private, bring its schema up to date, hand it out, close it."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from sidecar.errors import ConfigError, Problem
from sidecar.ports import State
from sidecar.state.database import SQLiteDatabase, unavailable
from sidecar.state.postgres import open_in_database
from sidecar.state.schema import upgrade, version
from sidecar.state.sqlite import SQLiteState
from sidecar.state.tables import HEAD

BUSY_TIMEOUT_SECONDS = 10.0
PREFIX = "sqlite:///"
SERVERS = ("postgresql://", "postgres://")


@contextlib.asynccontextmanager
async def open_state(url: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> AsyncIterator[State]:
    """Open the memory at `url`, and bring its schema up to date.

    `sqlite:///PATH`: file and folder are created where they are missing. `postgresql://…`: schema and roles must be
    there, from the SQL of `sidecar schema --fixture`. Raises: ConfigError for another kind of URL; StateUnavailable.
    """
    if url.startswith(SERVERS):
        async with open_in_database(url) as state:
            yield state
        return
    path = _path(url)
    with unavailable(path):
        _make_private(path)
    database = SQLiteDatabase(path, busy_timeout_seconds=busy_timeout_seconds)
    try:
        await _migrate(database, path)
        yield SQLiteState(database)
    finally:
        await database.close()


def _path(url: str) -> Path:
    name = url.removeprefix(PREFIX)
    if name in (url, "", ":memory:") or "?" in name:
        problem = Problem(
            file="configuration",
            line=0,
            column=0,
            path="state.url",
            message="not the URL of a SQLite file",
            hint=f"write {PREFIX}./var/sidecar.db",
        )
        raise ConfigError((problem,))
    return Path(name).absolute()


def _make_private(path: Path) -> None:
    """Create what is missing for the owner alone: plans hold e-mails. SQLite gives its log the file's mode."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


async def _migrate(database: SQLiteDatabase, path: Path) -> None:
    async with database.reading() as connection:
        if await version(connection) == HEAD:
            return
    async with database.writing() as connection:
        # Asked again under the write lock: another process may have brought the schema up to date meanwhile.
        before = await version(connection)
        if before != HEAD:
            await upgrade(connection, before, f"Sidecar's memory {path}")
