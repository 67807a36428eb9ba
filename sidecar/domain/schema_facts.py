"""What a database's catalogue says about the objects that a `catalogue` check names. Names only, never a row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sidecar.domain.rule import Table

VIEWS = {"v": "view", "m": "materialised view"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A relation that exists. `kind` is PostgreSQL's relkind; `part_of` names the table that it is a partition of."""

    table: Table
    kind: str
    row_security: bool
    forced: bool
    part_of: Table | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a role may do with a relation by privilege alone: among select, insert, update, delete."""

    table: Table
    role: str
    commands: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy. `command` is select, insert, update, delete or all; `roles` are those asked for that it applies to."""

    table: Table
    name: str
    command: str
    permissive: bool
    roles: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column, with the asked roles that may write it by privilege: `writers` maps insert and update to them."""

    table: Table
    name: str
    writers: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger that a person made. `events` are among insert, update, delete, truncate."""

    table: Table
    name: str
    enabled: bool
    events: frozenset[str]
    function: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A foreign key. `validated`: it holds for the rows that were there before it, and is enforced."""

    table: Table
    name: str
    columns: tuple[str, ...]
    references: Table
    validated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index that is ready. `columns` holds None for an expression; `whole`: it covers every row."""

    table: Table
    columns: tuple[str | None, ...]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view of an exposed schema that reads `over` with its owner's rights, and `roles` that may use it."""

    view: Table
    kind: str
    over: Table
    roles: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFacts:
    """One state of the catalogue. `roles` maps each asked role that exists to whether nothing ever binds it by RLS.

    `functions` are those of the asked ones that exist.
    """

    roles: Mapping[str, bool]
    relations: Mapping[Table, Relation]
    access: tuple[Access, ...] = ()
    policies: tuple[Policy, ...] = ()
    columns: tuple[Column, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    functions: frozenset[Table] = frozenset()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    views: tuple[View, ...] = ()

    def with_parts(self, table: Table) -> Iterator[Relation]:
        """Yield a table and its partitions: to whoever holds a privilege on one, it is a table of its own."""
        yield from (known for known in self.relations.values() if table in (known.table, known.part_of))

    def may(self, role: str, table: Table, command: str) -> bool:
        """Tell whether a role holds the privilege."""
        return any(a.role == role and a.table == table and command in a.commands for a in self.access)

    def admits(self, role: str, relation: Relation, command: str) -> bool:
        """Tell whether row level security lets a role's command through to any row.

        Restrictive policies are not read: they only narrow, and what they narrow to is an expression.
        """
        if not relation.row_security or self.roles.get(role, False):
            return True
        return any(
            policy.permissive
            and policy.table == relation.table
            and role in policy.roles
            and policy.command in (command, "all")
            for policy in self.policies
        )
