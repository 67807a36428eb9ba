"""The cast of these tests: a rule, a user with 1200 credits and no profile, a catalogue that holds no surprise."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sidecar.domain.check import Check, Observation, Severity, Verdict
from sidecar.domain.credits import Anchor, LedgerRow
from sidecar.domain.decide import Situation
from sidecar.domain.finding import Finding, FindingClass
from sidecar.domain.look import Catalogue, Column, Counts, Facts, ReadProof, Subject
from sidecar.domain.plan import Plan, PlanRow
from sidecar.domain.rule import (
    Amount,
    Constant,
    Detect,
    ExpectedRow,
    FromBalance,
    FromSubject,
    Guard,
    LedgerSource,
    Mode,
    OnMissing,
    Origin,
    Repair,
    Rule,
    Skip,
    Table,
    Value,
)

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=30)
HORIZON = NOW - timedelta(minutes=15)
ALICE = "22cb3917-57f6-49c6-ac96-ec266570081b"
TABLE = "public.users"
ORDER = (Origin.ATTESTED, Origin.SNAPSHOT, Origin.LEDGER)

GUARD = Guard(
    max_rows=500,
    max_percent=Decimal("0.5"),
    max_rows_per_day=5000,
    require_checks=("service-key",),
    triggers_reviewed=frozenset(),
)

DETECT = Detect(
    ledger=LedgerSource(
        table=Table("public", "credit_transactions"),
        key="user_id",
        created="created_at",
        order=("created_at", "id"),
        amount="amount",
        balance="balance_after",
    ),
    skip=frozenset(Skip),
    expects=ExpectedRow(table=Table("public", "users"), key="id", created="created_at"),
    min_age_seconds=900.0,
    confirmations=2,
    max_change_percent=Decimal(20),
)

REPAIR = Repair(
    values={
        "id": FromSubject(path=("id",), on_missing=OnMissing.QUARANTINE),
        "email": FromSubject(path=("email",), on_missing=OnMissing.QUARANTINE),
        "full_name": FromSubject(path=("user_metadata", "full_name"), on_missing=OnMissing.NULL),
        "credits_balance": FromBalance(order=ORDER),
        "metadata": Constant(value={"restored_by": "sidecar"}, plan_key="plan"),
    },
    money=frozenset({"credits_balance"}),
    defaults_accepted=frozenset({"created_at"}),
    plan_expires_seconds=86400.0,
)

RULE = Rule(
    name="credits_without_profile",
    summary="A user owns credits but has no profile row.",
    owner="billing",
    severity=Severity.CRITICAL,
    runbook="docs/howto/runbooks/credits-without-profile.md",
    every_seconds=300.0,
    mode=Mode.AUTO,
    detect=DETECT,
    repair=REPAIR,
    guard=GUARD,
    verify_again_after_seconds=(60.0, 600.0),
    digest="rule-digest-1",
)

CATALOGUE = Catalogue(
    visible=True,
    columns=(
        Column(name="id", type="uuid", nullable=False, default=None),
        Column(name="email", type="text", nullable=False, default=None),
        Column(name="full_name", type="text", nullable=True, default=None),
        Column(name="credits_balance", type="numeric", nullable=False, default="50"),
        Column(name="metadata", type="jsonb", nullable=True, default=None),
        Column(name="created_at", type="timestamptz", nullable=False, default="now()"),
        Column(name="handle", type="text", nullable=True, default=None, generated=True),
    ),
    uniques=(("id",), ("email",)),
    fingerprint="schema-1",
)

PROOF = ReadProof(
    horizon_at=HORIZON,
    database="db-1",
    counts=Counts(ledger_rows=5000, expected_rows=990, subjects=1000),
    catalogue=CATALOGUE,
)

SITUATION = Situation(catalogue=CATALOGUE, subjects=1000, rows_today=0, frozen=None, trusted=True, typed=False)


def rule_with(
    *,
    mode: Mode = Mode.AUTO,
    guard: Guard = GUARD,
    detect: Detect = DETECT,
    repair: Repair = REPAIR,
) -> Rule:
    return replace(RULE, mode=mode, guard=guard, detect=detect, repair=repair)


def ledger_row(at_minute: float, amount: Amount | None, balance: Amount | None, tie: str = "u") -> LedgerRow:
    """One movement, so many minutes after LONG_AGO."""
    at = LONG_AGO + timedelta(minutes=at_minute)
    return LedgerRow(order=(at, tie), created_at=at, amount=amount, balance_after=balance)


def chain(*amounts: Amount, start: float = 0) -> tuple[LedgerRow, ...]:
    """A valid chain from zero, a minute between its rows."""
    rows: list[LedgerRow] = []
    balance: Amount = 0
    for place, amount in enumerate(amounts):
        balance += amount
        rows.append(ledger_row(start + place, amount, balance, f"{place:04}"))
    return tuple(rows)


def anchor(origin: Origin, balance: Amount, at_minute: float) -> Anchor:
    return Anchor(origin=origin, balance=balance, at=LONG_AGO + timedelta(minutes=at_minute))


def subject(key: str = ALICE, /, **changes: object) -> Subject:
    fields = {"id": key, "email": f"{key}@example.org", "user_metadata": {"full_name": "Alice A."}}
    whole = Subject(
        id=key,
        email=f"{key}@example.org",
        created_at=LONG_AGO,
        deleted=False,
        banned=False,
        anonymous=False,
        fields=fields,  # type: ignore[arg-type]  # a plain dictionary of JSON
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # the test names its own fields


def facts(key: str = ALICE, /, **changes: object) -> Facts:
    whole = Facts(key=key, subject=subject(key), ledger=chain(1000, 200), expected_row=None, email_taken=False)
    return replace(whole, **changes)  # type: ignore[arg-type]  # the test names its own fields


def finding(key: str = ALICE, kind: FindingClass = FindingClass.REPAIRABLE, *, forgeable: bool = False) -> Finding:
    values: dict[str, Value] = {"id": key, "credits_balance": 10} if kind is FindingClass.REPAIRABLE else {}
    return Finding(key=key, kind=kind, oldest_at=LONG_AGO, evidence="e1", values=values, forgeable=forgeable)


def findings(count: int, kind: FindingClass = FindingClass.REPAIRABLE) -> list[Finding]:
    return [finding(f"user-{number}", kind) for number in range(count)]


def observation(verdict: Verdict, reason: str = "", *, check: str = "service-key") -> Observation:
    told = "ok" if verdict is Verdict.HEALTHY else reason or "key_expired"
    return Observation(
        check=check, kind="service_key", verdict=verdict, reason=told, taken_at=NOW, duration_seconds=0.1
    )


def a_check(name: str = "service-key", *, fail_after: int = 1, pass_after: int = 1) -> Check:
    return Check(
        name=name,
        kind="service_key",
        every_seconds=60.0,
        timeout_seconds=10.0,
        severity=Severity.CRITICAL,
        fail_after=fail_after,
        pass_after=pass_after,
        spec=None,
    )


def plan_row(key: str = ALICE, values: Mapping[str, Value] | None = None) -> PlanRow:
    usual: Mapping[str, Value] = {"id": key, "credits_balance": Decimal("12.50")}
    held = usual if values is None else values
    return PlanRow(key=key, values=held, origins={"credits_balance": "balance:ledger"}, evidence="e1")


def a_plan(rows: Sequence[PlanRow] | None = None) -> Plan:
    return Plan(
        id="plan-1",
        rule=RULE.name,
        rule_digest=RULE.digest,
        schema_fingerprint=CATALOGUE.fingerprint,
        database="db-1",
        author="olga",
        created_at=NOW,
        expires_at=NOW + timedelta(hours=24),
        subjects=1000,
        classes={"repairable": 1, "too_young": 2},
        rows=(plan_row(),) if rows is None else tuple(rows),
        not_visible=("triggers",),
    )
