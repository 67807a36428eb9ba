"""Reads PostgreSQL's catalogue in one state of it. Names are bound as values and compared; none becomes a part of SQL.

Source of the columns: the chapter "System Catalogs" of PostgreSQL's manual. Types are cast to text, since the driver
would otherwise return "char" and name as bytes and text by turns.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.reasons import CatalogueReason
from sidecar.domain.rule import Table
from sidecar.domain.schema_facts import (
    Access,
    Column,
    ForeignKey,
    Index,
    Policy,
    Relation,
    SchemaFacts,
    Trigger,
    View,
)
from sidecar.domain.schema_judge import SchemaWish

_GROUND = (
    "select pg_is_in_recovery(), exists (select from pg_class where oid = cast('pg_catalog.pg_class' as regclass))"
)

_ROLES = "select cast(rolname as text), rolbypassrls or rolsuper from pg_roles where rolname = any (%(roles)s)"

_RELATIONS = """
select cast(k.oid as bigint), cast(n.nspname as text), cast(k.relname as text), cast(k.relkind as text),
  k.relrowsecurity, k.relforcerowsecurity, cast(s.nspname as text), cast(c.relname as text)
from unnest(cast(%(schemas)s as text[]), cast(%(names)s as text[])) asked (schema, name)
join pg_namespace s on s.nspname = asked.schema
join pg_class c on c.relnamespace = s.oid and c.relname = asked.name
cross join lateral (select c.oid union select p.relid from pg_partition_tree(c.oid) p) parts (oid)
join pg_class k on k.oid = parts.oid
join pg_namespace n on n.oid = k.relnamespace
"""

_ACCESS = """
select cast(c.oid as bigint), cast(r.rolname as text), array_remove(array[
  case when has_any_column_privilege(r.oid, c.oid, 'select') then 'select' end,
  case when has_any_column_privilege(r.oid, c.oid, 'insert') then 'insert' end,
  case when has_any_column_privilege(r.oid, c.oid, 'update') then 'update' end,
  case when has_table_privilege(r.oid, c.oid, 'delete') then 'delete' end
], null)
from pg_class c cross join pg_roles r
where c.oid = any (cast(%(oids)s as oid[])) and r.rolname = any (%(roles)s)
  and has_schema_privilege(r.oid, c.relnamespace, 'usage')
"""

_POLICIES = """
select cast(p.polrelid as bigint), cast(p.polname as text), cast(p.polcmd as text), p.polpermissive, array(
  select cast(r.rolname as text) from pg_roles r where r.rolname = any (%(roles)s) and exists (
    select from unnest(p.polroles) applied (role) where applied.role = 0 or pg_has_role(r.oid, applied.role, 'member')
  )
)
from pg_policy p where p.polrelid = any (cast(%(oids)s as oid[]))
"""

_COLUMNS = """
select cast(a.attrelid as bigint), cast(a.attname as text), array(
  select cast(r.rolname as text) from pg_roles r where r.rolname = any (%(roles)s)
    and has_schema_privilege(r.oid, c.relnamespace, 'usage')
    and has_column_privilege(r.oid, a.attrelid, a.attnum, 'insert')
), array(
  select cast(r.rolname as text) from pg_roles r where r.rolname = any (%(roles)s)
    and has_schema_privilege(r.oid, c.relnamespace, 'usage')
    and has_column_privilege(r.oid, a.attrelid, a.attnum, 'update')
)
from pg_attribute a join pg_class c on c.oid = a.attrelid
where a.attrelid = any (cast(%(oids)s as oid[])) and a.attnum > 0 and not a.attisdropped
"""

_TRIGGERS = """
select cast(g.tgrelid as bigint), cast(g.tgname as text), cast(g.tgenabled as text), cast(g.tgtype as integer),
  cast(n.nspname as text), cast(p.proname as text)
