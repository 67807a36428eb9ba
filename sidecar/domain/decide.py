"""From findings to a decision: nothing, a refusal with its guard, or the rows of a plan. UNKNOWN never writes."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import TypeAlias

from sidecar.domain.check import Observation, Verdict
from sidecar.domain.finding import Finding, FindingClass
from sidecar.domain.look import Baseline, Catalogue, Counts, ProofFailure, ReadProof, Unproven
from sidecar.domain.plan import Plan
from sidecar.domain.rule import Guard, Mode, Rule


class GuardName(StrEnum):
    """What can refuse a repair. Used verbatim as the metric label `guard`."""

    MODE = "mode"  # the rule only observes
    FROZEN = "frozen"
    FREEZE_UNREADABLE = "freeze_unreadable"
    REQUIRE_CHECKS = "require_checks"
    MAX_ROWS = "max_rows"
    MAX_PERCENT = "max_percent"
    MAX_ROWS_PER_DAY = "max_rows_per_day"
    LEDGER_FORGEABLE = "ledger_forgeable"
    CATALOGUE_NOT_VISIBLE = "catalogue_not_visible"  # auto needs to see triggers, keys and defaults
    NO_CREATED_COLUMN = "no_created_column"  # without one a read cannot be proven well enough for auto
    TRIGGERS_REVIEWED = "triggers_reviewed"
    DEFAULTS_ACCEPTED = "defaults_accepted"
    COLUMN_MISSING = "column_missing"
    KEY_NOT_UNIQUE = "key_not_unique"
    KEY_TYPE_UNSUPPORTED = "key_type_unsupported"
    SCHEMA_MISMATCH = "schema_mismatch"  # a table or column that the rule names does not exist
    PLAN_GUARD = "plan_guard"  # PostgreSQL would not carry the detection out as an anti join
    PLAN_STALE = "plan_stale"
    PLAN_EXPIRED = "plan_expired"
    PLAN_NOT_APPROVED = "plan_not_approved"
    PLAN_TAKEN = "plan_taken"
    BREAKER_OPEN = "breaker_open"  # too much went wrong on this target table
    SIGNALS = "signals"  # a signal said wait for too long, or could not be read
    UNDO_NEEDS_DATABASE = "undo_needs_database"  # over REST nobody sees what a DELETE would take along
    RULE_BUSY = "rule_busy"  # another process holds the lease of this target table


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """A guard said no. Printed as: guard, value, limit, what to do."""

    guard: GuardName
    value: str
    limit: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """Proven: no row may be repaired now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proceed:
    """The rows that may be planned. `automatic` says that the guards themselves approve the plan."""

    rows: Sequence[Finding]
    automatic: bool


