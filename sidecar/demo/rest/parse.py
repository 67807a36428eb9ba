"""Read a request's query string whole."""

import re
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from sidecar.demo.rest.errors import RestError, malformed
from sidecar.demo.rest.filters import condition, logic
from sidecar.demo.rest.query import Column, Condition, Field, Group, Ordering, Query
from sidecar.demo.rest.reader import FIELD_NAME, Reader, field, name, names, path, word

_SELECT_ITEM = f'"...", {FIELD_NAME}, "*" or "count()"'
_AFTER_FIELD = 'letter, digit, "-", "->>", "->", "::", ".", ")", "," or end of input'
_AGGREGATES = ("sum()", "avg()", "count()", "max()", "min()")
_RESERVED = frozenset({"select", "columns", "on_conflict"})
_INTEGER = re.compile(r"\s*(-?[0-9]{1,18})\s*")

Pairs = list[tuple[str, str]]


def parse(query_string: bytes, *, for_call: bool) -> Query:
    """Read a query string. `for_call` takes what is no filter for an argument of a function.

    Raises: RestError with PGRST100, PGRST108 or PGRST123.
    """
    pairs = _pairs(query_string)
    first = dict(reversed(pairs))
    last = dict(pairs)
    select, embedded = _select(first.get("select", "*"))
    where, arguments = _filters(pairs, for_call=for_call)
    columns, on_conflict = first.get("columns"), first.get("on_conflict")
    return Query(
        select=select or (Column(Field("*")),),
        where=(*where, *_logic_trees(pairs)),
        order=_order(first["order"]) if "order" in first else (),
        limit=_integer(last.get("limit")),
        offset=max(_integer(last.get("offset")) or 0, 0),
        columns=None if columns is None else names(columns, f"failed to parse columns parameter ({columns})"),
        on_conflict=None
        if on_conflict is None
        else names(on_conflict, f"failed to parse on_conflict parameter ({on_conflict})"),
        embedded=embedded,
        arguments=arguments,
    )


def _pairs(query_string: bytes) -> Pairs:
    """Split at `&` and `;`; a parameter without `=` does not count."""
    found: Pairs = []
    for part in re.split(b"[&;]", query_string):
        key, equals, value = part.partition(b"=")
        if equals:
            try:
                found.append((_text(key), _text(value)))
            except UnicodeDecodeError:
                raise malformed("failed to parse query string", 1, "the text is not UTF-8") from None
    return found


def _text(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode()


def _integer(text: str | None) -> int | None:
    found = _INTEGER.fullmatch(text or "")
    return int(found[1]) if found else None


def _not_embedded(resource: str) -> NoReturn:
    message = f"'{resource}' is not an embedded resource in this request"
    hint = f"Verify that '{resource}' is included in the 'select' query parameter."
    raise RestError(400, "PGRST108", message, hint=hint)


def _filters(pairs: Pairs, *, for_call: bool) -> tuple[list[Condition], tuple[tuple[str, str], ...]]:
    found: list[Condition] = []
    arguments: Pairs = []
    for key, value in pairs:
        last = key.rpartition(".")[2]
        if last in {"and", "or"} or key in _RESERVED:
            continue
        if last in {"order", "limit", "offset"}:
            if "." in key:
                _not_embedded(key.partition(".")[0])
            continue
        subject = _filter_key(key)
        reader = Reader(value, f"failed to parse filter ({value})")
        read = reader.attempt(lambda reader, subject=subject: condition(reader, subject, Reader.rest))  # type: ignore[misc] # mypy cannot infer a lambda's default
        if read is not None:
            found.append(read)
        elif for_call:
            arguments.append((subject.name, value))
        else:
            condition(reader, subject, Reader.rest)
    return found, tuple(arguments)


def _filter_key(key: str) -> Field:
    reader = Reader(key, f"failed to parse tree path ({key})")
    subject = name(reader)
    if reader.take("."):
        _not_embedded(subject)
    return Field(subject, path(reader))


def _logic_trees(pairs: Pairs) -> list[Condition | Group]:
    found = []
    for key, value in pairs:
        *outer, last = key.split(".")
        if last not in {"and", "or"}:
            continue
        embedded = [part for part in outer if part != "not"]
        if embedded:
            _not_embedded(embedded[0])
        subject = f"failed to parse logic tree ({value})"
        found.append(logic(Reader(f"{'not.' if outer else ''}{last}{value}", subject)))
    return found


def _order(text: str) -> tuple[Ordering, ...]:
    reader = Reader(text, f"failed to parse order ({text})")
    found = [_ordering(reader)]
    while reader.take(","):
        found.append(_ordering(reader))
    return tuple(found)


def _ordering(reader: Reader) -> Ordering:
    subject = field(reader)
    if reader.sees("("):
        _not_embedded(subject.name)
    direction = "asc" if reader.take(".asc") else "desc" if reader.take(".desc") else ""
    nulls = "first" if reader.take(".nullsfirst") else "last" if reader.take(".nullslast") else ""
    if not (reader.sees(",") or reader.at >= len(reader.text)):
        choices = '"nullsfirst" or "nullslast"' if direction else '"asc", "desc", "nullsfirst" or "nullslast"'
        ended = '"," or end of input' if nulls else 'delimiter (.), "," or end of input'
        reader.fail(choices if reader.take(".") else ended)
    reader.blanks()
    return Ordering(subject, direction, nulls)


def _select(text: str) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Return the columns and the resources to embed."""
    reader = Reader(text, f"failed to parse select parameter ({text})")
    columns: list[Column] = []
    embedded: list[str] = []
    while text and (reader.at == 0 or reader.take(",")):
        reader.blanks()
        item = _item(reader)
        reader.blanks()
        if isinstance(item, str):
            embedded.append(item)
        else:
            columns.append(item)
    return tuple(columns), tuple(embedded)


def _item(reader: Reader) -> Column | str:
    """Read one item of `select`; a string is the name of a resource to embed."""
    if reader.take("*"):
        return Column(Field("*")) if reader.ends_item() else reader.fail('")", "," or end of input')
    spread = reader.take("...")
    if reader.ends_item():
        reader.fail(_SELECT_ITEM)
    alias = reader.attempt(_alias)
    _refuse_aggregate(reader)
    subject = field(reader)
    if spread or reader.sees("(") or reader.sees("!"):
        _skip_brackets(reader)
        return subject.name
    cast = word(reader) if reader.take("::") else None
    if reader.take("."):
        _refuse_aggregate(reader)
    if not reader.ends_item():
        reader.fail(_AFTER_FIELD)
    return Column(subject, alias, cast)


def _alias(reader: Reader) -> str:
    found = name(reader)
    reader.need(":")
    return reader.fail("field name") if reader.sees(":") else found


def _refuse_aggregate(reader: Reader) -> None:
    if any(reader.sees(word) for word in _AGGREGATES):
        raise RestError(400, "PGRST123", "Use of aggregate functions is not allowed")


def _skip_brackets(reader: Reader) -> None:
    reader.run(lambda char: char != "(")
    reader.need("(")
    depth = 1
    while depth:
        reader.run(lambda char: char not in "()")
        depth += 1 if reader.sees("(") else -1
        reader.need("(" if reader.sees("(") else ")")
