"""Write whole statements. Each yields one row: total or null, rows in the answer, body, and for inserts two more.

The shapes are PostgREST's (Query/QueryBuilder.hs, Query/Statements.hs): the work is done in `pgrst_source`, and
PostgreSQL itself renders the JSON, so that no number passes through Python.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidecar.demo.rest.catalogue import ColumnType, Function, Table
from sidecar.demo.rest.clauses import write_limit, write_order, write_select, write_where
from sidecar.demo.rest.query import Column, Field, Query
from sidecar.demo.rest.writer import Writer

_SOURCE = ("pgrst_source",)
_ALL = (Column(Field("*")),)
_CSV = (
    "(select coalesce(string_agg(a.k, ','), '') from (select json_object_keys(r)::text as k from"
    " (select row_to_json(hh) as r from pgrst_source as hh limit 1) s) a) || E'\\n' ||"
    " coalesce(string_agg(substring(_postgrest_t::text, 2, length(_postgrest_t::text) - 2), E'\\n'), '')"
)
_INSERTED = "coalesce(nullif(current_setting('pgrst.inserted', true), '')::int, 0)"


@dataclass(frozen=True, slots=True)
class Shape:
    """How the answer's body looks: `array`, `object`, `csv` or `none`."""

    kind: str
    strip_nulls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The rows of a request's body: its JSON untouched, whether that is one object, and the columns to take from it."""

    text: str
    single: bool
    columns: tuple[str, ...]


def write_body(writer: Writer, shape: Shape, function: Function | None = None) -> None:
    """Write the expression of the answer's body."""
    if shape.kind == "none":
        writer.text("''")
        return
    if shape.kind == "csv":
        writer.text(_CSV)
        return
    scalar = function is not None and not function.returns_row
    single = shape.kind == "object" or (function is not None and not function.returns_set)
    rows = "json_agg(_postgrest_t.pgrst_scalar)" if scalar else "json_agg(_postgrest_t)"
    if shape.strip_nulls:
        rows = f"json_strip_nulls({rows})"
    writer.text(f"coalesce({rows}->0, 'null')::text" if single else f"coalesce({rows}, '[]')::text")


def read(
    table: Table,
    schema: str,
    query: Query,
    *,
    limit: int | None,
    offset: int,
    count: bool,
    shape: Shape,
    count_limit: int | None = None,
) -> Writer:
    """Select rows of a table; `count` counts every row that matches too, up to `count_limit`."""
    source = (schema, table.name)
    writer = Writer().text("with pgrst_source as (select ")
    write_select(writer, source, query.select, table.columns)
    writer.text(" from ").name(*source)
    write_where(writer, source, query.where, table.columns)
    write_order(writer, source, query.order, table.columns)
    write_limit(writer, limit, offset)
    writer.text(")")
    if count:
        writer.text(", pgrst_source_count as (")
        write_counted(writer, table, schema, query)
        write_limit(writer, count_limit, 0)
        writer.text(")")
    writer.text(" select (select count(*) from pgrst_source_count), " if count else " select null::bigint, ")
    writer.text("count(_postgrest_t), ")
    write_body(writer, shape)
    return writer.text(" from (select * from pgrst_source) _postgrest_t")


def write_counted(writer: Writer, table: Table, schema: str, query: Query) -> Writer:
    """Write the selection of every row that a query matches."""
    source = (schema, table.name)
    writer.text("select 1 from ").name(*source)
    write_where(writer, source, query.where, table.columns)
    return writer


