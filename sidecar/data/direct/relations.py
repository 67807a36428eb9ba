"""What must hold of the tables and of our sight before a statement about them is believed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.data.direct.composing import rows_of
from sidecar.domain.look import ProofFailure, Unproven
from sidecar.domain.rule import Rule, Table
from sidecar.errors import AccessDenied, SchemaMismatch

AUTH_USERS = Table("auth", "users")
WITH_ZONE = "timestamp with time zone"
# Types of which two equal values may be spelled in two ways, so that a key as text would not name one subject.
UNFIT_KEYS = frozenset({"numeric", "real", "double precision", "character", "citext", "jsonb", "json", "xml"})
KINDS = {"v": "a view", "m": "a materialised view", "f": "a foreign table", "S": "a sequence", "c": "a type"}

_GROUND = "select now(), pg_is_in_recovery()"

_RELATIONS = """
select asked.schema, asked.name, c.oid, cast(c.relkind as text), row_security_active(c.oid), exists (
  with recursive parts as (
    select c.oid union select i.inhrelid from pg_inherits i join parts on i.inhparent = parts.oid
  )
  select from parts join pg_class k on k.oid = parts.oid where k.relkind = 'f'
)
from unnest(cast(%(schemas)s as text[]), cast(%(names)s as text[])) with ordinality asked (schema, name, place)
left join pg_namespace n on n.nspname = asked.schema
left join pg_class c on c.relnamespace = n.oid and c.relname = asked.name
order by asked.place
"""

_COLUMNS = """
select n.nspname, c.relname, a.attname, format_type(coalesce(nullif(y.typbasetype, 0), y.oid), null),
  has_column_privilege(c.oid, a.attnum, 'select')
from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_type y on y.oid = a.atttypid
where a.attrelid = any (cast(%(tables)s as oid[])) and a.attnum > 0 and not a.attisdropped
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """When a transaction began, by the database's clock, and whether the database is a standby."""

    now: datetime
    standby: bool


async def ground_of(connection: AsyncConnection) -> Ground:
    """Ask where this transaction stands."""
    [(now, standby)] = await rows_of(connection, sql.SQL(_GROUND), {})
    return Ground(now=now, standby=standby)


async def relations_of(connection: AsyncConnection, tables: Iterable[Table]) -> Mapping[Table, int] | Unproven:
    """Return the tables' oids when all are tables whose every row this role sees; Unproven when rows are hidden.

    Raises: SchemaMismatch for what is missing or no table.
    """
    asked = list(dict.fromkeys(tables))
    values = {"schemas": [table.schema for table in asked], "names": [table.name for table in asked]}
    found: dict[Table, int] = {}
    for schema, name, oid, kind, hidden, foreign in await rows_of(connection, sql.SQL(_RELATIONS), values):
        table = Table(schema, name)
        if oid is None:
            raise SchemaMismatch(f"{table} does not exist")
        if kind not in ("r", "p"):
            raise SchemaMismatch(f"{table} is {KINDS.get(kind, 'no table')}, not a table")
        if foreign:
            raise SchemaMismatch(f"{table} has a part that is a foreign table")
        if hidden:
            detail = f"row level security hides rows of {table}: the role that detects must bypass it"
            return Unproven(failure=ProofFailure.ROWS_HIDDEN, detail=detail)
        found[table] = oid
    return found


async def require_columns(connection: AsyncConnection, rule: Rule, relations: Mapping[Table, int]) -> None:
    """Make sure that the rule's columns are there, may be read and are of types that say what the rule means.

    Raises: SchemaMismatch (a key's type begins with `key_type_unsupported`), AccessDenied.
    """
    types: dict[tuple[Table, str], str] = {}
    unreadable: set[tuple[Table, str]] = set()
    found = await rows_of(connection, sql.SQL(_COLUMNS), {"tables": list(relations.values())})
    for schema, name, column, kind, readable in found:
        types[Table(schema, name), column] = kind
        if not readable:
            unreadable.add((Table(schema, name), column))
    for table, column in _read_by(rule):
        if (table, column) not in types:
            raise SchemaMismatch(f"{table} has no column {column}")
        if (table, column) in unreadable:
            raise AccessDenied(f"the role that detects may not read {table}.{column}")
    _require_keys(rule, types)
    _require_zones(rule, types)


def _read_by(rule: Rule) -> Sequence[tuple[Table, str]]:
    """List the columns that a look, its facts and its verification read of the rule's own tables."""
    source, expects, movements = rule.detect.ledger, rule.detect.expects, rule.detect.movements
    wanted: list[tuple[Table, str | None]] = [
        *((source.table, name) for name in (source.key, source.created)),
        *((expects.table, name) for name in (expects.key, expects.created, *rule.repair.values)),
    ]
    if movements is not None:
        named = (movements.key, movements.created, *movements.order, movements.amount, movements.balance)
        wanted += [(movements.table, name) for name in named]
    return [(table, name) for table, name in dict.fromkeys(wanted) if name is not None]


def _require_keys(rule: Rule, types: Mapping[tuple[Table, str], str]) -> None:
    """Compare types before values: text against uuid compares nothing, whatever spelling a cast would find."""
    expects = rule.detect.expects
    due = _family(types[expects.table, expects.key])
    for source in (rule.detect.ledger, rule.detect.movements):
        if source is None:
            continue
        kind = types[source.table, source.key]
        if kind in UNFIT_KEYS or _family(kind) != due:
            told = f"{source.table}.{source.key} is {kind}, {expects.table}.{expects.key} is {due}"
            raise SchemaMismatch(f"key_type_unsupported: {told}")


def _family(kind: str) -> str:
    """Name types alike whose equal values are spelled alike."""
    if kind in ("smallint", "integer", "bigint"):
        return "bigint"
    return "text" if kind == "character varying" else kind


def _require_zones(rule: Rule, types: Mapping[tuple[Table, str], str]) -> None:
    for source in (rule.detect.ledger, rule.detect.expects, rule.detect.movements):
        if source is not None and source.created is not None and types[source.table, source.created] != WITH_ZONE:
            raise SchemaMismatch(f"{source.table}: {source.created} has no time zone; it must be timestamptz")


def tables_of(rule: Rule) -> list[Table]:
    """List the tables that a look at a rule reads; subjects come last."""
    movements = rule.detect.movements
    named = [rule.detect.ledger.table, rule.detect.expects.table, *([movements.table] if movements else []), AUTH_USERS]
    return list(dict.fromkeys(named))