Decision: TypeAlias = Refuse | Nothing | Proceed


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a decision rests on beside the findings.

    `rows_today` counts rows written to the target table in the last 24 hours, rows in flight included.
    `trusted` is False when the rule's digest or the target's schema changed since its last verified plan.
    `typed` says that a person typed `backfill`, which is that person's approval.
    `switch` is what a switch outside of memory refuses, `breaker` what the breaker of the target table does.
    """

    catalogue: Catalogue
    subjects: int
    rows_today: int
    frozen: str | None
    trusted: bool
    typed: bool
    switch: Refuse | None = None
    breaker: Refuse | None = None

    @property
    def stopped(self) -> Refuse | None:
        """Who stopped all writing, by whatever switch."""
        return judge_freeze(self.frozen) or self.switch


def judge_read(rule: Rule, seen: Counts, database: str, baseline: Baseline | None) -> Unproven | None:
    """Compare a whole read with the last proven one and with the floors; None when it may be believed."""
    if seen.subjects < 1:
        return Unproven(failure=ProofFailure.BELOW_FLOOR, detail="Supabase Auth counts 0 users")
    if baseline is None:
        return _floor(rule, seen)
    if baseline.database != database:
        return Unproven(
            failure=ProofFailure.DATABASE_CHANGED,
            detail="this is not the database of the last proven look; accept it with: detect --accept-change",
        )
    pairs = (
        (str(rule.detect.ledger.table), seen.ledger_rows, baseline.counts.ledger_rows),
        (str(rule.detect.expects.table), seen.expected_rows, baseline.counts.expected_rows),
        ("auth users", seen.subjects, baseline.counts.subjects),
    )
    for name, now, before in pairs:
        if (before - now) * 100 > rule.detect.max_change_percent * before:
            detail = f"{name} shrank from {before} to {now}, more than {rule.detect.max_change_percent} %"
            hint = "; if a person meant it, accept it with: detect --accept-change"
            return Unproven(failure=ProofFailure.COUNT_CHANGED, detail=detail + hint)
    return _floor(rule, seen)


def _floor(rule: Rule, seen: Counts) -> Unproven | None:
    if seen.expected_rows < 1 and seen.ledger_rows > 0:
        detail = f"{rule.detect.expects.table} is empty although {rule.detect.ledger.table} is not"
        return Unproven(failure=ProofFailure.BELOW_FLOOR, detail=detail)
    return None


def judge_checks(rule: Rule, seen: Mapping[str, Observation]) -> Refuse | Unproven | None:
    """Demand that each check that the rule requires was healthy in this very cycle."""
    return judge_required(rule.guard.require_checks, seen)


def judge_required(required: Sequence[str], seen: Mapping[str, Observation]) -> Refuse | Unproven | None:
    """Demand that each of some checks was healthy in this very cycle; one that could not look leaves us blind."""
    for name in required:
        look = seen.get(name)
        if look is None or look.verdict is Verdict.UNKNOWN:
            reason = look.reason if look else "not configured"
            return Unproven(
                failure=ProofFailure.CHECK_UNKNOWN,
                detail=f"{name}: {reason}",
                retry_after_seconds=look.retry_after_seconds if look else None,
            )
        if look.verdict is not Verdict.HEALTHY:
            return Refuse(
                guard=GuardName.REQUIRE_CHECKS,
                value=f"{name} is {look.verdict}: {look.reason}",
                limit="healthy in this cycle",
                hint=f"mend what it names, then see: sidecar check {name}",
            )
    return None


def mark_unconfirmed(rule: Rule, findings: Sequence[Finding], confirmations: Mapping[str, int]) -> tuple[Finding, ...]:
    """Turn repairable findings that were not seen in enough consecutive proven looks into `unconfirmed` ones."""
    return tuple(
        replace(finding, kind=FindingClass.UNCONFIRMED, values={}, origins={})
        if finding.kind is FindingClass.REPAIRABLE and confirmations.get(finding.key, 0) < rule.detect.confirmations
        else finding
        for finding in findings
    )


def mark_recurring(findings: Sequence[Finding], often: Collection[str]) -> tuple[Finding, ...]:
    """Turn repairable findings that this rule restored `often` into `recurring` ones: a loop would hide the cause."""
    return tuple(
        replace(finding, kind=FindingClass.RECURRING, values={}, origins={})
        if finding.kind is FindingClass.REPAIRABLE and finding.key in often
        else finding
        for finding in findings
    )


def separate_forgeable(findings: Sequence[Finding], mode: Mode, *, typed: bool) -> tuple[Finding, ...]:
    """Keep values that rest on a ledger users may write away from everything but a plan that a person reads first."""
    if mode is not Mode.AUTO and not typed:
        return tuple(findings)
    return tuple(
        replace(finding, kind=FindingClass.LEDGER_FORGEABLE, values={}, origins={})
        if finding.forgeable and finding.kind is FindingClass.REPAIRABLE
        else finding
        for finding in findings
    )


def decide(rule: Rule, findings: Sequence[Finding], situation: Situation) -> Decision:
    """Decide what may be written, from proven findings only.

    Order: what forbids writing at all, then whether there is anything to write, then what bounds the amount.
    """
    rows = [finding for finding in findings if finding.kind is FindingClass.REPAIRABLE]
    kinds = Counter(finding.kind for finding in findings)
    if not rows and not kinds[FindingClass.LEDGER_FORGEABLE] and not kinds[FindingClass.UNEXAMINED]:
        return Nothing()
    if rule.mode is Mode.OBSERVE:
        return Refuse(guard=GuardName.MODE, value="observe", limit="approve or auto", hint="the rule only watches")
    refusal = (
        situation.stopped
        or judge_schema(rule, situation)
        or judge_amount(rule, len(rows) + kinds[FindingClass.UNEXAMINED], situation)
    )
    if refusal is not None:
        return refusal
    if not rows:
        return Refuse(
            guard=GuardName.LEDGER_FORGEABLE,
            value=f"{kinds[FindingClass.LEDGER_FORGEABLE]} rows rest on a ledger that {_writers(situation)} may write",
            limit="no write privilege or policy for end users",
            hint=f"revoke it, or review a plan by hand: sidecar plan {rule.name}",
        )
    automatic = situation.typed or (rule.mode is Mode.AUTO and situation.trusted)
    if automatic and situation.breaker is not None:
        return situation.breaker  # a plan for a person may still be made: it is not applied before the breaker allows
    return Proceed(rows=rows, automatic=automatic)


def judge_freeze(frozen: str | None) -> Refuse | None:
    """Refuse while anybody has frozen the rule or everything."""
    if frozen is None:
        return None
    hint = "lift it with: sidecar unfreeze; a paused run with: sidecar resume"
    return Refuse(guard=GuardName.FROZEN, value=frozen, limit="not frozen", hint=hint)


def _writers(situation: Situation) -> str:
    return ", ".join(situation.catalogue.ledger_writers) or "somebody not visible from here"


def judge_schema(rule: Rule, situation: Situation) -> Refuse | None:
    """Refuse what the catalogue shows to be unforeseen, and, in auto, what it does not show at all."""
    catalogue = situation.catalogue
    automatic = rule.mode is Mode.AUTO
    if not catalogue.visible:
        if not automatic:
            return None
        return Refuse(
            guard=GuardName.CATALOGUE_NOT_VISIBLE,
            value="triggers, foreign keys and defaults cannot be seen over REST",
            limit="visible, for mode auto",
            hint="install the fixture (sidecar schema --fixture) or use mode approve",
        )
    if automatic and None in (rule.detect.ledger.created, rule.detect.expects.created):
        return Refuse(
            guard=GuardName.NO_CREATED_COLUMN,
            value="evidence or expected row has no created column",
            limit="both, for mode auto",
            hint="name them in the rule or use mode approve",
        )
    return judge_target(rule, catalogue)


def judge_target(rule: Rule, catalogue: Catalogue) -> Refuse | None:
    """Refuse a target whose columns, triggers or keys the rule did not foresee."""
    names = {column.name for column in catalogue.columns}
    written = set(rule.repair.values)
    if missing := sorted(written - names):
        return Refuse(
            guard=GuardName.COLUMN_MISSING,
            value=", ".join(missing),
            limit=f"columns of {rule.detect.expects.table}",
            hint="the table has changed; edit repair.values",
        )
    if (rule.detect.expects.key,) not in catalogue.uniques:
        return Refuse(
            guard=GuardName.KEY_NOT_UNIQUE,
            value=rule.detect.expects.key,
            limit="a primary or unique key of its own",
            hint="without it a second row for one user could be inserted",
        )
    if unread := sorted(set(catalogue.triggers) - rule.guard.triggers_reviewed):
        return Refuse(
            guard=GuardName.TRIGGERS_REVIEWED,
            value=", ".join(unread),
            limit="named in guard.triggers_reviewed",
            hint="read what each does on INSERT, then name it",
        )
    left = {c.name for c in catalogue.columns if not c.generated} - written - rule.repair.defaults_accepted
    if left:
        return Refuse(
            guard=GuardName.DEFAULTS_ACCEPTED,
            value=", ".join(sorted(left)),
            limit="written, or named in repair.defaults_accepted",
            hint="a default is not evidence; decide for each column",
        )
    return None


def percent_cap(max_percent: Decimal, subjects: int) -> int:
    """Return the cap in rows: percent of subjects rounded down, but never below 1."""
    share = (max_percent * subjects / 100).to_integral_value(rounding=ROUND_DOWN)
    return max(1, int(share))


def judge_amount(rule: Rule, rows: int, situation: Situation) -> Refuse | None:
    """Refuse more rows than the caps allow for this run, this population and this day."""
    guard: Guard = rule.guard
    hint = "more damage than a repair may touch at once usually means a read that lies; look before raising it"
    share = percent_cap(guard.max_percent, situation.subjects)
    if rows > guard.max_rows:
        return Refuse(guard=GuardName.MAX_ROWS, value=f"{rows} rows", limit=f"{guard.max_rows} rows", hint=hint)
    if rows > share:
        limit = f"{share} rows ({guard.max_percent} % of {situation.subjects} subjects)"
        return Refuse(guard=GuardName.MAX_PERCENT, value=f"{rows} rows", limit=limit, hint=hint)
    if situation.rows_today + rows > guard.max_rows_per_day:
        return Refuse(
            guard=GuardName.MAX_ROWS_PER_DAY,
            value=f"{rows} rows on top of {situation.rows_today} in 24 hours",
            limit=f"{guard.max_rows_per_day} rows",
            hint="wait, or find out why profiles keep disappearing",
        )
    return None


def judge_plan(plan: Plan, rule: Rule, proof: ReadProof, now: datetime) -> Refuse | None:
    """Refuse a plan that is no longer about this rule, this schema, this database or this time."""
    if now >= plan.expires_at:
        limit = plan.expires_at.isoformat(timespec="seconds")
        return Refuse(guard=GuardName.PLAN_EXPIRED, value=f"plan {plan.id}", limit=f"until {limit}", hint=_again(rule))
    bound = (
        ("rule", (plan.rule, plan.rule_digest), (rule.name, rule.digest)),
        ("schema", plan.schema_fingerprint, proof.catalogue.fingerprint),
        ("database", plan.database, proof.database),
    )
    for name, then, today in bound:
        if then != today:
            value = f"the {name} changed since plan {plan.id} was made"
            return Refuse(guard=GuardName.PLAN_STALE, value=value, limit=f"the same {name}", hint=_again(rule))
    return None


def _again(rule: Rule) -> str:
    return f"make a new one: sidecar plan {rule.name}"


def oldest(findings: Sequence[Finding]) -> datetime | None:
    """Return the instant of the oldest evidence among findings that need somebody, None when there is none."""
    return min((finding.oldest_at for finding in findings if finding.oldest_at), default=None)
