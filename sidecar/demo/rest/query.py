"""What a request's query string asks for, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """A column, or a place inside it: `path` holds pairs of arrow (`->` or `->>`) and key or index."""

    name: str
    path: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter. `value` is a list for `in` only; `quantifier` is `any`, `all` or empty."""

    field: Field
    operator: str
    value: str | tuple[str, ...]
    quantifier: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions joined by `and` or `or`."""

    joiner: str
    members: "tuple[Condition | Group, ...]"
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One item of `select`."""

    field: Field
    alias: str | None = None
    cast: str | None = None


@dataclass(frozen=True, slots=True)
class Ordering:
    """One item of `order`; empty words leave the choice to PostgreSQL."""

    field: Field
    direction: str = ""
    nulls: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query string, read. `embedded` names resources that the request wants to embed; `arguments` are of GET /rpc."""

    select: tuple[Column, ...]
    where: tuple[Condition | Group, ...]
    order: tuple[Ordering, ...]
    limit: int | None
    offset: int
    columns: tuple[str, ...] | None
    on_conflict: tuple[str, ...] | None
    embedded: tuple[str, ...]
    arguments: tuple[tuple[str, str], ...]
