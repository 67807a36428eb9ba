"""From facts to a finding: is this damage, may it be repaired, and with which values."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sidecar.domain.check import JSON
from sidecar.domain.credits import Balance, NoBalance, prove_balance
from sidecar.domain.look import Facts, Subject
from sidecar.domain.rule import (
    AuthSource,
    Constant,
    FromBalance,
    FromSubject,
    OnMissing,
    Rule,
    Skip,
    Value,
)


class FindingClass(StrEnum):
    """What kind of damage a finding is. Used verbatim as the metric label `class` and as quarantine reason."""

    REPAIRABLE = "repairable"
    TOO_YOUNG = "too_young"  # evidence or subject younger than min_age: a sign-up in flight is not damage
    UNCONFIRMED = "unconfirmed"  # not yet seen in enough consecutive proven looks
    SUBJECT_UNREADABLE = "subject_unreadable"  # Supabase Auth fails at this one user, and at no other
    SUBJECT_GONE = "subject_gone"  # credits of a user whom Supabase Auth does not know any more
    SUBJECT_DELETED = "subject_deleted"
    SUBJECT_BANNED = "subject_banned"
    SUBJECT_ANONYMOUS = "subject_anonymous"
    EMAIL_TAKEN = "email_taken"  # another profile has this user's e-mail
    VALUE_MISSING = "value_missing"  # a value that the rule demands has no source
    NO_EVIDENCE = "no_evidence"
    CHAIN_BROKEN = "chain_broken"
    CHAIN_AMBIGUOUS = "chain_ambiguous"
    OPENING_UNEXPLAINED = "opening_unexplained"
    BALANCE_NEGATIVE = "balance_negative"
    EVIDENCE_CONTRADICTED = "evidence_contradicted"
    LEDGER_FORGEABLE = "ledger_forgeable"
    UNEXAMINED = "unexamined"  # more candidates than a repair may ever touch: counted, not read one by one
    WRITE_REJECTED = "write_rejected"  # an earlier insert of this row was refused; held until released or expired
    RECURRING = "recurring"  # restored again and again: something keeps deleting the row; held until released or past


DEFERRED = frozenset({FindingClass.TOO_YOUNG, FindingClass.UNCONFIRMED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One damaged user. `values` and `origins` are filled for repairable findings only.

    `evidence` is a digest of the ledger rows and anchors that were read: when it differs later, the row is stale.
    `version` is that of the facts. `oldest_at` is the instant of the oldest evidence. `forgeable` marks values that
    rest on a ledger users may write.
    """

    key: str
    kind: FindingClass
    oldest_at: datetime | None
    evidence: str
    values: Mapping[str, Value] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    forgeable: bool = False
    version: str = ""


def classify(rule: Rule, facts: Facts, *, ledger_forgeable: bool, plan_id: str, horizon_at: datetime) -> Finding | None:
    """Judge one candidate; None when its expected row exists by now, or when it is the case of another rule.

    `ledger_forgeable` says that end users can write the ledger (or that it is not visible whether they can). Such a
    ledger still yields values, marked `forgeable`, for a person to judge; they stay out of every automatic plan.
    """
    if facts.expected_row is not None or (isinstance(rule.detect.ledger, AuthSource) and facts.ledger):
        return None
    oldest_at = _oldest(rule, facts)
    evidence = evidence_digest(facts)

    def found(kind: FindingClass) -> Finding:
        return Finding(key=facts.key, kind=kind, oldest_at=oldest_at, evidence=evidence)

    if (barred := _barred(rule, facts, oldest_at, horizon_at)) is not None:
        return found(barred)
    balance = _balance(rule, facts)
    if isinstance(balance, NoBalance):
        return found(FindingClass(balance.value))
    forgeable = ledger_forgeable and balance.rests_on_ledger
    rendered = _render(rule, facts, balance, plan_id, forgeable=forgeable)
    if rendered is None:
        return found(FindingClass.VALUE_MISSING)
    return Finding(
        key=facts.key,
        kind=FindingClass.REPAIRABLE,
        oldest_at=oldest_at,
        evidence=evidence,
        values=rendered[0],
        origins=rendered[1],
        forgeable=forgeable,
        version=facts.version,
    )


