"""Many rows in one statement where the database takes arrays, one by one where it does not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.state.store import on_postgresql, slices

Row: TypeAlias = Mapping[str, object]
ARRAY_ROWS = 5000  # in one statement of arrays: some milliseconds of the event loop


async def add(connection: AsyncConnection, insert: sa.Insert, rows: Sequence[Row], common: Row | None = None) -> None:
    """Run `insert` for every row; all rows have the same columns, and those of `common` with one value for all.

    With ON CONFLICT no key may come twice: PostgreSQL changes no row a second time within one statement.
    """
    if not on_postgresql(connection):
        for some in slices(rows):
            await connection.execute(insert, [{**row, **(common or {})} for row in some])
        return
    shared = {name: sa.literal(value, insert.table.c[name].type) for name, value in (common or {}).items()}
    for given in arrays(insert.table, rows):
        names = [*given.c.keys(), *shared]
        await connection.execute(insert.from_select(names, sa.select(*given.c, *shared.values())))


async def change(connection: AsyncConnection, update: sa.Update, by: str, rows: Sequence[Row]) -> int:
    """Run `update` with each of `rows` on what its column `by` names; return how many matched."""
    column = update.table.c[by]
    matched = 0
    if on_postgresql(connection):
        for given in arrays(update.table, rows):
            new = {name: value for name, value in given.c.items() if name != by}
            matched += (await connection.execute(update.where(column == given.c[by]).values(**new))).rowcount
        return matched
    for some in slices(rows):
        new = {name: sa.bindparam(f"new_{name}") for name in some[0] if name != by}
        named = update.where(column == sa.bindparam(f"new_{by}")).values(**new)
        matched += (await connection.execute(named, [_prefixed(row) for row in some])).rowcount
    return matched


def _prefixed(row: Row) -> dict[str, object]:
    return {f"new_{name}": value for name, value in row.items()}


def arrays(table: sa.FromClause, rows: Sequence[Row]) -> Iterator[sa.TableValuedAlias]:
    """Yield relations named `given` that hold the rows, with the types of the table's columns; for PostgreSQL."""
    for start in range(0, len(rows), ARRAY_ROWS):
        some = rows[start : start + ARRAY_ROWS]
        columns = [table.c[name] for name in some[0]]
        values = [sa.literal([row[c.name] for row in some], ARRAY(c.type)) for c in columns]
        outline = [sa.column(c.name, c.type) for c in columns]
        yield sa.func.unnest(*values).table_valued(*outline, name="given").render_derived()
