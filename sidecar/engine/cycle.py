"""What a cycle of a rule came to, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.look import ProofFailure, Unproven
from sidecar.domain.plan import Plan
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome, RowResult, Run
from sidecar.domain.steering import Freeze
from sidecar.domain.survey import Survey, Surveyed
from sidecar.engine.look import Seen
from sidecar.engine.verify import Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """What a cycle of a rule came to. `results` counts the run's rows; `verified` is None where nothing was written.

    `seen` is of a rule that repairs, `surveyed` of one that only reports; `failure` says which proof was missing.
    """

    rule: str
    outcome: Outcome
    detail: str = ""
    refusal: Refuse | None = None
    retry_after_seconds: float | None = None
    seen: Seen | None = None
    surveyed: Surveyed | None = None
    failure: ProofFailure | None = None
    plan: Plan | None = None
    run_id: str | None = None
    results: Mapping[RowResult, int] = field(default_factory=dict)
    verified: Verified | None = None


def blind(rule: Rule | Survey, why: Unproven | Refuse, *, run_id: str | None = None) -> Cycle:
    """Return the cycle of a rule that could not look, or that was refused while looking."""
    if isinstance(why, Refuse):
        return refused(rule, why, run_id=run_id)
    detail = f"{why.failure}: {why.detail}"
    wait_seconds = why.retry_after_seconds
    return Cycle(
        rule=rule.name,
        outcome=Outcome.UNKNOWN,
        detail=detail,
        failure=why.failure,
        retry_after_seconds=wait_seconds,
        run_id=run_id,
    )


def refused(rule: Rule | Survey, refusal: Refuse, seen: Seen | None = None, *, run_id: str | None = None) -> Cycle:
    """Return the cycle that a guard ended."""
    detail = f"{refusal.guard}: {refusal.value} (limit: {refusal.limit})"
    return Cycle(rule=rule.name, outcome=Outcome.REFUSED, detail=detail, refusal=refusal, seen=seen, run_id=run_id)


def paused(rule: Rule, run: Run, wish: Freeze) -> Cycle:
    """Return the cycle of a rule one of whose runs somebody has paused: it comes first, and it does not move."""
    why = f"{wish.actor} paused run {run.id}" + (f": {wish.reason}" if wish.reason else "")
    hint = f"let it go on with: sidecar resume {run.id}; or end it with: sidecar abort {run.id}"
    return refused(rule, Refuse(guard=GuardName.FROZEN, value=why, limit="not paused", hint=hint), run_id=run.id)


def observed(rule: Rule, seen: Seen) -> Cycle:
    """Return the cycle of a rule that only watches."""
    return Cycle(rule=rule.name, outcome=Outcome.OBSERVED, seen=seen)


def busy(rule: Rule | Survey, table: str) -> Cycle:
    """Return the cycle that another process keeps from its target table."""
    hint = "wait for it; see: sidecar runs"
    return refused(
        rule, Refuse(guard=GuardName.RULE_BUSY, value=f"another process works on {table}", limit="one", hint=hint)
    )
