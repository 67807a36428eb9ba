"""One look inside one transaction: sight proven first, then the plan, then the detection, then the counts."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.data.canary import Canary
from sidecar.data.direct.composing import column_of, name_of, rows_of
from sidecar.data.direct.plan_guard import require_anti_joins
from sidecar.data.direct.relations import AUTH_USERS, relations_of, require_columns, tables_of
from sidecar.data.direct.statements import (
    anti_joins_of,
    catalogue_query,
    count_of,
    missing_of,
    window_of,
)
from sidecar.data.exact import exact_json, sent_json
from sidecar.data.shapes import amount_of, catalogue_of
from sidecar.data.streams import Noted, noting
from sidecar.domain.look import Catalogue, Counts, ProofFailure, Unproven
from sidecar.domain.rule import Amount, FromBalance, Origin, Rule, Table
from sidecar.sights import BalanceBook

YOUNG_AT_MOST = 5000  # they are only counted, never written: the number may be a floor
STREAMED_ROWS = 1000  # of the detection, in memory at once
WINDOW_ROWS = 5000  # of balances
# Room for the hash of a whole table, and no way to ask once for each row unless no other is left.
_PLANNER = """
select set_config('enable_nestloop', 'off', true),
  set_config('work_mem', greatest(pg_size_bytes(current_setting('work_mem')) / 1024, 65536) || 'kB', true)
"""
_SEEN = """
select count(*) from {table} t
where {key} = (select {sought} from json_populate_record(cast(null as {table}), cast(%(record)s as json)) r)
"""


@dataclass(slots=True)
class Missing:
    """Keys without their row: with evidence that is old enough, and with young evidence alone."""

    candidates: list[str] = field(default_factory=list)
    young: list[str] = field(default_factory=list)


async def relations_proven(
    connection: AsyncConnection, rule: Rule, canary: Canary | None
) -> Mapping[Table, int] | Unproven:
    """Prove sight of every table that the look reads. Raises: SchemaMismatch, AccessDenied."""
    tables = [*tables_of(rule), *([canary.table] if canary else [])]
    relations = await relations_of(connection, tables)
    if isinstance(relations, Unproven):
        return relations
    await require_columns(connection, rule, relations)
    return (await miss_canary(connection, canary) if canary else None) or relations


async def miss_canary(connection: AsyncConnection, canary: Canary) -> Unproven | None:
    """See the row that must exist."""
    statement = sql.SQL(_SEEN).format(
        table=name_of(canary.table), key=column_of("t", canary.key), sought=column_of("r", canary.key)
    )
    record = sent_json({canary.key: canary.value})
    [(seen,)] = await rows_of(connection, statement, {"record": record})
    if seen == 1:
        return None
    detail = f"{canary.table} shows {seen} rows where exactly the one asked for must be"
    return Unproven(failure=ProofFailure.CANARY_UNSEEN, detail=detail)


async def read_catalogue(connection: AsyncConnection, rule: Rule, relations: Mapping[Table, int]) -> Catalogue:
    """Ask what the fixture's function asks, whether or not it is installed."""
    target, movements = rule.detect.expects.table, rule.detect.movements
    asked = {"target": relations[target], "ledger": relations[movements.table if movements else target]}
    [(text,)] = await rows_of(connection, catalogue_query(), asked)
    return catalogue_of(exact_json(text))


async def find_missing(connection: AsyncConnection, rule: Rule, until: datetime) -> Missing:
    """Run the detection, once EXPLAIN has said that it is an anti join. Raises: PlanUnfit.

    Rows are streamed: as a cursor it would be planned without parallel workers and for its first rows only.
    """
    await rows_of(connection, sql.SQL(_PLANNER), {})
    statement, values = missing_of(rule), {"until": until}
    [(explained,)] = await rows_of(connection, sql.SQL("explain (format json) ") + statement, values)
    require_anti_joins(explained, anti_joins_of(rule))
    found = Missing()
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)  # noqa: S101  # Sessions names the driver itself
    async with driver.cursor() as cursor:
        async for key, old in cursor.stream(statement, values, size=STREAMED_ROWS):
            if old:
                found.candidates.append(key)
            elif len(found.young) < YOUNG_AT_MOST:
                found.young.append(key)
    return found


async def explain_missing(connection: AsyncConnection, rule: Rule, until: datetime) -> str:
    """Return what PostgreSQL would do for the detection, as text for people; nothing is carried out."""
    await rows_of(connection, sql.SQL(_PLANNER), {})
    explained = await rows_of(connection, sql.SQL("explain ") + missing_of(rule), {"until": until})
    return "\n".join(str(line) for (line,) in explained)


async def count_all(connection: AsyncConnection, rule: Rule) -> Counts:
    """Count evidence, expected rows and users, in the very state of the database that was looked at."""
    seen: dict[Table, int] = {}
    for table in (rule.detect.ledger.table, rule.detect.expects.table, AUTH_USERS):
        if table not in seen:
            [(seen[table],)] = await rows_of(connection, count_of(table), {})
    return Counts(
        ledger_rows=seen[rule.detect.ledger.table],
        expected_rows=seen[rule.detect.expects.table],
        subjects=seen[AUTH_USERS],
    )


async def note_balances(connection: AsyncConnection, rule: Rule, book: BalanceBook, look_id: int, at: datetime) -> None:
    """Remember balances that changed, where the rule may ever restore one from a snapshot."""
    source = rule.repair.values[rule.balance_column]
    if not isinstance(source, FromBalance) or Origin.SNAPSHOT not in source.order:
        return
    table = str(rule.detect.expects.table)
    async with contextlib.aclosing(_balances(connection, rule)) as balances:
        async for _ in noting(balances, book, look_id, table, at, Noted()):
            pass


async def _balances(connection: AsyncConnection, rule: Rule) -> AsyncGenerator[tuple[str, Amount | None]]:
    expects, money = rule.detect.expects, rule.balance_column
    after: str | None = None
    while True:
        statement = window_of(expects.table, expects.key, money, first=after is None)
        values = {"rows": WINDOW_ROWS, "after": sent_json({expects.key: after})}
        page = await rows_of(connection, statement, values)
        amounts = exact_json(f"[{','.join(text or 'null' for _, text in page)}]")  # one parser a page, not one a row
        for (key, _), amount in zip(page, amounts, strict=True):
            yield key, None if amount is None else amount_of(amount)
        if len(page) < WINDOW_ROWS:
            return
        after = page[-1][0]