from pg_trigger g join pg_proc p on p.oid = g.tgfoid join pg_namespace n on n.oid = p.pronamespace
where g.tgrelid = any (cast(%(oids)s as oid[])) and not g.tgisinternal
"""

_FUNCTIONS = """
select distinct asked.schema, asked.name
from unnest(cast(%(schemas)s as text[]), cast(%(names)s as text[])) asked (schema, name)
join pg_namespace n on n.nspname = asked.schema
join pg_proc p on p.pronamespace = n.oid and p.proname = asked.name
"""

# Before PostgreSQL 18 there is no conenforced, and every foreign key is enforced.
_FOREIGN_KEYS = """
select cast(k.conrelid as bigint), cast(k.conname as text), array(
  select cast(a.attname as text) from unnest(k.conkey) with ordinality part (number, position)
  join pg_attribute a on a.attrelid = k.conrelid and a.attnum = part.number order by part.position
), cast(n.nspname as text), cast(f.relname as text),
  k.convalidated and coalesce(cast(to_jsonb(k) ->> 'conenforced' as boolean), true)
from pg_constraint k join pg_class f on f.oid = k.confrelid join pg_namespace n on n.oid = f.relnamespace
where k.contype = 'f' and k.conrelid = any (cast(%(oids)s as oid[]))
"""

_INDEXES = """
select cast(i.indrelid as bigint), array(
  select cast(a.attname as text) from unnest(cast(i.indkey as smallint[])) with ordinality part (number, position)
  left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = part.number and part.number > 0
  where part.position <= i.indnkeyatts order by part.position
), i.indpred is null
from pg_index i where i.indrelid = any (cast(%(oids)s as oid[])) and i.indisvalid and i.indisready
"""

# A view reads with its owner's rights unless it says security_invoker; a materialised view holds what its owner saw.
# One such link is enough: what a view of this kind reads through others, it reads with its owner's rights as well.
_VIEWS = """
with recursive reach (oid, root, opens) as (
  select asked.oid, asked.oid, false from unnest(cast(%(oids)s as oid[])) asked (oid)
  union
  select v.oid, reach.root, reach.opens or v.relkind = 'm' or not exists (
    select from pg_options_to_table(v.reloptions) o
    where o.option_name = 'security_invoker' and cast(o.option_value as boolean)
  )
  from reach
  join pg_depend d on d.refclassid = cast('pg_catalog.pg_class' as regclass) and d.refobjid = reach.oid
    and d.classid = cast('pg_catalog.pg_rewrite' as regclass)
  join pg_rewrite w on w.oid = d.objid
  join pg_class v on v.oid = w.ev_class and v.relkind in ('v', 'm') and v.oid <> reach.oid
)
select distinct cast(n.nspname as text), cast(v.relname as text), cast(v.relkind as text), cast(reach.root as bigint),
  array(
    select cast(r.rolname as text) from pg_roles r where r.rolname = any (%(roles)s)
      and has_schema_privilege(r.oid, n.oid, 'usage')
      and (
        has_any_column_privilege(r.oid, v.oid, 'select, insert, update') or has_table_privilege(r.oid, v.oid, 'delete')
      )
    order by 1
  )
