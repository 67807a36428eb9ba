"""Open Sidecar's memory: make the file private, bring its schema up to date, hand it out, close it."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.errors import ConfigError, Problem, StateUnavailable
from sidecar.ports import State
from sidecar.state.database import Database, unavailable
from sidecar.state.sqlite import SQLiteState
from sidecar.state.tables import HEAD

BUSY_TIMEOUT_SECONDS = 10.0
PREFIX = "sqlite:///"


@contextlib.asynccontextmanager
async def open_state(url: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> AsyncIterator[State]:
    """Open the memory at `url` (`sqlite:///PATH`), creating file and folder where they are missing.

    Raises: ConfigError for another kind of URL; StateUnavailable.
    """
    path = _path(url)
    with unavailable(path):
        _make_private(path)
    database = Database(path, busy_timeout_seconds=busy_timeout_seconds)
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


async def _migrate(database: Database, path: Path) -> None:
    async with database.reading() as connection:
        if await _version(connection) == HEAD:
            return
    async with database.writing() as connection:
        # Asked again under the write lock: another process may have brought the schema up to date meanwhile.
        version = await _version(connection)
        if version != HEAD:
            await connection.run_sync(_upgrade, version, path)


async def _version(connection: AsyncConnection) -> str | None:
    tables = sa.text("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
    if not await connection.scalar(tables):
        return None
    version: str | None = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return version


def _upgrade(connection: sa.Connection, version: str | None, path: Path) -> None:
    from alembic import command  # noqa: PLC0415  # heavy, and needed only where the schema is not at its head
    from alembic.config import Config  # noqa: PLC0415  # likewise
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # likewise

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise StateUnavailable(
            f"Sidecar's memory {path} has schema {version}, and this program knows up to {HEAD}: "
            "a newer Sidecar wrote it; install that one, or name another file in state.url"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
