"""A rule: what damage looks like, how it is repaired, and what bounds the repair."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from sidecar.domain.check import JSON, Severity
from sidecar.domain.pace import Signal

Amount: TypeAlias = int | Decimal  # money: never a float, never a bool
Value: TypeAlias = JSON | Amount  # what a column holds


class Mode(StrEnum):
    """Who decides that a plan is applied."""

    OBSERVE = "observe"  # never writes
    APPROVE = "approve"  # a person approves each plan
    AUTO = "auto"  # the guards decide


class Origin(StrEnum):
    """Where a balance comes from, most trusted first."""

    ATTESTED = "attested"  # a person vouched for it
    SNAPSHOT = "snapshot"  # Sidecar itself saw it in the profile row
    LEDGER = "ledger"  # every recorded movement, verified as one unbroken chain


class Skip(StrEnum):
    """Subjects that are never repaired."""

    DELETED = "deleted"
    BANNED = "banned"
    ANONYMOUS = "anonymous"


class OnMissing(StrEnum):
    """What to do with a row whose value has no source."""

    NULL = "null"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, order=True)
class Table:
    """A table by schema and name; never formatted into SQL or a URL without composing or quoting."""

    schema: str
    name: str

    def __str__(self) -> str:
        """Render as `schema.name`, for people and for keys in Sidecar's own state."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSource:
    """Where the evidence of credits stands. `order` ends in the column that tells rows apart."""

    table: Table
    key: str
    created: str | None
    order: tuple[str, ...]
    amount: str
    balance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSource:
    """Supabase Auth itself as the evidence: every user must have the expected row. It records no balance.

    Users with a row in `without` are left out: they belong to the rule whose evidence that ledger is.
    """

    without: LedgerSource | None = None

    @property
    def table(self) -> Table:
        """The table of users."""
        return Table("auth", "users")

    @property
    def key(self) -> str:
        """The column that names the subject."""
        return "id"

    @property
    def created(self) -> str | None:
        """The column with the instant of a sign-up."""
        return "created_at"

    @property
    def order(self) -> tuple[str, ...]:
        """What orders users in time, ending in the column that tells them apart."""
        return ("created_at", "id")


Evidence: TypeAlias = LedgerSource | AuthSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRow:
    """The row that should exist for every key of the evidence."""

    table: Table
    key: str
    created: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detect:
    """What counts as damage, and how often it must be seen before it is believed.

    Units: `min_age_seconds` seconds; `confirmations` consecutive proven looks; `max_change_percent` percent (0..100)
    by which a count may shrink against the last proven look before the read is no longer believed.
    """

    ledger: Evidence
    skip: frozenset[Skip]
    expects: ExpectedRow
    min_age_seconds: float
    confirmations: int
    max_change_percent: Decimal

    @property
    def movements(self) -> LedgerSource | None:
        """The ledger in which a subject's credits move, whether or not it is the evidence; None when none is named."""
        return self.ledger.without if isinstance(self.ledger, AuthSource) else self.ledger

    @property
    def min_age(self) -> timedelta:
        """How old evidence must be before it is judged."""
        return timedelta(seconds=self.min_age_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromSubject:
    """A value that Supabase Auth knows, by dotted path."""

    path: tuple[str, ...]
    on_missing: OnMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class FromBalance:
    """A proven balance, from the first origin in `order` that has one. There is no default."""

    order: tuple[Origin, ...]
    on_missing: OnMissing = OnMissing.QUARANTINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A fixed value. With `plan_key`, the value is an object and the plan's id stands under that key."""

    value: JSON
    plan_key: str | None = None


ValueSource: TypeAlias = FromSubject | FromBalance | Constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """How the missing row is written. Units: `plan_expires_seconds` seconds."""

    values: Mapping[str, ValueSource]
    money: frozenset[str]
    defaults_accepted: frozenset[str]
    plan_expires_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What a repair may never exceed. `max_percent` is percent of subjects (0..100)."""

    max_rows: int
    max_percent: Decimal
    max_rows_per_day: int
    require_checks: tuple[str, ...]
    triggers_reviewed: frozenset[str]
    signals: tuple[Signal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule file. `digest` covers what detects, repairs, guards and verifies; not the owner or the schedule."""

    name: str
    summary: str
    owner: str
    severity: Severity
    runbook: str
    every_seconds: float
    mode: Mode
    detect: Detect
    repair: Repair
    guard: Guard
    verify_again_after_seconds: tuple[float, ...]
    digest: str

    @property
    def balance_column(self) -> str:
        """The target's money column (the loader admits exactly one)."""
        return next(iter(self.repair.money))

    @property
    def plan_marker(self) -> tuple[str, str] | None:
        """(column, key) under which a written row names its plan, or None when rows carry no mark."""
        for column, source in self.repair.values.items():
            if isinstance(source, Constant) and source.plan_key is not None:
                return column, source.plan_key
        return None
