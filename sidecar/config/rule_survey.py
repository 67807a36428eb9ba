"""The shapes of rule files that only report, one for each kind, and what they become."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from sidecar.config.fields import (
    Identifier,
    Name,
    Reads,
    Strict,
    TableName,
    Text,
    True_,
    Unique,
    duration,
    exactly,
    one_of,
    percent,
    wrong,
)
from sidecar.config.rule_schema import LedgerSection, ledger_of
from sidecar.config.validate import TAG
from sidecar.domain.check import Severity
from sidecar.domain.plan import canonical
from sidecar.domain.survey import (
    AuthParent,
    BalanceDiffers,
    OrphanRow,
    Parent,
    StaleRow,
    Subjects,
    Survey,
    TableParent,
)

CHARS_AT_MOST = 200  # of one state; they stand in a URL


class AmountRowsSection(Strict):
    """Rows that hold an amount."""

    table: TableName
    key: Identifier
    amount: Identifier
    created: Identifier | None = None


class BalanceDiffersSection(Strict):
    """Amounts that should be the last balance of a ledger."""

    kind: Annotated[Literal["balance_differs"], exactly("balance_differs")]
    rows: AmountRowsSection
    evidence: LedgerSection
    min_age: Annotated[float, duration("30d")]
    max_change_percent: Annotated[Decimal, percent(zero=True)] = Decimal(20)


class ReferringRowsSection(Strict):
    """Rows that refer to something."""

    table: TableName
    id: Identifier
    key: Identifier
    created: Identifier | None = None


class AuthParentSection(Strict):
    """Users of Supabase Auth."""

    auth: True_


class TableParentSection(Strict):
    """Rows of another table."""

    table: TableName
    key: Identifier


def _which_parent(value: object) -> str:
    return TAG + ("auth" if isinstance(value, dict) and "auth" in value else "table")


ParentSection: TypeAlias = Annotated[
    Annotated[AuthParentSection, Tag(f"{TAG}auth")] | Annotated[TableParentSection, Tag(f"{TAG}table")],
    Discriminator(_which_parent),
]


class OrphanRowSection(Strict):
    """Rows whose parent should exist."""

    kind: Annotated[Literal["orphan_row"], exactly("orphan_row")]
    rows: ReferringRowsSection
    parent: ParentSection
    min_age: Annotated[float, duration("30d")]
    max_change_percent: Annotated[Decimal, percent(zero=True)] = Decimal(20)


def _state(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise wrong("must be text", "put it in quotes" if isinstance(value, bool | int | Decimal) else "")
    if len(value) > CHARS_AT_MOST or not value.isprintable():
        raise wrong(f"must be at most {CHARS_AT_MOST} printable characters")
    return value


class StateSection(Strict):
    """The states that should pass."""

    column: Identifier
    values: Annotated[
        tuple[Annotated[str, Reads(_state, {"type": "string", "minLength": 1})], ...],
        Field(min_length=1, max_length=20),
        Unique,
    ]


class RowsSection(Strict):
    """Rows, and the column that tells them apart."""

    table: TableName
    id: Identifier


class StaleRowSection(Strict):
    """Rows that should have left their state."""

    kind: Annotated[Literal["stale_row"], exactly("stale_row")]
    rows: RowsSection
    state: StateSection
    since: Identifier
    older_than: Annotated[float, duration("366d")]
    max_change_percent: Annotated[Decimal, percent(zero=True)] = Decimal(20)


class ReportGuardSection(Strict):
    """What must be healthy before a look."""

    require_checks: Annotated[tuple[Name, ...], Field(min_length=1), Unique]


class _ReportSection(Strict):
    """What every rule file that only reports has."""

    rule: Text
    summary: Text
    owner: Text
    severity: Annotated[Severity, one_of(Severity)]
    runbook: Text
    every: Annotated[float, duration("7d")]
    mode: Annotated[Literal["observe"], exactly("observe")]
    guard: ReportGuardSection


class BalanceDiffersRule(_ReportSection):
    """All of a rule file of kind balance_differs."""

    detect: BalanceDiffersSection


class OrphanRowRule(_ReportSection):
    """All of a rule file of kind orphan_row."""

    detect: OrphanRowSection


class StaleRowRule(_ReportSection):
    """All of a rule file of kind stale_row."""

    detect: StaleRowSection


ReportSection: TypeAlias = BalanceDiffersRule | OrphanRowRule | StaleRowRule
REPORTS: Mapping[str, type[ReportSection]] = {
    "balance_differs": BalanceDiffersRule,
    "orphan_row": OrphanRowRule,
    "stale_row": StaleRowRule,
}


def to_survey(section: ReportSection) -> Survey:
    """Turn what the schema read into the domain's survey, with the digest over what it does."""
    detect = _detect(section.detect)
    checks, most = section.guard.require_checks, section.detect.max_change_percent
    return Survey(
        name=section.rule,
        summary=section.summary,
        owner=section.owner,
        severity=section.severity,
        runbook=section.runbook,
        every_seconds=section.every,
        detect=detect,
        max_change_percent=most,
        require_checks=checks,
        digest=_digest(section.detect.kind, detect, most, checks),
    )


def _detect(section: BalanceDiffersSection | OrphanRowSection | StaleRowSection) -> Subjects:
    rows = section.rows
    match section:
        case BalanceDiffersSection():
            return BalanceDiffers(
                table=rows.table,
                key=section.rows.key,
                amount=section.rows.amount,
                created=section.rows.created,
                ledger=ledger_of(section.evidence),
                min_age_seconds=section.min_age,
            )
        case OrphanRowSection():
            return OrphanRow(
                table=rows.table,
                id=section.rows.id,
                key=section.rows.key,
                created=section.rows.created,
                parent=_parent(section.parent),
                min_age_seconds=section.min_age,
            )
        case StaleRowSection():
            return StaleRow(
                table=rows.table,
                id=section.rows.id,
                column=section.state.column,
                values=section.state.values,
                since=section.since,
                older_than_seconds=section.older_than,
            )


def _parent(section: AuthParentSection | TableParentSection) -> Parent:
    if isinstance(section, AuthParentSection):
        return AuthParent()
    return TableParent(table=section.table, key=section.key)


def _digest(kind: str, detect: Subjects, most: Decimal, checks: tuple[str, ...]) -> str:
    document: dict[str, Any] = {
        "kind": kind,
        "detect": _plain(detect),
        "max_change_percent": most.normalize(),
        "require_checks": sorted(checks),
    }
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def _plain(detect: Subjects) -> dict[str, object]:
    match detect:
        case BalanceDiffers():
            ledger = detect.ledger
            named = (
                detect.key,
                detect.amount,
                detect.created,
                ledger.key,
                ledger.created,
                ledger.amount,
                ledger.balance,
            )
            tables = (str(detect.table), str(ledger.table))
            return {"tables": tables, "columns": [*named, *ledger.order], "seconds": detect.min_age_seconds}
        case OrphanRow():
            parent = ("auth.users", "id")
            if isinstance(detect.parent, TableParent):
                parent = (str(detect.parent.table), detect.parent.key)
            columns = [detect.id, detect.key, detect.created]
            return {"tables": [str(detect.table), *parent], "columns": columns, "seconds": detect.min_age_seconds}
        case StaleRow():
            columns = [detect.id, detect.column, detect.since]
            values = sorted(detect.values)
            seconds = detect.older_than_seconds
            return {"tables": [str(detect.table)], "columns": columns, "values": values, "seconds": seconds}
