"""The keys of the kind `catalogue`. Names are the database's own, so they may hold whatever PostgreSQL allows."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from sidecar.checks.tables import Keys
from sidecar.domain.rule import Table
from sidecar.domain.schema_judge import SchemaWish, TableWish, TriggerWish

_PART = r'(?:"(?:[^"]|"")+"|[^".\s]+)'
_QUALIFIED = re.compile(rf"({_PART})\.({_PART})")
_BYTES_AT_MOST = 63  # PostgreSQL cuts longer names, so that no longer one exists


def _name(text: str) -> str:
    if not text or "\x00" in text or len(text.encode("utf-8", "surrogatepass")) > _BYTES_AT_MOST:
        raise ValueError(f"must be a name of 1 to {_BYTES_AT_MOST} bytes")
    return text


def _qualified(text: str) -> str:
    match = _QUALIFIED.fullmatch(text)
    if match is None:
        raise ValueError('must be a name with its schema, such as public.users or public."User data"')
    for part in match.groups():
        _name(_unquoted(part))
    return text


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _table(text: str) -> Table:
    match = _QUALIFIED.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return Table(*map(_unquoted, match.groups()))


ObjectName = Annotated[str, AfterValidator(_name)]
QualifiedName = Annotated[str, AfterValidator(_qualified)]


class TableKeys(Keys):
    """What is expected of one table."""

    rls: bool = True
    forced: bool = False
    policies: list[ObjectName] = Field(default_factory=list)
    policy_count: Annotated[int, Field(ge=0, le=1000)] | None = None
    columns: list[ObjectName] = Field(default_factory=list)
    unwritable: list[ObjectName] = Field(default_factory=list)
    references: dict[ObjectName, QualifiedName] = Field(default_factory=dict)
    indexes: list[Annotated[list[ObjectName], Field(min_length=1)]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits(self) -> "TableKeys":
        if self.forced and not self.rls:
            raise ValueError("forced means nothing where rls is false")
        if self.policy_count is not None and self.policy_count < len(set(self.policies)):
            raise ValueError("policy_count is less than the policies that are named")
        return self

    def to_wish(self, table: Table) -> TableWish:
        """Return the frozen expectation."""
        return TableWish(
            table=table,
            row_security=self.rls,
            forced=self.forced,
            policies=tuple(self.policies),
            policy_count=self.policy_count,
            columns=tuple(self.columns),
            unwritable=tuple(self.unwritable),
            references={column: _table(name) for column, name in self.references.items()},
            indexes=tuple(tuple(columns) for columns in self.indexes),
        )


class TriggerKeys(Keys):
    """A trigger that must be there and fire."""

    table: QualifiedName
    name: ObjectName
    function: QualifiedName | None = None
    event: Literal["insert", "update", "delete", "truncate"] | None = None

    def to_wish(self) -> TriggerWish:
        """Return the frozen expectation."""
        return TriggerWish(
            table=_table(self.table),
            name=self.name,
            function=_table(self.function) if self.function is not None else None,
            event=self.event,
        )


class CatalogueKeys(Keys):
    """The keys of a `catalogue` check beside the common ones."""

    needs_database: ClassVar[bool] = True  # read by the configuration, which names the place where it is missing

    tables: Annotated[dict[QualifiedName, TableKeys], Field(min_length=1)]
    triggers: list[TriggerKeys] = Field(default_factory=list)
    ledger: QualifiedName | None = None
    roles: Annotated[list[ObjectName], Field(min_length=1)] = Field(default_factory=lambda: ["anon", "authenticated"])
    exposed_schemas: Annotated[list[ObjectName], Field(min_length=1)] = Field(default_factory=lambda: ["public"])
    allowed_views: list[QualifiedName] = Field(default_factory=list)
    only_with_database: bool = False

    @model_validator(mode="after")
    def _once(self) -> "CatalogueKeys":
        if len({_table(name) for name in self.tables}) != len(self.tables):
            raise ValueError("tables must name each table once, quoted or not")
        return self

    def to_spec(self) -> SchemaWish:
        """Return the frozen parameters."""
        return SchemaWish(
            tables=tuple(keys.to_wish(_table(name)) for name, keys in self.tables.items()),
            triggers=tuple(trigger.to_wish() for trigger in self.triggers),
            ledger=_table(self.ledger) if self.ledger is not None else None,
            roles=tuple(dict.fromkeys(self.roles)),
            exposed_schemas=tuple(self.exposed_schemas),
            allowed_views=tuple(map(_table, self.allowed_views)),
        )
