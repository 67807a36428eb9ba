"""Every line that Sidecar logs: its static name, its fields, and the event it is made from.

docs/reference/events.md is made from `CATALOGUE`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.domain.breaker import BreakerStatus
from sidecar.domain.check import Verdict
from sidecar.domain.dependence import is_barred
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
from sidecar.domain.run import Outcome

DEBUG: Final = "debug"
INFO: Final = "info"
WARNING: Final = "warning"
ERROR: Final = "error"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of line: its name (`noun.verb_past`), the levels it can have, its fields, and what it says."""

    name: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line to be written."""

    name: str
    level: str
    fields: Mapping[str, object] = field(default_factory=dict)


_LOOK = ("check", "kind", "verdict", "seen", "reason", "duration_seconds", "detail", "notes", "maintenance")
CATALOGUE: Final = (
    Kind("check.observed", (DEBUG, INFO), _LOOK, "A check looked; its standing verdict is as before."),
    Kind("check.flipped", (INFO, WARNING), (*_LOOK, "before"), "A check looked, and its standing verdict changed."),
    Kind("tick.started", (DEBUG,), ("kind", "name", "lag_seconds"), "A tick was handed over."),
    Kind("tick.missed", (WARNING,), ("kind", "name", "cause"), "A tick led to no work: overlap, misfire or error."),
    Kind(
        "look.finished",
        (INFO, WARNING),
        (
            "rule", "proven", "proof", "detail", "violations", "ledger_rows", "expected_rows", "subjects", "oldest_at",
            "duration_seconds",
        ),
        "A rule looked at the data; `proof` names what was missing when nothing was proven.",
    ),
    Kind("plan.made", (INFO,), ("rule", "plan_id", "rows", "waiting"), "A plan was made; `waiting` for a person."),
    Kind("run.started", (INFO,), ("rule", "run_id", "plan_id", "rows", "resumed"), "A run took its plan."),
    Kind(
        "batch.settled",
        (INFO,),
        ("rule", "run_id", "results", "done", "total", "duration_seconds"),
        "Every row of a batch is accounted for.",
    ),
    Kind("cap.measured", (DEBUG,), ("rule", "window", "ratio"), "How much of a cap is used (0..1)."),
    Kind(
        "verification.failed",
        (ERROR,),
        ("rule", "run_id", "invariant", "rows"),
        "The source does not hold what was written.",
    ),
    Kind(
        "verification.made",
        (INFO, ERROR),
        ("rule", "run_id", "number", "holds", "rows", "corrected", "drift"),
        "A run was verified again, some time after its end; `corrected` rows were raced by a ledger writer.",
    ),
    Kind(
        "undo.finished",
        (INFO, WARNING),
        ("rule", "run_id", "undo_id", "applied", "rows", "guard", "value", "limit", "hint"),
        "An undo plan was made, or (`applied`) carried out; `rows` counts rows by how they stand.",
    ),
    Kind(
        "cycle.finished",
        (INFO, WARNING, ERROR),
        (
            "rule", "run_id", "outcome", "results", "guard", "value", "limit", "hint", "detail", "drift",
            "duration_seconds",
        ),
        "A rule's cycle ended, with or without a run; `guard` and what follows it say why it was refused.",
    ),
    Kind("freeze.read", (DEBUG, WARNING), ("rule", "frozen"), "Whether a rule is frozen."),
    Kind("breaker.read", (DEBUG, WARNING), ("rule", "open"), "Whether the breaker of a rule's table is not closed."),
    Kind(
        "breaker.moved",
        (INFO, WARNING),
        ("rule", "before", "after", "reason"),
        "A run of the rule moved the breaker of its table: closed, open or half_open; `reason` is why it opened.",
    ),
    Kind(
        "lease.moved",
        (DEBUG, WARNING),
        ("lease", "epoch", "held", "lost"),
        "This process took a lease or holds it no longer; `lost` when another one took over.",
    ),
    Kind("run.held", (WARNING,), ("rule", "run_id", "reason"), "A run waits before its next batch, and why."),
    Kind(
        "damage.recurred",
        (WARNING,),
        ("rule", "users"),
        "Users whom the rule restored again and again are damaged once more; it leaves them alone. Find the cause.",
    ),
    Kind(
        "tick.postponed",
        (INFO,),
        ("rule", "cause", "rest_seconds"),
        "A rule rests longer than its interval: asked to (Retry-After), because looks are dear (cost), or while blind.",
    ),
    Kind(
        "audit.anchored",
        (INFO,),
        ("seq", "hash", "rows"),
        "The audit's chain holds up to this row. Keep the line: `sidecar audit verify --anchors` checks against it.",
    ),
    Kind(
        "audit.failed",
        (WARNING, ERROR),
        ("verdict", "flaw", "seq", "rows", "detail"),
        "The audit's chain is broken at this row (unhealthy), or could not be read (unknown).",
    ),
    Kind(
        "config.loaded",
        (INFO, ERROR),
        ("by", "digest", "checks", "rules", "problems"),
        "A configuration is in force, at the start or by a reload. With `problems` it was refused, and the last stays.",
    ),
    Kind("lifecycle.changed", (INFO,), ("phase", "detail"), "The daemon started, is stopping, has drained or stopped."),
    Kind("fault.caught", (ERROR,), ("where", "error_type", "detail"), "Something of ours broke and was contained."),
    Kind(
        "notification.delivered",
        (INFO,),
        ("notice", "rule", "webhook", "tries"),
        "A webhook took a notification; `webhook` counts them as configured, from 1.",
    ),
    Kind(
        "notification.failed",
        (WARNING,),
        ("notice", "rule", "webhook", "tries", "cause"),
        "A webhook was given up on; `cause` is how an exchange ended, or an HTTP status.",
    ),
    Kind("notification.dropped", (WARNING,), ("notice", "rule"), "The queue of notifications was full."),
    Kind(
        "library.logged",
        (WARNING, ERROR),
        ("logger", "message", "error_type", "at", "repeated"),
        "A library logged; `repeated` counts the same message since the last line.",
    ),
)  # fmt: skip

FOR_DEBUGGING: Final = (TickStarted, CapMeasured)  # whose lines are never at another level

_BAD: Final = frozenset({Outcome.VERIFY_FAILED, Outcome.FAILED})
_FINE: Final = frozenset({Outcome.NOTHING_TO_DO, Outcome.OBSERVED, Outcome.PLANNED, Outcome.REPAIRED})


def is_for_debugging(event: Event) -> bool:
    """Tell, without rendering it, whether an event's line is of the level debug. There are two for each look."""
    if isinstance(event, CheckObserved):
        return event.flip is None and event.observation.verdict is Verdict.HEALTHY
    return isinstance(event, FOR_DEBUGGING)


