"""Write the clauses that a query asks for: what is selected, filtered, ordered and cut off."""

from collections.abc import Mapping, Sequence

from sidecar.demo.rest.catalogue import ColumnType
from sidecar.demo.rest.query import Column, Condition, Field, Group, Ordering
from sidecar.demo.rest.writer import Writer

Source = tuple[str, ...]
Types = Mapping[str, ColumnType]

_SYMBOLS = {
    "eq": " = ",
    "neq": " <> ",
    "gt": " > ",
    "gte": " >= ",
    "lt": " < ",
    "lte": " <= ",
    "like": " like ",
    "ilike": " ilike ",
    "match": " ~ ",
    "imatch": " ~* ",
    "isdistinct": " is distinct from ",
    "in": " = any ",
    "cs": " @> ",
    "cd": " <@ ",
    "ov": " && ",
    "sl": " << ",
    "sr": " >> ",
    "nxr": " &< ",
    "nxl": " &> ",
    "adj": " -|- ",
}
_TRUTHS = {
    "null": " is null",
    "not_null": " is not null",
    "true": " is true",
    "false": " is false",
    "unknown": " is unknown",
}
# Words of PostgreSQL's grammar that name a type without being its name in the catalogue, so that quoting breaks them.
_TYPE_WORDS = frozenset(
    {
        *("int", "integer", "smallint", "bigint", "real", "float", "double precision", "decimal", "boolean"),
        *("char", "character", "character varying", "bit varying", "timestamp with time zone"),
        *("timestamp without time zone", "time with time zone", "time without time zone"),
    }
)


def write_select(writer: Writer, source: Source, columns: Sequence[Column], types: Types) -> None:
    """Write the list of what is selected."""
    for column in writer.each(columns):
        if column.field.name == "*" and not column.field.path:
            writer.name(*source).text(".*")
            continue
        if column.cast is None:
            write_field(writer, source, column.field, types)
        else:
            writer.text("cast(")
            write_field(writer, source, column.field, types)
            writer.text(" as ")
            _write_type(writer, column.cast)
            writer.text(")")
        alias = column.alias or _alias(column.field)
        if alias:
            writer.text(" as ").name(alias)


def _write_type(writer: Writer, asked: str) -> None:
    known = " ".join(asked.lower().split())
    if known in _TYPE_WORDS:
        writer.text(known)
    else:
        writer.name(known)


def _alias(field: Field) -> str | None:
    """Return the last key of a JSON path, or the column's name where the path holds indexes only."""
    if not field.path:
        return None
    keys = [key for _, key in field.path if isinstance(key, str)]
    return keys[-1] if keys else field.name


def write_field(writer: Writer, source: Source, field: Field, types: Types) -> None:
    """Write a column or a place inside it."""
    if not field.path:
        writer.name(*source, field.name)
        return
    known = types.get(field.name)
    if known is not None and known.type in {"json", "jsonb"}:
        writer.name(*source, field.name)
    else:
        writer.text("to_jsonb(").name(*source, field.name).text(")")
    for arrow, key in field.path:
        writer.text(arrow).value(str(key))
        if isinstance(key, int):
            writer.text("::int")


def write_where(writer: Writer, source: Source, members: Sequence[Condition | Group], types: Types) -> None:
    """Write the whole condition, if there is one."""
    if members:
        writer.text(" where ")
        for member in writer.each(members, " and "):
            _write_member(writer, source, member, types)


def _write_member(writer: Writer, source: Source, member: Condition | Group, types: Types) -> None:
    if isinstance(member, Condition):
        _write_condition(writer, source, member, types)
        return
    writer.text("not (" if member.negated else "(")
    for inner in writer.each(member.members, f" {member.joiner} "):
        _write_member(writer, source, inner, types)
    writer.text(")")


def _write_condition(writer: Writer, source: Source, condition: Condition, types: Types) -> None:
    if condition.negated:
        writer.text("not ")
    write_field(writer, source, condition.field, types)
    value = condition.value
    if condition.operator == "is":
        writer.text(_TRUTHS[str(value)])
        return
    writer.text(_SYMBOLS[condition.operator])
    if isinstance(value, tuple):
        writer.text("(").value("{}" if value == ("",) else _array(value)).text(")")
        return
    if condition.operator in {"like", "ilike"}:
        value = value.replace("*", "%")
    if condition.quantifier:
        writer.text(f"{condition.quantifier}(").value(value).text(")")
    else:
        writer.value(value)


def _array(values: tuple[str, ...]) -> str:
    """Return an array literal: as one value of unknown type, it takes the type of the column."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


def write_order(writer: Writer, source: Source, order: Sequence[Ordering], types: Types) -> None:
    """Write the order, if there is one."""
    if order:
        writer.text(" order by ")
        for item in writer.each(order):
            write_field(writer, source, item.field, types)
            writer.text({"asc": " asc", "desc": " desc"}.get(item.direction, ""))
            writer.text({"first": " nulls first", "last": " nulls last"}.get(item.nulls, ""))


def write_limit(writer: Writer, limit: int | None, offset: int) -> None:
    """Write where the rows begin and how many there are at most."""
    if limit is not None:
        writer.text(" limit ").value(limit)
    if offset:
        writer.text(" offset ").value(offset)