from reach join pg_class v on v.oid = reach.oid join pg_namespace n on n.oid = v.relnamespace
where reach.opens and n.nspname = any (%(exposed)s)
"""

_COMMANDS = {"r": "select", "a": "insert", "w": "update", "d": "delete", "*": "all"}
_EVENTS = {4: "insert", 8: "delete", 16: "update", 32: "truncate"}
_FIRES = ("O", "A")  # D never does, and R only where changes are replayed


async def read_schema(connection: AsyncConnection, wish: SchemaWish) -> SchemaFacts | CatalogueReason:
    """Return what the catalogue says of the objects that `wish` names, or why it is not to be believed."""
    [(standby, readable)] = await _ask(connection, _GROUND)
    if standby:
        return CatalogueReason.STANDBY  # it may lag behind what stands on the primary
    if not readable:
        return CatalogueReason.CATALOGUE_UNREADABLE  # what does not show itself shows nothing else either
    roles = list(wish.roles)
    relations, of = await _relations(connection, wish.relations)
    about: dict[str, object] = {"oids": list(of), "roles": roles}
    functions = [t.function for t in wish.triggers if t.function is not None]
    return SchemaFacts(
        roles=dict(await _ask(connection, _ROLES, {"roles": roles})),
        relations=relations,
        access=tuple(
            Access(table=of[oid], role=role, commands=frozenset(commands))
            for oid, role, commands in await _ask(connection, _ACCESS, about)
        ),
        policies=tuple(
            Policy(table=of[oid], name=name, command=_COMMANDS[command], permissive=permissive, roles=frozenset(bound))
            for oid, name, command, permissive, bound in await _ask(connection, _POLICIES, about)
        ),
        columns=tuple(
            Column(table=of[oid], name=name, writers={"insert": frozenset(inserts), "update": frozenset(updates)})
            for oid, name, inserts, updates in await _ask(connection, _COLUMNS, about)
        ),
        triggers=tuple([_trigger(of, *row) for row in await _ask(connection, _TRIGGERS, about)]),
        functions=frozenset(Table(*row) for row in await _ask(connection, _FUNCTIONS, _pairs(functions))),
        foreign_keys=tuple(
            ForeignKey(table=of[oid], name=name, columns=tuple(cols), references=Table(schema, to), validated=valid)
            for oid, name, cols, schema, to, valid in await _ask(connection, _FOREIGN_KEYS, about)
        ),
        indexes=tuple(
            Index(table=of[oid], columns=tuple(columns), whole=whole)
            for oid, columns, whole in await _ask(connection, _INDEXES, about)
        ),
        views=await _views(connection, wish, relations, of),
    )


async def _relations(
    connection: AsyncConnection, tables: Sequence[Table]
) -> tuple[Mapping[Table, Relation], Mapping[int, Table]]:
    """Return the named relations with their partitions, and the table of each oid."""
    relations: dict[Table, Relation] = {}
    of: dict[int, Table] = {}
    for oid, schema, name, kind, secured, forced, *root in await _ask(connection, _RELATIONS, _pairs(tables)):
        table, above = Table(schema, name), Table(*root)
        of[oid] = table
        if table == above or table not in relations:
            relations[table] = Relation(
                table=table,
                kind=kind,
                row_security=secured,
                forced=forced,
                part_of=above if above != table else None,
            )
    return relations, of


def _trigger(
    of: Mapping[int, Table], oid: int, name: str, enabled: str, kind: int, schema: str, function: str
) -> Trigger:
    return Trigger(
        table=of[oid],
        name=name,
        enabled=enabled in _FIRES,
        events=frozenset(event for bit, event in _EVENTS.items() if kind & bit),
        function=Table(schema, function),
    )


async def _views(
    connection: AsyncConnection, wish: SchemaWish, relations: Mapping[Table, Relation], of: Mapping[int, Table]
) -> tuple[View, ...]:
    kept = set(wish.protected)
    roots = [oid for oid, table in of.items() if {table, relations[table].part_of} & kept]
    about: dict[str, object] = {"oids": roots, "roles": list(wish.roles), "exposed": list(wish.exposed_schemas)}
    return tuple(
        View(view=Table(schema, name), kind=kind, over=of[root], roles=frozenset(roles))
        for schema, name, kind, root, roles in await _ask(connection, _VIEWS, about)
    )


def _pairs(tables: Iterable[Table]) -> dict[str, object]:
    asked = list(tables)
    return {"schemas": [table.schema for table in asked], "names": [table.name for table in asked]}


async def _ask(
    connection: AsyncConnection, statement: str, values: Mapping[str, object] | None = None
) -> Sequence[tuple[Any, ...]]:
    found = await connection.exec_driver_sql(statement, dict(values or {}))
    return [tuple(row) for row in found]
