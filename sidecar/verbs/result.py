"""A verb's result: one JSON document, lines for people, and the exit code of the contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from sidecar.domain.check import Observation, Verdict
from sidecar.domain.finding import FindingClass
from sidecar.domain.look import ProofFailure
from sidecar.domain.reasons import CommonReason
from sidecar.domain.run import Outcome, RowResult
from sidecar.domain.survey import SurveyClass
from sidecar.engine.cycle import Cycle


class Exit(IntEnum):
    """Exit codes, worst last; the highest that applies wins. 2 (usage) and 130 (interrupted) stand beside them."""

    CLEAN = 0
    VIOLATIONS = 1
    USAGE = 2
    UNKNOWN = 3
    REFUSED = 4
    VERIFY_FAILED = 5
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`document` is printed with --json, `lines` without."""

    document: Mapping[str, object]
    lines: Sequence[str]
    code: Exit


def iso(at: datetime | None) -> str | None:
    """Render an instant for a document."""
    return None if at is None else at.isoformat(timespec="seconds")


def code_of_checks(seen: Sequence[Observation]) -> Exit:
    """Return the code of some looks. What only waits for an unhealthy parent adds nothing to what the parent says."""
    is_violated = any(look.verdict is Verdict.UNHEALTHY for look in seen)
    blind = {look.reason for look in seen if look.verdict is Verdict.UNKNOWN}
    if blind - ({CommonReason.DEPENDENCY_DOWN} if is_violated else set()):
        return Exit.UNKNOWN
    return Exit.VIOLATIONS if is_violated else Exit.CLEAN


def code_of_look(cycle: Cycle) -> Exit:
    """Return the code of a cycle that only looked: damage counts, a sign-up in flight does not."""
    if cycle.outcome is Outcome.REFUSED:
        return Exit.REFUSED
    if cycle.surveyed is not None:
        return Exit.VIOLATIONS if cycle.surveyed.damaged else Exit.CLEAN
    if cycle.outcome is Outcome.UNKNOWN or cycle.seen is None:
        return Exit.UNKNOWN
    damaged = any(finding.kind is not FindingClass.TOO_YOUNG for finding in cycle.seen.findings)
    return Exit.VIOLATIONS if damaged else Exit.CLEAN


def deciding(cycles: Sequence[Cycle]) -> Sequence[Cycle]:
    """Return the cycles whose codes count where every rule was asked: not those that this path can never look at.

    Source: docs/decisions/0006. Where no rule could look at all, each counts.
    """
    able = [cycle for cycle in cycles if cycle.failure is not ProofFailure.NEEDS_DATABASE]
    return able or cycles


def code_of_repair(cycle: Cycle) -> Exit:
    """Return the code of a cycle that was to repair: quarantined and deferred rows do not raise it."""
    by_outcome = {
        Outcome.VERIFY_FAILED: Exit.VERIFY_FAILED,
        Outcome.REFUSED: Exit.REFUSED,
        Outcome.UNKNOWN: Exit.UNKNOWN,
        Outcome.NOTHING_TO_DO: Exit.CLEAN,
        Outcome.REPAIRED: Exit.CLEAN,
    }
    if cycle.surveyed is not None:
        return Exit.CLEAN  # what a rule only reports is no repairable row left behind
    if cycle.outcome is Outcome.OBSERVED:
        return code_of_look(cycle)
    if cycle.outcome is Outcome.PARTLY_REPAIRED:
        left = (RowResult.CONFLICT, RowResult.FAILED, RowResult.PLANNED, RowResult.UNDETERMINED)
        return Exit.VIOLATIONS if any(cycle.results.get(result) for result in left) else Exit.CLEAN
    return by_outcome.get(cycle.outcome, Exit.VIOLATIONS)