def _oldest(rule: Rule, facts: Facts) -> datetime | None:
    if isinstance(rule.detect.ledger, AuthSource):
        return facts.subject.created_at if facts.subject else None
    return min((row.created_at for row in facts.ledger if row.created_at), default=None)


def _barred(rule: Rule, facts: Facts, oldest_at: datetime | None, horizon_at: datetime) -> FindingClass | None:
    """Name what stands in the way before money is even looked at. First match wins."""
    if facts.unreadable:
        return FindingClass.SUBJECT_UNREADABLE
    subject = facts.subject
    if subject is None:
        return FindingClass.SUBJECT_GONE
    if subject.deleted and Skip.DELETED in rule.detect.skip:
        return FindingClass.SUBJECT_DELETED
    if subject.banned and Skip.BANNED in rule.detect.skip:
        return FindingClass.SUBJECT_BANNED
    if subject.anonymous and Skip.ANONYMOUS in rule.detect.skip:
        return FindingClass.SUBJECT_ANONYMOUS
    if subject.created_at > horizon_at or (oldest_at is not None and oldest_at > horizon_at):
        return FindingClass.TOO_YOUNG
    return FindingClass.EMAIL_TAKEN if facts.email_taken else None


def _balance(rule: Rule, facts: Facts) -> Balance | NoBalance:
    source = rule.repair.values[rule.balance_column]
    if not isinstance(source, FromBalance):  # the loader admits nothing else for money
        return NoBalance.NO_EVIDENCE
    return prove_balance(source.order, facts.anchors, facts.ledger, margin=rule.detect.min_age)


def _render(
    rule: Rule, facts: Facts, balance: Balance, plan_id: str, *, forgeable: bool
) -> tuple[dict[str, Value], dict[str, str]] | None:
    """Return the row's values and each value's origin, or None when a demanded value has no source."""
    vouched = f"balance:{balance.origin}" + (", forgeable" if forgeable else "")
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for column, source in rule.repair.values.items():
        match source:
            case FromBalance():
                values[column], origins[column] = balance.amount, vouched
            case Constant():
                values[column] = _constant(source, plan_id)
                origins[column] = "const"
            case FromSubject():
                value = _dig(facts.subject, source.path)
                if value is None and source.on_missing is OnMissing.QUARANTINE:
                    return None
                values[column] = value
                origins[column] = "subject:" + ".".join(source.path) if value is not None else "missing:null"
    return values, origins


def _constant(source: Constant, plan_id: str) -> JSON:
    if source.plan_key is None or not isinstance(source.value, dict):
        return source.value
    return {**source.value, source.plan_key: plan_id}


def _dig(subject: Subject | None, path: tuple[str, ...]) -> JSON:
    """Follow a dotted path to a text. '' is no value (Auth stores it for none), and neither is what is no text.

    Users edit their own metadata: a number or an object there must not come back from a text column as another value.
    """
    here: JSON = dict(subject.fields) if subject else None
    for step in path:
        here = here.get(step) if isinstance(here, dict) else None
    return here if isinstance(here, str) and here else None


def evidence_digest(facts: Facts) -> str:
    """Return a digest of all money evidence about one subject, the same for the same evidence in any order."""
    ledger = sorted(f"{row.order}|{row.amount}|{row.balance_after}" for row in facts.ledger)
    anchors = sorted(f"{a.origin}|{a.balance}|{a.at.isoformat()}" for a in facts.anchors)
    return hashlib.sha256("\n".join([*ledger, "--", *anchors]).encode()).hexdigest()[:32]


def horizon(server_now: datetime, min_age_seconds: float) -> datetime:
    """Return the instant before which evidence is old enough to be judged."""
    return server_now - timedelta(seconds=min_age_seconds)
