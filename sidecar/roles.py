"""The SQL of Sidecar's three roles, with exactly the privileges that a set of rules needs."""

from collections.abc import Iterable
from importlib import resources

from psycopg import sql

from sidecar.domain.rule import Rule, Table
from sidecar.domain.survey import Survey


def roles_sql(rules: Iterable[Rule | Survey]) -> str:
    """Return SQL that makes roles, login and schema, and grants what `rules` read, insert, correct and undo."""
    fixed = resources.files("sidecar").joinpath("roles.sql").read_text(encoding="utf-8")
    tables: dict[Table, sql.Composable] = {}
    parts: list[sql.Composable] = []
    for rule in rules:
        if isinstance(rule, Survey):
            tables.update({table: _readable(table) for table in rule.tables if table.schema != "auth"})
            continue
        target = rule.detect.expects.table
        read = [target]
        if rule.detect.movements is not None:
            read.append(rule.detect.movements.table)
        tables.update({table: _readable(table) for table in read})
        parts.append(_writable(target, tuple(rule.repair.values), tuple(sorted(rule.repair.money))))
    return fixed + sql.SQL("").join([*tables.values(), *parts]).as_string()


def _name(table: Table) -> sql.Identifier:
    return sql.Identifier(table.schema, table.name)


def _readable(table: Table) -> sql.Composed:
    return sql.SQL(
        "\n-- Read: {table}\n"
        "grant usage on schema {schema} to sidecar_detector;\n"
        "grant select on {table} to sidecar_detector;\n"
    ).format(schema=sql.Identifier(table.schema), table=_name(table))


def _writable(table: Table, columns: tuple[str, ...], money: tuple[str, ...]) -> sql.Composed:
    """Grant the columns that a rule writes. Row level security stays on for fixer and operator: policies name them."""
    named = sql.SQL(", ")
    return sql.SQL(_WRITABLE).format(
        table=_name(table),
        text=sql.Literal(_name(table).as_string()),  # as regclass reads it
        schema=sql.Identifier(table.schema),
        columns=named.join(map(sql.Identifier, columns)),
        money=named.join(map(sql.Identifier, money)),
    )


_WRITABLE = """
-- Repair: {table}
grant usage on schema {schema} to sidecar_fixer, sidecar_operator;
grant select, insert ({columns}), update ({money}) on {table} to sidecar_fixer;
grant select, delete on {table} to sidecar_operator;
drop policy if exists sidecar_fixer_reads on {table};
drop policy if exists sidecar_fixer_inserts on {table};
drop policy if exists sidecar_fixer_corrects on {table};
drop policy if exists sidecar_operator_reads on {table};
drop policy if exists sidecar_operator_undoes on {table};
create policy sidecar_fixer_reads on {table} for select to sidecar_fixer using (true);
create policy sidecar_fixer_inserts on {table} for insert to sidecar_fixer with check (true);
create policy sidecar_fixer_corrects on {table} for update to sidecar_fixer using (true) with check (true);
create policy sidecar_operator_reads on {table} for select to sidecar_operator using (true);
create policy sidecar_operator_undoes on {table} for delete to sidecar_operator using (true);
-- What refers to it: an undo must see it, or a cascade would take along what nobody listed.
do $$ declare child regclass; begin
  for child in
    select distinct k.conrelid::regclass from pg_catalog.pg_constraint k
    where k.contype = 'f' and (
      k.confrelid = {text}::regclass
      or k.confrelid in (select p.relid from pg_catalog.pg_partition_tree({text}::regclass) p)
    )
  loop
    execute 'grant usage on schema ' || (
      select quote_ident(n.nspname) from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = child
    ) || ' to sidecar_detector';
    execute 'grant select on ' || child || ' to sidecar_detector';
  end loop;
end $$;
"""