def observation_document(seen: Observation) -> dict[str, object]:
    """Return what the contract prints of a look."""
    return {
        "name": seen.check,
        "kind": seen.kind,
        "verdict": str(seen.verdict),
        "reason": seen.reason,
        "duration_seconds": round(seen.duration_seconds, 6),
        "detail": seen.detail,
        "notes": list(seen.notes),
    }


def cycle_document(cycle: Cycle) -> dict[str, object]:
    """Return what the contract prints of a rule's cycle. `violations` is null while nothing is proven."""
    seen, results = cycle.seen, cycle.results
    quarantined = dict(seen.held) if seen else {}
    refusal = cycle.refusal
    classes = _classes(cycle)
    return {
        "rule": cycle.rule,
        "outcome": str(cycle.outcome),
        "violations": classes,
        "planned": len(cycle.plan.rows) if cycle.plan else 0,
        "inserted": results.get(RowResult.INSERTED, 0),
        "raced": results.get(RowResult.RACED, 0),
        "deferred": (seen.deferred if seen else 0) + results.get(RowResult.DEFERRED, 0),
        "quarantined": quarantined,
        "results": {str(result): count for result, count in sorted(results.items())},
        "refused_by": str(refusal.guard) if refusal else None,
        "refusal": {"value": refusal.value, "limit": refusal.limit, "hint": refusal.hint} if refusal else None,
        "verified": cycle.verified.holds if cycle.verified else None,
        "detail": cycle.detail,
        "plan_id": cycle.plan.id if cycle.plan else None,
        "run_id": cycle.run_id,
        "looks": seen.looks if seen else int(cycle.surveyed is not None),
        **_samples(cycle),
    }


def _classes(cycle: Cycle) -> dict[str, int] | None:
    if cycle.surveyed is not None:
        return {str(name): count for name, count in sorted(cycle.surveyed.classes.items())}
    return dict(cycle.seen.classes) if cycle.seen else None


def _samples(cycle: Cycle) -> dict[str, object]:
    """Return a few ids of each class that a survey found, so that a person can look one up."""
    if cycle.surveyed is None:
        return {}
    oldest_at = cycle.surveyed.oldest_at
    samples = {str(name): list(ids) for name, ids in sorted(cycle.surveyed.samples.items())}
    return {"samples": samples, "oldest_at": iso(oldest_at), "rows": cycle.surveyed.proof.counts.expected_rows}


def cycle_lines(cycle: Cycle) -> list[str]:
    """Tell a person how a cycle ended: the outcome first, then the counts, then what to do."""
    lines = [f"{cycle.rule}: {cycle.outcome}" + (f" — {cycle.detail}" if cycle.detail else "")]
    if cycle.refusal is not None:
        lines += [f"  guard   {cycle.refusal.guard}", f"  value   {cycle.refusal.value}"]
        lines += [f"  limit   {cycle.refusal.limit}", f"  do      {cycle.refusal.hint}"]
    for name, count in (_classes(cycle) or {}).items():
        ids = cycle.surveyed.samples.get(SurveyClass(name), ()) if cycle.surveyed else ()
        lines.append(f"  {count:>7}  {name}" + (f"  such as {ids[0]}" if ids else ""))
    if cycle.seen is not None and cycle.seen.looks > 1:
        lines.append(f"  confirmed by {cycle.seen.looks} looks, one at once after the other")
    if cycle.run_id is not None:
        counted = ", ".join(f"{count} {result}" for result, count in sorted(cycle.results.items()))
        lines.append(f"  run {cycle.run_id}: {counted or 'no rows'}")
    if cycle.verified is not None:
        state = "verified from the source" if cycle.verified.holds else f"VERIFY FAILED: {dict(cycle.verified.broken)}"
        lines.append(f"  {state}, drift {cycle.verified.drift} credits")
    if cycle.outcome is Outcome.PLANNED and cycle.plan is not None:
        lines.append(f"  plan {cycle.plan.id} waits: sidecar show {cycle.plan.id}; sidecar approve {cycle.plan.id}")
    return lines