def line_of(event: Event) -> Line:
    """Return the line that an event is logged as."""
    return _MAKERS[type(event)](event)


def _check_observed(event: CheckObserved) -> Line:
    seen, standing = event.observation, event.state.verdict
    fields: dict[str, object] = {
        "check": event.check.name,
        "kind": event.check.kind,
        "verdict": standing,
        "seen": seen.verdict,
        "reason": seen.reason,
        "duration_seconds": round(seen.duration_seconds, 6),
        "detail": seen.detail,
        "notes": seen.notes,
        "maintenance": event.state.maintenance,
    }
    if event.flip is not None:
        # What a parent explains is no second alarm.
        level = INFO if standing is Verdict.HEALTHY or is_barred(seen) else WARNING
        return Line("check.flipped", level, {**fields, "before": event.flip.before})
    return Line("check.observed", DEBUG if seen.verdict is Verdict.HEALTHY else INFO, fields)


def _look_finished(event: LookFinished) -> Line:
    counts = event.counts
    fields = {
        "rule": event.rule,
        "proven": event.failure is None,
        "proof": event.failure,
        "detail": event.detail,
        "violations": None if event.violations is None else {k: n for k, n in event.violations.items() if n},
        "ledger_rows": counts.ledger_rows if counts else None,
        "expected_rows": counts.expected_rows if counts else None,
        "subjects": counts.subjects if counts else None,
        "oldest_at": event.oldest_at,
        "duration_seconds": round(event.duration_seconds, 6),
    }
    return Line("look.finished", INFO if event.failure is None else WARNING, fields)


def _batch_settled(event: BatchSettled) -> Line:
    fields = {
        "rule": event.rule,
        "run_id": event.run_id,
        "results": dict(event.results),
        "done": event.done,
        "total": event.total,
        "duration_seconds": round(event.duration_seconds, 6),
    }
    return Line("batch.settled", INFO, fields)


def _cycle_finished(event: CycleFinished) -> Line:
    refusal = event.refusal
    level = ERROR if event.outcome in _BAD else INFO if event.outcome in _FINE else WARNING
    fields = {
        "rule": event.rule,
        "run_id": event.run_id,
        "outcome": event.outcome,
        "results": {result: n for result, n in event.results.items() if n},
        "guard": refusal.guard if refusal else None,
        "value": refusal.value if refusal else None,
        "limit": refusal.limit if refusal else None,
        "hint": refusal.hint if refusal else None,
        "detail": event.detail,
        "drift": event.drift,
        "duration_seconds": round(event.duration_seconds, 6),
    }
    return Line("cycle.finished", level, fields)


