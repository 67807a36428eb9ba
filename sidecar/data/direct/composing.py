"""Pieces of SQL: names quoted, values bound, types taken from the tables themselves. Nothing is formatted."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.data.exact import sent_json
from sidecar.domain.rule import Table


def name_of(table: Table) -> sql.Identifier:
    """Quote a table's qualified name."""
    return sql.Identifier(_escaped(table.schema), _escaped(table.name))


def column_of(alias: str, column: str) -> sql.Identifier:
    """Quote a column of a row that the statement calls `alias`."""
    return sql.Identifier(alias, _escaped(column))


def listed(columns: Sequence[str], alias: str | None = None) -> sql.Composed:
    """Quote columns, with commas between them."""
    quoted = [sql.Identifier(_escaped(c)) if alias is None else column_of(alias, c) for c in columns]
    return sql.SQL(", ").join(quoted)


def _escaped(name: str) -> str:
    return name.replace("%", "%%")  # the driver reads % as the start of a placeholder, quoted or not


def records(column: str, values: Sequence[object]) -> str:
    """Return values as records of a table, so that PostgreSQL itself reads each as the column's own type."""
    return sent_json([{column: value} for value in values])


async def rows_of(
    connection: AsyncConnection, statement: sql.Composable, values: Mapping[str, object]
) -> Sequence[tuple[Any, ...]]:
    """Run one statement and return its rows."""
    found = await connection.exec_driver_sql(statement.as_string(), dict(values))
    return [tuple(row) for row in found]