def insert(
    table: Table,
    schema: str,
    query: Query,
    payload: Payload,
    *,
    resolution: str | None,
    defaults: bool,
    returning: str | None,
    shape: Shape,
) -> Writer:
    """Insert rows, all or none. `resolution` is `ignore`, `merge` or None."""
    writer = Writer().text("with pgrst_source as (insert into ").name(schema, table.name)
    if payload.columns:
        writer.text("(")
        for column in writer.each(payload.columns):
            writer.name(column)
        writer.text(")")
    writer.text(" select ")
    for column in writer.each(payload.columns):
        writer.name("pgrst_body", column)
    _write_payload(writer, payload, table.columns, defaults=defaults)
    if resolution == "merge":
        writer.text(f" where set_config('pgrst.inserted', ({_INSERTED} + 1)::text, true) <> '0'")
    _write_conflict(writer, query.on_conflict or table.key, payload, resolution)
    _write_returning(writer, table, schema, query, returning)
    writer.text(") select null::bigint, count(_postgrest_t), ")
    write_body(writer, shape)
    _write_location(writer, table if returning == "headers-only" else None)
    writer.text(
        ", nullif(current_setting('pgrst.inserted', true), '')::int" if resolution == "merge" else ", null::int"
    )
    _write_returned(writer, query, table.columns, shape)
    return writer


def _write_conflict(writer: Writer, target: Sequence[str], payload: Payload, resolution: str | None) -> None:
    if resolution is None or not target:
        return
    writer.text(" on conflict (")
    for column in writer.each(target):
        writer.name(column)
    if resolution == "ignore" or not payload.columns:
        writer.text(") do nothing")
        return
    writer.text(") do update set ")
    for column in writer.each(payload.columns):
        writer.name(column).text(" = excluded.").name(column)
    writer.text(f" where set_config('pgrst.inserted', ({_INSERTED} - 1)::text, true) <> '-1'")


def _write_location(writer: Writer, table: Table | None) -> None:
    """Write the key of the row that was inserted, if it is one, as filters; an empty list otherwise."""
    if table is None:
        writer.text(", array[]::text[]")
        return
    writer.text(
        ", case when count(_postgrest_t) = 1 then coalesce((with data as (select row_to_json(_) as row"
        " from pgrst_source as _ limit 1) select array_agg(json_data.key || '=' || coalesce('eq.' || json_data.value,"
        " 'is.null')) from data cross join json_each_text(data.row) as json_data where json_data.key = any("
    )
    writer.value(list(table.key)).text(")), array[]::text[]) else array[]::text[] end")


def update(
    table: Table,
    schema: str,
    query: Query,
    payload: Payload,
    *,
    defaults: bool,
    returning: str | None,
    shape: Shape,
) -> Writer:
    """Update the rows that the filters match."""
    source = (schema, table.name)
    writer = Writer().text("with pgrst_source as (")
    if payload.columns:
        writer.text("update ").name(*source).text(" set ")
        for column in writer.each(payload.columns):
            writer.name(column).text(" = ").name("pgrst_body", column)
        _write_payload(writer, payload, table.columns, defaults=defaults)
        write_where(writer, source, query.where, table.columns)
        _write_returning(writer, table, schema, query, returning)
    else:
        writer.text("select * from ").name(*source).text(" where false")
    return _write_changed(writer, query, table, shape)


def delete(table: Table, schema: str, query: Query, *, returning: str | None, shape: Shape) -> Writer:
    """Delete the rows that the filters match."""
    source = (schema, table.name)
    writer = Writer().text("with pgrst_source as (delete from ").name(*source)
    write_where(writer, source, query.where, table.columns)
    _write_returning(writer, table, schema, query, returning)
    return _write_changed(writer, query, table, shape)


def _write_changed(writer: Writer, query: Query, table: Table, shape: Shape) -> Writer:
    writer.text(") select null::bigint, count(_postgrest_t), ")
    write_body(writer, shape)
    _write_returned(writer, query, table.columns, shape)
    return writer


def _write_returning(writer: Writer, table: Table, schema: str, query: Query, returning: str | None) -> None:
    if returning in {None, "minimal"}:
        writer.text(" returning 1")
        return
    wanted = {column.field.name for column in query.select}
    writer.text(" returning ")
    for column in writer.each(["*"] if "*" in wanted else sorted(wanted | set(table.key))):
        if column == "*":
            writer.name(schema, table.name).text(".*")
        else:
            writer.name(schema, table.name, column)


def _write_returned(writer: Writer, query: Query, types: Mapping[str, ColumnType], shape: Shape) -> None:
    """Write where the changed rows come from, in the order asked for."""
    if shape.kind == "none":
        writer.text(" from (select * from pgrst_source) _postgrest_t")
        return
    writer.text(" from (select ")
    write_select(writer, _SOURCE, query.select, types)
    writer.text(" from pgrst_source")
    write_order(writer, _SOURCE, query.order, types)
    write_limit(writer, query.limit, query.offset)
    writer.text(") _postgrest_t")


