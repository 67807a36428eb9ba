"""Is the database's schema still the one that the product and its repair rest on?

Pure. Each function looks for one kind of damage and yields what it found; the most severe reason is told.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from sidecar.domain.reasons import CatalogueReason
from sidecar.domain.rule import Table
from sidecar.domain.schema_facts import VIEWS, Relation, SchemaFacts, Trigger

NAMED_AT_MOST = 10
TABLES = ("r", "p")  # and those that are partitioned
Why = CatalogueReason
Finding: TypeAlias = tuple[CatalogueReason, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableWish:
    """What is expected of one table. `policy_count` None: any number. `references` maps a column to a table."""

    table: Table
    row_security: bool = True
    forced: bool = False
    policies: tuple[str, ...] = ()
    policy_count: int | None = None
    columns: tuple[str, ...] = ()
    unwritable: tuple[str, ...] = ()
    references: Mapping[str, Table] = field(default_factory=dict)
    indexes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerWish:
    """A trigger that must be there and fire. `function` and `event` None: whichever."""

    table: Table
    name: str
    function: Table | None = None
    event: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaWish:
    """Everything that one check expects. `roles` are those that the API lets in from outside."""

    tables: tuple[TableWish, ...]
    triggers: tuple[TriggerWish, ...] = ()
    ledger: Table | None = None
    roles: tuple[str, ...] = ("anon", "authenticated")
    exposed_schemas: tuple[str, ...] = ("public",)
    allowed_views: tuple[Table, ...] = ()

    @property
    def relations(self) -> tuple[Table, ...]:
        """Every table that is named, once."""
        named = [wish.table for wish in self.tables] + [trigger.table for trigger in self.triggers]
        return tuple(dict.fromkeys([*named, *([self.ledger] if self.ledger else [])]))

    @property
    def protected(self) -> tuple[Table, ...]:
        """The tables of which row level security keeps rows."""
        kept = [wish.table for wish in self.tables if wish.row_security]
        return tuple(dict.fromkeys([*kept, *([self.ledger] if self.ledger else [])]))


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaJudgement:
    """What it comes to. `found` maps each reason, most severe first, to the objects that show it."""

    reason: CatalogueReason
    detail: str
    found: Mapping[CatalogueReason, tuple[str, ...]]


def judge_schema(wish: SchemaWish, facts: SchemaFacts) -> SchemaJudgement:
    """Compare what is expected with what is there."""
    absent = sorted(set(wish.roles) - set(facts.roles))
    if absent:
        return _blind(
            Why.ROLES_MISSING, f"there is no role {', '.join(map(shown, absent))}: is this a Supabase project?"
        )
    if not any(table in facts.relations for table in wish.relations):
        return _blind(Why.WRONG_DATABASE, "none of the named tables is in this database")
    found: dict[CatalogueReason, tuple[str, ...]] = {}
    for search in _SEARCHES:
        for reason, named in search(wish, facts):
            found[reason] = (*found.get(reason, ()), named)
    if not found:
        return SchemaJudgement(reason=Why.OK, detail="", found={})
    ordered = {reason: tuple(dict.fromkeys(found[reason])) for reason in Why if reason in found}
    worst = next(iter(ordered))
    more = len(ordered[worst]) - NAMED_AT_MOST
    detail = "; ".join(ordered[worst][:NAMED_AT_MOST]) + (f"; and {more} more" if more > 0 else "")
    return SchemaJudgement(reason=worst, detail=detail, found=ordered)


def _blind(reason: CatalogueReason, detail: str) -> SchemaJudgement:
    return SchemaJudgement(reason=reason, detail=detail, found={})


def _bypassing_roles(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for role in wish.roles:
        if facts.roles[role]:
            yield Why.ROLE_BYPASSES_RLS, f"row level security never binds {shown(role)}"


def _writable_ledger(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    if wish.ledger is None:
        return
    for part in facts.with_parts(wish.ledger):
        for role in wish.roles:
            held = [
                command
                for command in ("insert", "update", "delete")
                if facts.may(role, part.table, command) and facts.admits(role, part, command)
            ]
            if held:
                yield Why.LEDGER_WRITABLE, f"{shown(role)} may {', '.join(held)} in {named(part.table)}"


def _writable_columns(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    """A column that holds money, and that whoever owns the row may set, is money that anybody may make."""
    for expected in wish.tables:
        for part in facts.with_parts(expected.table):
            for column in facts.columns:
                if column.table != part.table or column.name not in expected.unwritable:
                    continue
                for command, roles in sorted(column.writers.items()):
                    for role in sorted(roles):
                        if facts.admits(role, part, command):
                            yield (
                                Why.COLUMN_WRITABLE,
                                f"{shown(role)} may {command} {named(part.table)}.{shown(column.name)}",
                            )


def _open_tables(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for table in wish.protected:
        for part in facts.with_parts(table):
            is_open = part.kind in TABLES and not part.row_security
            if is_open and (part.table == table or _is_reachable(part, wish, facts)):
                yield Why.RLS_DISABLED, f"row level security is off on {named(part.table)}"


def _is_reachable(part: Relation, wish: SchemaWish, facts: SchemaFacts) -> bool:
    return any(access.table == part.table and access.role in wish.roles and access.commands for access in facts.access)


def _open_views(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for view in facts.views:
        if view.view not in wish.allowed_views and view.roles:
            who = " and ".join(map(shown, sorted(view.roles)))
            kind = VIEWS[view.kind]
            yield Why.VIEW_BYPASSES_RLS, f"the {kind} {named(view.view)} opens {named(view.over)} to {who}"


def _absent_tables(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for table in wish.relations:
        known = facts.relations.get(table)
        if known is None:
            yield Why.TABLE_MISSING, f"{named(table)} does not exist"
        elif known.kind not in TABLES:
            yield Why.TABLE_MISSING, f"{named(table)} is no table"


def _tables(wish: SchemaWish, facts: SchemaFacts) -> Iterator[tuple[TableWish, Relation]]:
    for expected in wish.tables:
        known = facts.relations.get(expected.table)
        if known is not None and known.kind in TABLES:
            yield expected, known


def _policies(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for expected, known in _tables(wish, facts):
        there = [policy.name for policy in facts.policies if policy.table == expected.table]
        for name in expected.policies:
            if name not in there:
                yield Why.POLICY_MISSING, f"{named(expected.table)} has no policy {shown(name)}"
        if expected.policy_count is not None and len(there) != expected.policy_count:
            told = f"{named(expected.table)} has {len(there)} policies, not {expected.policy_count}"
            yield Why.POLICY_COUNT_DIFFERS, told
        if expected.forced and not known.forced:
            yield Why.RLS_NOT_FORCED, f"row level security is not forced on {named(expected.table)}"


def _triggers(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for expected in wish.triggers:
        if expected.function is not None and expected.function not in facts.functions:
            yield Why.FUNCTION_MISSING, f"there is no function {named(expected.function)}"
        if expected.table not in facts.relations:
            continue  # told as table_missing
        label = f"{shown(expected.name)} on {named(expected.table)}"
        found = [t for t in facts.triggers if t.table == expected.table and t.name == expected.name]
        if not found:
            yield Why.TRIGGER_MISSING, f"there is no trigger {label}"
        for trigger in found:
            yield from _trigger(expected, trigger, label)


def _trigger(expected: TriggerWish, trigger: Trigger, label: str) -> Iterator[Finding]:
    if not trigger.enabled:
        yield Why.TRIGGER_DISABLED, f"the trigger {label} is disabled"
    if expected.function is not None and trigger.function != expected.function:
        yield Why.TRIGGER_CHANGED, f"the trigger {label} calls {named(trigger.function)}"
    if expected.event is not None and expected.event not in trigger.events:
        yield Why.TRIGGER_CHANGED, f"the trigger {label} does not fire on {expected.event}"


def _columns(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for expected, _ in _tables(wish, facts):
        there = {column.name for column in facts.columns if column.table == expected.table}
        for name in dict.fromkeys([*expected.columns, *expected.unwritable]):
            if name not in there:
                yield Why.COLUMN_MISSING, f"{named(expected.table)} has no column {shown(name)}"


def _foreign_keys(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for expected, _ in _tables(wish, facts):
        there = [key for key in facts.foreign_keys if key.table == expected.table]
        for column, table in expected.references.items():
            if not any(key.columns == (column,) and key.references == table for key in there):
                label = f"{named(expected.table)}.{shown(column)} to {named(table)}"
                yield Why.FOREIGN_KEY_MISSING, f"there is no foreign key from {label}"
        for key in there:
            if not key.validated:
                label = f"{shown(key.name)} of {named(expected.table)}"
                yield Why.FOREIGN_KEY_NOT_VALIDATED, f"the foreign key {label} does not vouch for every row"


def _indexes(wish: SchemaWish, facts: SchemaFacts) -> Iterator[Finding]:
    for expected, _ in _tables(wish, facts):
        there = [index.columns for index in facts.indexes if index.table == expected.table and index.whole]
        for columns in expected.indexes:
            if not any(found[: len(columns)] == columns for found in there):
                label = ", ".join(map(shown, columns))
                yield Why.INDEX_MISSING, f"no whole index of {named(expected.table)} begins with {label}"


_SEARCHES: tuple[Callable[[SchemaWish, SchemaFacts], Iterator[Finding]], ...] = (
    _bypassing_roles,
    _writable_ledger,
    _writable_columns,
    _open_tables,
    _open_views,
    _absent_tables,
    _policies,
    _triggers,
    _columns,
    _foreign_keys,
    _indexes,
)


def named(table: Table) -> str:
    """Render a table for a person, quoted where a part is no plain word."""
    return f"{shown(table.schema)}.{shown(table.name)}"


def shown(name: str) -> str:
    """Render a name of the database's: anybody who may create an object chose it, so nothing in it is acted upon."""
    if name.isascii() and name.isidentifier():
        return name
    safe = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
    return '"' + safe.replace('"', '""') + '"'
