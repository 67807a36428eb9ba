"""What the tests of the memory are about: one rule, its table, plans and runs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sidecar.domain.look import Catalogue, Counts, ProofFailure, ReadProof, Sighting, Unproven
from sidecar.domain.plan import Plan, PlanRow, PlanStatus
from sidecar.domain.run import Run, RunStatus
from sidecar.ports import State

NOW = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
RULE = "credits_without_profile"
TABLE = "public.users"
KEYS = ("alice", "bob", "carol", "dave", "erin")
BLIND = Unproven(failure=ProofFailure.COUNT_MISMATCH, detail="count before 3, seen 2")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def sighting(
    *candidates: str,
    young: Sequence[str] = (),
    ledger_rows: int = 100,
    read_at: datetime | None = None,
    database: str = "db-1",
) -> Sighting:
    proof = ReadProof(
        horizon_at=NOW,
        database=database,
        read_at=read_at,
        counts=Counts(ledger_rows=ledger_rows, expected_rows=90, subjects=95),
        catalogue=Catalogue(visible=False),
    )
    return Sighting(proof=proof, candidates=candidates, young=young)


def a_plan(plan_id: str = "plan-1", *, keys: Sequence[str] = KEYS, rule: str = RULE, made_at: datetime = NOW) -> Plan:
    rows = [
        PlanRow(
            key=key,
            values={"id": key, "email": f"{key}@example.org", "credits_balance": Decimal("12.50"), "admin": False},
            origins={"credits_balance": "ledger"},
            evidence="e" * 64,
        )
        for key in keys
    ]
    return Plan(
        id=plan_id,
        rule=rule,
        rule_digest="r1",
        schema_fingerprint="s1",
        database="db-1",
        author="sidecar",
        created_at=made_at,
        expires_at=made_at + timedelta(hours=24),
        subjects=95,
        classes={"repairable": len(rows)},
        rows=tuple(rows),
    )


def a_run(plan: Plan, epoch: int, run_id: str = "run-1", *, at: datetime = NOW) -> Run:
    return Run(
        id=run_id,
        rule=plan.rule,
        plan_id=plan.id,
        status=RunStatus.APPLYING,
        outcome=None,
        actor="olga",
        epoch=epoch,
        started_at=at,
        heartbeat_at=at,
    )


async def take(state: State, *, holder: str = "daemon", at: datetime = NOW, ttl_seconds: float = 10.0) -> int:
    epoch = await state.acquire(TABLE, holder, ttl_seconds, at)
    assert epoch is not None
    return epoch


async def started(state: State, epoch: int, number: int = 1, *, at: datetime = NOW) -> Run:
    """Store an approved plan and start its run."""
    plan = a_plan(f"plan-{number}", made_at=at)
    run = a_run(plan, epoch, f"run-{number}", at=at)
    await state.save_plan(plan, PlanStatus.APPROVED, "olga")
    assert await state.start_run(run, plan, TABLE, KEYS)
    return run
