"""The shape of a rule file. What its parts must have to do with each other stands in `rule_semantics`."""

import re
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag

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
    number,
    one_of,
    percent,
    whole,
    wrong,
)
from sidecar.config.problems import suggest
from sidecar.config.validate import TAG
from sidecar.domain.check import JSON, Severity
from sidecar.domain.rule import LedgerSource, Mode, OnMissing, Origin, Skip

ROWS_AT_MOST = 1_000_000_000
SUBJECT_FIELDS = ("id", "email", "phone", "role", "created_at", "email_confirmed_at", "last_sign_in_at", "is_anonymous")
SUBJECT_DOCUMENTS = ("user_metadata", "app_metadata")

_PATH_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


class LedgerSection(Strict):
    """The ledger."""

    table: TableName
    key: Identifier
    created: Identifier | None = None
    order: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=8), Unique]
    amount: Identifier
    balance: Identifier


def ledger_of(section: LedgerSection) -> LedgerSource:
    """Turn what the schema read of a ledger into the domain's."""
    return LedgerSource(
        table=section.table,
        key=section.key,
        created=section.created,
        order=section.order,
        amount=section.amount,
        balance=section.balance,
    )


class AuthSection(Strict):
    """Supabase Auth itself, without the users whom a ledger names."""

    auth: True_
    without: LedgerSection | None = None


def _which_evidence(value: object) -> str:
    return TAG + ("auth" if isinstance(value, dict) and "auth" in value else "ledger")


EvidenceSection: TypeAlias = Annotated[
    Annotated[LedgerSection, Tag(f"{TAG}ledger")] | Annotated[AuthSection, Tag(f"{TAG}auth")],
    Discriminator(_which_evidence),
]


class SubjectSection(Strict):
    """Who may be repaired at all."""

    auth: True_
    skip: Annotated[tuple[Annotated[Skip, one_of(Skip)], ...], Unique]


class ExpectsSection(Strict):
    """The row that should exist."""

    table: TableName
    key: Identifier
    created: Identifier | None = None


class DetectSection(Strict):
    """What counts as damage."""

    kind: Annotated[Literal["missing_row"], exactly("missing_row")]
    evidence: EvidenceSection
    subject: SubjectSection
    expects: ExpectsSection
    min_age: Annotated[float, duration("30d")]
    confirmations: Annotated[int, whole(1, 100)]
    max_change_percent: Annotated[Decimal, percent(zero=True)] = Decimal(20)


def _subject_path(value: object) -> tuple[str, ...]:
    parts = tuple(value.split(".")) if isinstance(value, str) else ()
    if not parts or not all(_PATH_PART.fullmatch(part) for part in parts):
        raise wrong("must be a path into the subject", "like email or user_metadata.full_name")
    known = SUBJECT_DOCUMENTS if len(parts) > 1 else SUBJECT_FIELDS
    if parts[0] not in known:
        raise wrong("is nothing that Supabase Auth knows about a subject", suggest(parts[0], known))
    return parts


def _constant(value: object) -> JSON:
    match value:
        case Decimal():
            raise wrong("must not be a fraction", "put it in quotes: the database reads it exactly")
        case list():
            return [_constant(item) for item in value]
        case dict():
            return {key: _constant(item) for key, item in value.items()}
        case None | bool() | int() | str():
            return value
        case _:
            raise wrong("must be a value that JSON can hold")


def _on_missing(value: object) -> OnMissing:
    if value is None:  # YAML's own null
        return OnMissing.NULL
    if value == "quarantine":
        return OnMissing.QUARANTINE
    raise wrong("must be null or quarantine")


def _plan_key(value: object) -> str:
    if isinstance(value, str) and _PATH_PART.fullmatch(value):
        return value
    raise wrong("must be the name of a key", "the plan's id is written under it")


Missing: TypeAlias = Annotated[OnMissing, Reads(_on_missing, {"enum": [None, "quarantine"]})]


class SubjectSource(Strict):
    """A value that Supabase Auth knows."""

    subject: Annotated[tuple[str, ...], Reads(_subject_path, {"type": "string"})]
    on_missing: Missing = OnMissing.QUARANTINE


class BalanceSource(Strict):
    """A proven balance."""

    balance: Annotated[tuple[Annotated[Origin, one_of(Origin)], ...], Field(min_length=1), Unique]
    on_missing: Missing = OnMissing.QUARANTINE


class ConstantSource(Strict):
    """A fixed value, or an object that also names the plan."""

    const: Annotated[Any, Reads(_constant, {})]
    plan: Annotated[str | None, Reads(_plan_key, {"type": "string", "minLength": 1})] = None


def _which(value: object) -> str | None:
    keys = value.keys() if isinstance(value, dict) else ()
    return next((TAG + name for name in ("subject", "balance", "const") if name in keys), None)


Source: TypeAlias = Annotated[
    Annotated[SubjectSource, Tag(f"{TAG}subject")]
    | Annotated[BalanceSource, Tag(f"{TAG}balance")]
    | Annotated[ConstantSource, Tag(f"{TAG}const")],
    Discriminator(
        _which,
        custom_error_type="wrong",
        custom_error_message="must say where the value comes from",
        custom_error_context={"hint": "{subject: email}, {balance: [ledger]} or {const: 0}"},
    ),
]


class RepairSection(Strict):
    """How the missing row is written."""

    kind: Annotated[Literal["insert_row"], exactly("insert_row")]
    values: Annotated[dict[Identifier, Source], Field(min_length=1)]
    money: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=1)]
    defaults_accepted: Annotated[tuple[Identifier, ...], Unique] = ()
    plan_expires: Annotated[float, duration("30d")] = 86400.0


class SignalSection(Strict):
    """A PromQL query with one number for its answer, and how high that may be."""

    name: Name
    query: Text
    at_most: Annotated[Decimal, number()]


def _named_apart(signals: tuple[SignalSection, ...]) -> tuple[SignalSection, ...]:
    if len({signal.name for signal in signals}) < len(signals):
        raise wrong("has two signals of one name")
    return signals


class GuardSection(Strict):
    """What a repair may never exceed."""

    max_rows: Annotated[int, whole(1, ROWS_AT_MOST)]
    max_percent: Annotated[Decimal, percent(zero=False)]
    max_rows_per_day: Annotated[int, whole(1, ROWS_AT_MOST)]
    require_checks: Annotated[tuple[Name, ...], Field(min_length=1), Unique]
    triggers_reviewed: Annotated[tuple[Identifier, ...], Unique] = ()
    signals: Annotated[tuple[SignalSection, ...], Field(max_length=10), AfterValidator(_named_apart)] = ()


class VerifySection(Strict):
    """When the repaired rows are read again."""

    again_after: Annotated[tuple[Annotated[float, duration("7d")], ...], Field(max_length=10)]


class RuleSection(Strict):
    """All of a rule file."""

    rule: Text
    summary: Text
    owner: Text
    severity: Annotated[Severity, one_of(Severity)]
    runbook: Text
    every: Annotated[float, duration("7d")]
    mode: Annotated[Mode, one_of(Mode)]
    detect: DetectSection
    repair: RepairSection
    guard: GuardSection
    verify: VerifySection