def _audit_checked(event: AuditChecked) -> Line:
    if event.verdict is Verdict.HEALTHY:
        return Line("audit.anchored", INFO, {"seq": event.seq, "hash": event.hash, "rows": event.rows})
    level = ERROR if event.verdict is Verdict.UNHEALTHY else WARNING
    names = ("verdict", "flaw", "seq", "rows", "detail")
    return Line("audit.failed", level, {name: getattr(event, name) for name in names})


def _config_loaded(event: ConfigLoaded) -> Line:
    fields = ("by", "digest", "checks", "rules", "problems")
    return Line("config.loaded", ERROR if event.problems else INFO, {name: getattr(event, name) for name in fields})


def _verification_made(event: VerificationMade) -> Line:
    fields = ("rule", "run_id", "number", "holds", "rows", "corrected", "drift")
    return Line("verification.made", INFO if event.holds else ERROR, {name: getattr(event, name) for name in fields})


def _undo_finished(event: UndoFinished) -> Line:
    refusal = event.refusal
    fields = {
        "rule": event.rule,
        "run_id": event.run_id,
        "undo_id": event.undo_id,
        "applied": event.applied,
        "rows": dict(event.rows),
        "guard": refusal.guard if refusal else None,
        "value": refusal.value if refusal else None,
        "limit": refusal.limit if refusal else None,
        "hint": refusal.hint if refusal else None,
    }
    return Line("undo.finished", INFO if refusal is None else WARNING, fields)


def _plain(name: str, level: str, *fields: str) -> Callable[[Event], Line]:
    """Make a line whose fields are the event's own."""
    return lambda event: Line(name, level, {field_name: getattr(event, field_name) for field_name in fields})


def _freeze_read(event: FreezeRead) -> Line:
    return Line("freeze.read", WARNING if event.frozen else DEBUG, {"rule": event.rule, "frozen": event.frozen})


def _breaker_read(event: BreakerRead) -> Line:
    return Line("breaker.read", WARNING if event.open else DEBUG, {"rule": event.rule, "open": event.open})


def _breaker_moved(event: BreakerMoved) -> Line:
    fields = {"rule": event.rule, "before": event.before, "after": event.after, "reason": event.reason}
    return Line("breaker.moved", WARNING if event.after is BreakerStatus.OPEN else INFO, fields)


def _lease_moved(event: LeaseMoved) -> Line:
    fields = {"lease": event.lease, "epoch": event.epoch, "held": event.held, "lost": event.lost}
    return Line("lease.moved", WARNING if event.lost else DEBUG, fields)


_MAKERS: Final[Mapping[type, Callable[[Any], Line]]] = {
    CheckObserved: _check_observed,
    TickStarted: _plain("tick.started", DEBUG, "kind", "name", "lag_seconds"),
    TickMissed: _plain("tick.missed", WARNING, "kind", "name", "cause"),
    LookFinished: _look_finished,
    PlanMade: _plain("plan.made", INFO, "rule", "plan_id", "rows", "waiting"),
    RunStarted: _plain("run.started", INFO, "rule", "run_id", "plan_id", "rows", "resumed"),
    BatchSettled: _batch_settled,
    CapMeasured: _plain("cap.measured", DEBUG, "rule", "window", "ratio"),
    VerifyFailed: _plain("verification.failed", ERROR, "rule", "run_id", "invariant", "rows"),
    VerificationMade: _verification_made,
    UndoFinished: _undo_finished,
    CycleFinished: _cycle_finished,
    FreezeRead: _freeze_read,
    BreakerRead: _breaker_read,
    BreakerMoved: _breaker_moved,
    RunHeld: _plain("run.held", WARNING, "rule", "run_id", "reason"),
    DamageRecurred: _plain("damage.recurred", WARNING, "rule", "users"),
    TickPostponed: _plain("tick.postponed", INFO, "rule", "cause", "rest_seconds"),
    LeaseMoved: _lease_moved,
    AuditChecked: _audit_checked,
    ConfigLoaded: _config_loaded,
    LifecycleChanged: _plain("lifecycle.changed", INFO, "phase", "detail"),
    FaultCaught: _plain("fault.caught", ERROR, "where", "error_type", "detail"),
}
