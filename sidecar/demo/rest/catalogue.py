"""What the database holds: tables with their columns and keys, functions with their parameters, settings of roles."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from sidecar.demo.rest.errors import RestError
from sidecar.demo.rest.hints import nearest

Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]

_TABLES = """
select c.relname::text, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
       coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid),
                (select pg_catalog.format('nextval(%%L)', i.objid::pg_catalog.regclass) from pg_catalog.pg_depend i
                 where i.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and i.refobjid = a.attrelid
                   and i.refobjsubid = a.attnum and i.deptype = 'i' and a.attidentity <> '')),
       coalesce(array_position(k.conkey, a.attnum), 0)
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_catalog.pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum and a.attgenerated = ''
left join pg_catalog.pg_constraint k on k.conrelid = c.oid and k.contype = 'p'
where n.nspname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
order by c.relname, a.attnum"""

_FUNCTIONS = """
select p.proname::text, p.provolatile = 'v', p.proretset, p.prorettype = 'pg_catalog.void'::pg_catalog.regtype,
       t.typtype = 'c' or coalesce(p.proargmodes::text[] && '{t,b,o}', false),
       coalesce((select json_agg(json_build_array(coalesce(u.name, ''), pg_catalog.format_type(u.type, null),
                                                  u.place <= p.pronargs - p.pronargdefaults,
                                                  coalesce(u.mode = 'v', false))
                                 order by u.place)
                 from unnest(p.proargnames, p.proargtypes::oid[], p.proargmodes::text[])
                      with ordinality u (name, type, mode, place) where u.type is not null), '[]'),
       coalesce(p.proconfig, '{}')
from pg_catalog.pg_proc p
join pg_catalog.pg_type t on t.oid = p.prorettype
where p.pronamespace = %s::pg_catalog.regnamespace and p.prokind = 'f'
  and p.prorettype not in ('pg_catalog.trigger'::pg_catalog.regtype, 'pg_catalog.event_trigger'::pg_catalog.regtype)"""

_SETTINGS = """
select r.rolname::text, s.setconfig
from pg_catalog.pg_db_role_setting s
join pg_catalog.pg_roles r on r.oid = s.setrole
where s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))"""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type and default, both in SQL as the catalogue renders them."""

    type: str
    default: str | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view with its primary key."""

    name: str
    columns: Mapping[str, ColumnType]
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function; `type` is SQL as the catalogue renders it."""

    name: str
    type: str
    required: bool
    variadic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function that can be called; `settings` are those that it carries itself."""

    name: str
    volatile: bool
    returns_set: bool
    returns_void: bool
    returns_row: bool
    parameters: tuple[Parameter, ...]
    settings: Mapping[str, str]


class Catalogue:
    """One schema as last read. It is read again whenever something is not found, so that new tables appear."""

    def __init__(self, pool: Pool, schema: str) -> None:
        """Read nothing yet."""
        self._pool = pool
        self.schema = schema
        self._lock = asyncio.Lock()
        self._reads = 0
        self.tables: dict[str, Table] = {}
        self.functions: dict[str, list[Function]] = {}
        self._settings: dict[str, dict[str, str]] = {}

    async def table(self, name: str) -> Table:
        """Return a table. Raises: RestError with PGRST205."""
        if name not in self.tables:
            await self.refresh()
        found = self.tables.get(name)
        if found is None:
            hint = nearest(name, self.tables)
            meant = f"Perhaps you meant the table '{self.schema}.{hint}'" if hint else None
            message = f"Could not find the table '{self.schema}.{name}' in the schema cache"
            raise RestError(404, "PGRST205", message, hint=meant)
        return found

    def settings(self, role: str) -> Mapping[str, str]:
        """Return what a role's transactions start with: the authenticator's settings under its own."""
        return {**self._settings.get("authenticator", {}), **self._settings.get(role, {})}

    def forget(self) -> None:
        """Have the next request read the catalogue again: the database has said something that does not fit it."""
        self.tables = {}
        self.functions = {}

    async def refresh(self) -> None:
        """Read the catalogue again; callers that come while it is being read share the next reading."""
        seen = self._reads
        async with self._lock:
            if self._reads > seen + 1:
                return
            async with self._pool.connection() as connection:
                tables = await (await connection.execute(_TABLES, [self.schema])).fetchall()
                functions = await (await connection.execute(_FUNCTIONS, [self.schema])).fetchall()
                settings = await (await connection.execute(_SETTINGS)).fetchall()
            self.tables = _tables(tables)
            self.functions = _functions(functions)
            self._settings = {}
            for role, texts in settings:
                self._settings.setdefault(role, {}).update(_pairs(texts))
            self._reads += 1


def _tables(rows: list[tuple[Any, ...]]) -> dict[str, Table]:
    columns: dict[str, dict[str, ColumnType]] = {}
    keys: dict[str, dict[int, str]] = {}
    for table, column, type_name, default, place in rows:
        known = columns.setdefault(table, {})
        if column is not None:
            known[column] = ColumnType(type_name, default)
        if place:
            keys.setdefault(table, {})[place] = column
    return {
        name: Table(name, known, tuple(column for _, column in sorted(keys.get(name, {}).items())))
        for name, known in columns.items()
    }


def _functions(rows: list[tuple[Any, ...]]) -> dict[str, list[Function]]:
    found: dict[str, list[Function]] = {}
    for name, volatile, returns_set, returns_void, returns_row, parameters, settings in rows:
        function = Function(
            name=name,
            volatile=volatile,
            returns_set=returns_set,
            returns_void=returns_void,
            returns_row=returns_row,
            parameters=tuple(Parameter(*parameter) for parameter in parameters),
            settings=_pairs(settings),
        )
        found.setdefault(name, []).append(function)
    return found


def _pairs(texts: list[str]) -> dict[str, str]:
    """Read `name=value` texts, keeping only limits of time: nothing else is needed before a role is assumed."""
    pairs = dict(text.split("=", 1) for text in texts)
    return {name: value for name, value in pairs.items() if name.endswith("_timeout")}
