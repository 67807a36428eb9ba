"""The events that the tests of telemetry tell, made short."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from sidecar.domain.breaker import BreakerStatus
from sidecar.domain.check import JSON, Check, CheckState, Flip, Observation, Severity, Verdict, fold
from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.event import (
    AuditChecked,
    BatchSettled,
    BreakerMoved,
    BreakerRead,
    CapMeasured,
    CheckObserved,
    ConfigLoaded,
    CycleFinished,
    DamageRecurred,
    Event,
    FaultCaught,
    FreezeRead,
    LeaseMoved,
    LifecycleChanged,
    LookFinished,
    PlanMade,
    RunHeld,
    RunStarted,
    TickMissed,
    TickPostponed,
    TickStarted,
    UndoFinished,
    VerificationMade,
    VerifyFailed,
)
from sidecar.domain.look import Counts, ProofFailure
from sidecar.domain.rule import (
    Detect,
    ExpectedRow,
    FromBalance,
    Guard,
    LedgerSource,
    Mode,
    Origin,
    Repair,
    Rule,
    Table,
)
from sidecar.domain.run import Outcome, RowResult

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
REASONS: Mapping[str, tuple[str, ...]] = {
    "http": ("ok", "timed_out", "condition_failed"),
    "service_key": ("ok", "key_missing", "rls_still_applied", "network_down"),
}
RULE = "credits_without_profile"


def a_check(name: str = "backend", kind: str = "http", *, fail_after: int = 1) -> Check:
    return Check(
        name=name,
        kind=kind,
        every_seconds=30.0,
        timeout_seconds=5.0,
        severity=Severity.CRITICAL,
        fail_after=fail_after,
        pass_after=1,
        spec=None,
    )


def a_rule(name: str = RULE) -> Rule:
    profile = Table("public", "users")
    ledger = LedgerSource(
        table=Table("public", "credit_transactions"),
        key="user_id",
        created="created_at",
        order=("created_at", "id"),
        amount="amount",
        balance="balance_after",
    )
    return Rule(
        name=name,
        summary="A user owns credits but has no profile row.",
        owner="billing",
        severity=Severity.CRITICAL,
        runbook="docs/howto/runbooks/credits-without-profile.md",
        every_seconds=300.0,
        mode=Mode.AUTO,
        detect=Detect(
            ledger=ledger,
            skip=frozenset(),
            expects=ExpectedRow(table=profile, key="id", created="created_at"),
            min_age_seconds=900.0,
            confirmations=2,
            max_change_percent=Decimal(10),
        ),
        repair=Repair(
            values={"credits_balance": FromBalance(order=(Origin.LEDGER,))},
            money=frozenset({"credits_balance"}),
            defaults_accepted=frozenset(),
            plan_expires_seconds=86400.0,
        ),
        guard=Guard(
            max_rows=500,
            max_percent=Decimal("0.5"),
            max_rows_per_day=5000,
            require_checks=("service-key",),
            triggers_reviewed=frozenset(),
        ),
        verify_again_after_seconds=(60.0,),
        digest="d1",
    )


def observed(
    check: Check,
    verdict: Verdict,
    reason: str = "ok",
    *,
    detail: str = "",
    phases: Mapping[str, float] | None = None,
    facts: Mapping[str, JSON] | None = None,
    expires_at: datetime | None = None,
    before: CheckState | None = None,
) -> CheckObserved:
    seen = Observation(
        check=check.name,
        kind=check.kind,
        verdict=verdict,
        reason=reason,
        taken_at=AT,
        duration_seconds=0.2,
        detail=detail,
        phases=phases or {},
        facts=facts or {},
        expires_at=expires_at,
    )
    state, flip = fold(check, before or CheckState(), seen)
    return CheckObserved(check=check, observation=seen, state=state, flip=flip)


def proven(violations: Mapping[str, int], *, rule: str = RULE, oldest_at: datetime | None = None) -> LookFinished:
    return LookFinished(
        rule=rule,
        failure=None,
        detail="",
        violations=violations,
        counts=Counts(ledger_rows=40, expected_rows=20, subjects=25),
        oldest_at=oldest_at,
        taken_at=AT,
        duration_seconds=1.5,
    )


def unproven(failure: ProofFailure = ProofFailure.COUNT_MISMATCH, *, rule: str = RULE) -> LookFinished:
    return LookFinished(
        rule=rule,
        failure=failure,
        detail="public.users: 20 before, 19 seen, 20 after",
        violations=None,
        counts=None,
        oldest_at=None,
        taken_at=AT,
        duration_seconds=1.5,
    )


def ended(
    outcome: Outcome = Outcome.REPAIRED,
    *,
    run_id: str | None = "r1",
    refusal: Refuse | None = None,
    results: Mapping[RowResult, int] | None = None,
    drift: float | None = None,
    detail: str = "",
) -> CycleFinished:
    return CycleFinished(
        rule=RULE,
        run_id=run_id,
        outcome=outcome,
        results=results or {},
        refusal=refusal,
        detail=detail,
        drift=drift,
        duration_seconds=2.0,
    )


def settled(results: Mapping[RowResult, int], *, done: int, total: int) -> BatchSettled:
    return BatchSettled(rule=RULE, run_id="r1", results=results, duration_seconds=0.3, done=done, total=total, at=AT)


def a_refusal(value: str = "600 rows") -> Refuse:
    return Refuse(guard=GuardName.MAX_ROWS, value=value, limit="500 rows", hint="look before raising it")


def one_of_each() -> tuple[Event, ...]:
    """Return one event of every type."""
    check = a_check()
    return (
        observed(check, Verdict.UNHEALTHY, "timed_out"),
        CheckObserved(
            check=check,
            observation=observed(check, Verdict.HEALTHY).observation,
            state=CheckState(verdict=Verdict.HEALTHY, since=AT),
            flip=Flip(check=check.name, before=Verdict.UNHEALTHY, after=Verdict.HEALTHY, at=AT),
        ),
        TickStarted(kind="check", name="backend", lag_seconds=0.02),
        TickMissed(kind="check", name="backend", cause="overlap"),
        proven({"repairable": 3}, oldest_at=AT),
        unproven(),
        PlanMade(rule=RULE, plan_id="p1", rows=3, waiting=True),
        RunStarted(rule=RULE, run_id="r1", plan_id="p1", rows=3, resumed=False),
        settled({RowResult.INSERTED: 3}, done=3, total=3),
        CapMeasured(rule=RULE, window="day", ratio=0.25),
        VerifyFailed(rule=RULE, run_id="r1", invariant="row_missing", rows=1),
        VerificationMade(rule=RULE, run_id="r1", number=1, holds=True, rows=2, corrected=1, drift=0.0),
        UndoFinished(rule=RULE, run_id="r1", undo_id="undo-1", applied=True, rows={"undone": 2}, refusal=None),
        ended(Outcome.REFUSED, run_id=None, refusal=a_refusal()),
        FreezeRead(rule=RULE, frozen=True),
        BreakerRead(rule=RULE, open=True),
        BreakerMoved(rule=RULE, before=BreakerStatus.CLOSED, after=BreakerStatus.OPEN, reason="credits drifted"),
        RunHeld(rule=RULE, run_id="r1", reason="signal load is 3, at most 2"),
        DamageRecurred(rule=RULE, users=2),
        TickPostponed(rule=RULE, cause="cost", rest_seconds=40.0),
        LeaseMoved(lease="public.users", epoch=4, held=False, lost=True),
        AuditChecked(verdict=Verdict.HEALTHY, seq=7, hash="ab" * 32, rows=7),
        AuditChecked(verdict=Verdict.UNHEALTHY, seq=3, rows=2, flaw="row_changed", detail="it was edited"),
        ConfigLoaded(at=AT, by="start", digest="cd" * 32, checks=2, rules=1),
        ConfigLoaded(at=AT, by="SIGHUP", digest="cd" * 32, checks=2, rules=1, problems=("sidecar.yaml:1:1: no",)),
        LifecycleChanged(phase="started", detail="version 0.1.0"),
        FaultCaught(where="check backend", error_type="KeyError", detail="watch.py:40 in look"),
    )
