"""The exposition of a scripted story. `python -m tests.telemetry.golden` writes it down anew; read the difference."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from sidecar.domain.check import JSON, Verdict
from sidecar.domain.event import (
    AuditChecked,
    CapMeasured,
    ConfigLoaded,
    Event,
    FreezeRead,
    RunStarted,
    TickMissed,
    TickStarted,
    VerifyFailed,
)
from sidecar.domain.run import Outcome, RowResult
from sidecar.telemetry.metrics import Metrics
from tests.telemetry.cast import (
    AT,
    REASONS,
    RULE,
    a_check,
    a_refusal,
    a_rule,
    ended,
    observed,
    proven,
    settled,
    unproven,
)

GOLDEN = Path(__file__).parent / "data" / "exposition.txt"
BACKEND = a_check()
KEY = a_check("service-key", "service_key")


def a_story() -> Sequence[Event]:
    """Return events of every kind of check and every outcome of a run."""
    facts: dict[str, JSON] = {"rows_visible": {"public.users|service": 123, "public.users|anon": 0}}
    phases = {"connect": 0.01, "processing": 0.1}
    return (
        TickStarted(kind="check", name="backend", lag_seconds=0.02),
        observed(BACKEND, Verdict.HEALTHY, phases=phases, expires_at=AT + timedelta(30)),
        observed(BACKEND, Verdict.UNHEALTHY, "condition_failed", phases=phases, expires_at=AT + timedelta(30)),
        observed(KEY, Verdict.HEALTHY, facts=facts, expires_at=AT + timedelta(300)),
        TickMissed(kind="check", name="backend", cause="overlap"),
        FreezeRead(rule=RULE, frozen=False),
        unproven(),
        proven({"repairable": 3, "chain_broken": 1, "too_young": 2}, oldest_at=AT - timedelta(1)),
        CapMeasured(rule=RULE, window="run", ratio=0.006),
        CapMeasured(rule=RULE, window="day", ratio=0.01),
        RunStarted(rule=RULE, run_id="r1", plan_id="p1", rows=3, resumed=False),
        settled({RowResult.INSERTED: 2, RowResult.RACED: 1}, done=3, total=4),
        VerifyFailed(rule=RULE, run_id="r1", invariant="row_missing", rows=1),
        *(ended(outcome) for outcome in Outcome),
        ended(Outcome.REFUSED, run_id=None, refusal=a_refusal()),
        ended(Outcome.VERIFY_FAILED, drift=-1200.0),
        RunStarted(rule=RULE, run_id="r2", plan_id="p2", rows=2, resumed=False),
        settled({RowResult.INSERTED: 1}, done=1, total=2),
        AuditChecked(verdict=Verdict.HEALTHY, seq=41, hash="ab" * 32, rows=41),
        ConfigLoaded(at=AT, by="start", digest="cd" * 32, checks=2, rules=1),
    )


def exposition() -> str:
    """Return what a scrape shows after the story, with the build left out."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, [BACKEND, KEY], REASONS, [a_rule()])
    for event in a_story():
        metrics.hear(event)
    return re.sub(r"(sidecar_build_info\{)[^}]*\}", r"\1…}", generate_latest(registry).decode())


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(exposition(), encoding="utf-8")
