"""Bring the memory's schema up to date, in a transaction that the caller has opened."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.errors import StateUnavailable
from sidecar.state.tables import HEAD


async def version(connection: AsyncConnection, schema: str | None = None) -> str | None:
    """Return the revision that the tables have; None where there are none yet."""
    versions = sa.table("alembic_version", sa.column("version_num", sa.Text), schema=schema)
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version", schema=schema)):
        return None
    found: str | None = await connection.scalar(sa.select(versions.c.version_num))
    return found


async def upgrade(connection: AsyncConnection, before: str | None, memory: str, schema: str | None = None) -> None:
    """Run the revisions after `before`. `memory` names the memory in errors. Raises: StateUnavailable."""
    await connection.run_sync(_upgrade, before, memory, schema)


def _upgrade(connection: sa.Connection, before: str | None, memory: str, schema: str | None) -> None:
    from alembic import command  # noqa: PLC0415  # heavy, and needed only where the schema is not at its head
    from alembic.config import Config  # noqa: PLC0415  # likewise
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # likewise

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise StateUnavailable(
            f"{memory} has schema {before}, and this program knows up to {HEAD}: "
            "a newer Sidecar wrote it; install that one, or use another memory"
        )
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    command.upgrade(config, "head")