def _write_payload(
    writer: Writer, payload: Payload, types: Mapping[str, ColumnType], *, defaults: bool, one: bool = False
) -> None:
    """Write the request's rows as a relation `pgrst_body` with the payload's columns."""
    kind = "jsonb" if defaults else "json"
    writer.text(" from (select ").value(payload.text).text(f"::{kind} as json_data) pgrst_payload, ")
    if defaults:
        _write_defaults(writer, payload, types)
    rows = "pgrst_json_defs.val" if defaults else "pgrst_payload.json_data"
    writer.text("lateral (select ")
    for column in writer.each(payload.columns):
        writer.name(column)
    if payload.columns:
        writer.text(f" from {kind}_to_record{'' if payload.single else 'set'}({rows}) as _(")
        for column in writer.each(payload.columns):
            writer.name(column).text(f" {types[column].type}")
        writer.text(")")
    else:
        writer.text(" from (values (1)) _" if payload.single else f" from {kind}_array_elements({rows}) _")
    writer.text(" limit 1" if one else "").text(") pgrst_body")


def _write_defaults(writer: Writer, payload: Payload, types: Mapping[str, ColumnType]) -> None:
    writer.text("lateral (select " if payload.single else "lateral (select jsonb_agg(").text("jsonb_build_object(")
    for column in writer.each([column for column in payload.columns if types[column].default is not None]):
        writer.value(column).text(f"::text, {types[column].default}")
    if payload.single:
        writer.text(") || pgrst_payload.json_data as val) pgrst_json_defs, ")
    else:
        writer.text(") || elem) as val from jsonb_array_elements(pgrst_payload.json_data) elem) pgrst_json_defs, ")


def call(
    function: Function,
    schema: str,
    query: Query,
    arguments: Payload | Mapping[str, str],
    *,
    limit: int | None,
    offset: int,
    count: bool,
    shape: Shape,
) -> Writer:
    """Call a function with the JSON of a POST, or with the texts of a GET."""
    writer = Writer().text("with pgrst_source as (select ")
    writer.text("pgrst_call.*" if function.returns_row else "pgrst_call.pgrst_scalar")
    if isinstance(arguments, Payload) and arguments.columns:
        types = {known.name: ColumnType(known.type, None) for known in function.parameters}
        _write_payload(writer, arguments, types, defaults=False, one=True)
        writer.text(", lateral ")
    else:
        writer.text(" from ")
    writer.text("" if function.returns_row else "(select ").name(schema, function.name).text("(")
    _write_arguments(writer, function, arguments)
    writer.text(") pgrst_call)" if function.returns_row else ") pgrst_scalar) pgrst_call)")
    if count:
        writer.text(", pgrst_source_count as (select 1 from pgrst_source")
        write_where(writer, _SOURCE, query.where, {})
        writer.text(")")
    writer.text(" select (select count(*) from pgrst_source_count), " if count else " select null::bigint, ")
    writer.text("count(_postgrest_t), " if function.returns_set else "1::bigint, ")
    write_body(writer, shape, function)
    writer.text(" from (select ")
    write_select(writer, _SOURCE, query.select if function.returns_row else _ALL, {})
    writer.text(" from pgrst_source")
    write_where(writer, _SOURCE, query.where, {})
    write_order(writer, _SOURCE, query.order, {})
    write_limit(writer, limit, offset)
    return writer.text(") _postgrest_t")


def _write_arguments(writer: Writer, function: Function, arguments: Payload | Mapping[str, str]) -> None:
    given = arguments.columns if isinstance(arguments, Payload) else arguments
    for known in writer.each([known for known in function.parameters if known.name in given]):
        writer.text("variadic " if known.variadic else "").name(known.name).text(" := ")
        if isinstance(arguments, Payload):
            writer.name("pgrst_body", known.name)
        else:
            writer.value(arguments[known.name]).text(f"::{known.type}")
