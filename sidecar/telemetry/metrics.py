"""Turns events into metrics. Label values come from closed sets: names of the configuration and enums of the domain."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

from prometheus_client import CollectorRegistry

from sidecar.domain.breaker import BreakerStatus
from sidecar.domain.check import INTERVALS_FRESH, JSON, Check, Observation, Verdict
from sidecar.domain.decide import GuardName
from sidecar.domain.dependence import BARRED, is_barred
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
from sidecar.domain.finding import DEFERRED, FindingClass
from sidecar.domain.look import ProofFailure
from sidecar.domain.reasons import CommonReason
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome, RowResult
from sidecar.domain.survey import Survey
from sidecar.telemetry import catalogue as m
from sidecar.telemetry.series import Exposition, Family, Labels

UNLISTED: Final = "unlisted"  # stands for a label value outside its closed set, which only a bug of ours can produce
NOT_PRESET: Final = frozenset({"ok", CommonReason.NO_CONNECTIVITY.value})  # of a thousand checks, most never need it
PHASES: Final = ("resolve", "connect", "tls", "processing", "transfer")
ROLES: Final = ("anon", "authenticated", "service")
MISSED_CAUSES: Final = ("overlap", "misfire", "error")
EVALUATION_RESULTS: Final = ("pass", "fail", "unknown", "error")
INVARIANTS: Final = ("row_missing", "value_differs", "ledger_changed", "row_doubled", "row_extra")
NOTIFICATION_RESULTS: Final = ("delivered", "failed", "dropped", "repeated")
SERVICE_KEY: Final = "service_key"


class Metrics:
    """A listener of events. Hear from one thread only; scrape from any."""

    def __init__(
        self,
        registry: CollectorRegistry,
        checks: Sequence[Check],
        reasons: Mapping[str, Sequence[str]],
        rules: Sequence[Rule | Survey],
        *,
        revision: str = "unknown",
        trace_id: Callable[[], str | None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Register every metric, and preset what is known beforehand.

        `reasons` maps a kind to every reason of its enum. `trace_id` returns the id of the current trace, for
        exemplars, or None when no trace is exported. What a look saw is left out once `monotonic` says it is stale.
        """
        self._exposition = Exposition(m.CATALOGUE, monotonic)
        self._monotonic = monotonic
        self._reasons = {
            kind: tuple(dict.fromkeys((*listed, *map(str, CommonReason)))) for kind, listed in reasons.items()
        }
        self._trace_id = trace_id
        self._kinds = {check.name: check.kind for check in checks}
        self._classes = {rule.name: classes_of(rule) for rule in rules}
        self._gone: frozenset[str] = frozenset()
        self._hear = MappingProxyType(self._hearers())
        self._preset(checks, rules)
        build = (version("supabase-sidecar"), revision, platform.python_version())
        self._exposition.gauge(m.BUILD).put(build, 1)
        registry.register(self._exposition)

    def _hearers(self) -> dict[type, Callable[[Any], None]]:
        """Return who counts which event."""
        return {
            CheckObserved: self._check_observed,
            TickStarted: self._tick_started,
            TickMissed: self._tick_missed,
            LookFinished: self._look_finished,
            RunStarted: self._run_started,
            BatchSettled: self._batch_settled,
            CapMeasured: self._cap_measured,
            VerifyFailed: self._verify_failed,
            VerificationMade: self._verification_made,
            UndoFinished: self._undo_finished,
            CycleFinished: self._cycle_finished,
            FreezeRead: self._freeze_read,
            BreakerRead: self._breaker_read,
            BreakerMoved: self._breaker_moved,
            FaultCaught: self._fault_caught,
            LeaseMoved: self._lease_moved,
            AuditChecked: self._audit_checked,
            ConfigLoaded: self._config_loaded,
            PlanMade: _say_nothing,
            RunHeld: _say_nothing,
            DamageRecurred: _say_nothing,
            TickPostponed: _say_nothing,
            LifecycleChanged: _say_nothing,
        }

    def hear(self, event: Event) -> None:
        """Count one event. What a rule that is gone still does has no series any more."""
        if getattr(event, "rule", None) not in self._gone:
            self._hear[type(event)](event)

    def follow(self, checks: Sequence[Check], rules: Sequence[Rule | Survey]) -> None:
        """Know these checks and rules from now on. What is gone has no series any more; what stays counts on."""
        kinds = {check.name: check.kind for check in checks}
        for name, kind in self._kinds.items():
            if kinds.get(name) != kind:
                self._exposition.forget("check", name)
        if SERVICE_KEY not in kinds.values():
            for family in (m.KEY_REASON, m.KEY_EXPIRY, m.ROWS_VISIBLE):
                self._exposition.gauge(family).drop()
        classes = {rule.name: classes_of(rule) for rule in rules}
        self._gone = (self._gone | self._classes.keys()) - classes.keys()
        for name in self._classes.keys() - classes.keys():
            self._exposition.forget("rule", name)
        self._kinds, self._classes = kinds, classes
        self._preset(checks, rules)

    def count_listener_failure(self, listener: str) -> None:
        """Count an event that a listener of telemetry failed to take."""
        self._exposition.counter(m.LISTENER_FAILURES, listener).inc()

    def count_notification(self, result: str) -> None:
        """Count what became of a notification (see `NOTIFICATION_RESULTS`)."""
        self._exposition.counter(m.NOTIFICATIONS, _listed(result, NOTIFICATION_RESULTS)).inc()

    def _preset_check(self, check: Check) -> None:
        of = self._exposition
        of.gauge(m.CHECK_INTERVAL).put((check.name,), check.every_seconds)
        of.counter(m.CHECK_RUNS, check.name, check.kind)
        of.histogram(m.CHECK_DURATION, check.name, check.kind)
        of.histogram(m.CHECK_LAG, check.name)
        for reason in self._reasons.get(check.kind, ()):
            if reason not in NOT_PRESET and (reason not in BARRED or check.depends_on):
                of.counter(m.CHECK_FAILURES, check.name, check.kind, reason)
        if check.retries:
            of.counter(m.CHECK_RETRIES, check.name, check.kind)
        for cause in MISSED_CAUSES:
            of.counter(m.CHECK_MISSED, check.name, cause)
        for name in _signatures_of(check):
            of.counter(m.LOG_SIGNATURES, check.name, name)

    def _preset(self, checks: Sequence[Check], rules: Sequence[Rule | Survey]) -> None:
        for check in checks:
            self._preset_check(check)
        of = self._exposition
        closed: tuple[tuple[Family, Sequence[str]], ...] = (
            (m.EVALUATIONS, EVALUATION_RESULTS),
            (m.PROOF_FAILURES, tuple(ProofFailure)),
            (m.RUNS, tuple(Outcome)),
            (m.RUN_ROWS, tuple(RowResult)),
            (m.REFUSALS, tuple(GuardName)),
            (m.VERIFY_FAILURES, INVARIANTS),
        )
        for rule in rules:
            of.histogram(m.BATCH_DURATION, rule.name)
            for family, values in closed:
                for value in values:
                    of.counter(family, rule.name, value)
        for result in NOTIFICATION_RESULTS:
            of.counter(m.NOTIFICATIONS, result)

    def _check_observed(self, event: CheckObserved) -> None:
        check, seen, of = event.check, event.observation, self._exposition
        of.counter(m.CHECK_RUNS, check.name, check.kind).inc()
        if seen.verdict is not Verdict.HEALTHY:
            reason = _listed(seen.reason, self._reasons.get(check.kind, ()))
            of.counter(m.CHECK_FAILURES, check.name, check.kind, reason).inc()
        if not is_barred(seen):  # no look was made that could have taken its time
            self._observe_duration(check, seen.duration_seconds)
        if check.retries:
            tries = seen.facts.get("attempts")
            of.counter(m.CHECK_RETRIES, check.name, check.kind).inc(tries - 1 if isinstance(tries, int) else 0)
        standing = event.state.verdict
        up: dict[Labels, float] = {(check.kind, check.severity): float(standing is Verdict.HEALTHY)}
        # A verdict that is held although the look saw something else is no green, and no red either.
        is_held = bool(event.state.maintenance) and standing is not seen.verdict
        of.gauge(m.CHECK_UP).replace((check.name,), {} if standing is Verdict.UNKNOWN or is_held else up)
        of.gauge(m.CHECK_IN_MAINTENANCE).put((check.name,), float(bool(event.state.maintenance)))
        phases: dict[Labels, float] = {(phase,): seen.phases[phase] for phase in PHASES if phase in seen.phases}
        of.gauge(m.CHECK_PHASE).replace((check.name,), phases)
        of.gauge(m.CHECK_LAST_RUN).put((check.name,), seen.taken_at.timestamp())
        if seen.verdict is Verdict.HEALTHY:
            of.gauge(m.CHECK_LAST_SUCCESS).put((check.name,), seen.taken_at.timestamp())
        for name in _signatures_of(check):
            of.counter(m.LOG_SIGNATURES, check.name, name).inc(_newly_seen(seen.facts, name))
        until = self._monotonic() + INTERVALS_FRESH * check.every_seconds - seen.duration_seconds
        for family in (m.CHECK_UP, m.CHECK_PHASE):
            of.gauge(family).expire((check.name,), until)
        if check.kind == SERVICE_KEY:
            for family in (m.KEY_REASON, m.ROWS_VISIBLE):
                of.gauge(family).expire((), until)
            self._key_observed(seen)
        else:
            self._keep_expiry(m.CHECK_TLS_EXPIRY, (check.name,), seen)

    def _observe_duration(self, check: Check, seconds: float) -> None:
        trace_id = self._trace_id()
        exemplar = {"trace_id": trace_id} if trace_id else None
        self._exposition.histogram(m.CHECK_DURATION, check.name, check.kind).observe(seconds, exemplar)

    def _key_observed(self, seen: Observation) -> None:
        listed = self._reasons.get(SERVICE_KEY, ())
        now = _listed(seen.reason, listed)
        one_hot: dict[Labels, float] = {(reason,): float(reason == now) for reason in (*listed, now)}
        self._exposition.gauge(m.KEY_REASON).replace((), one_hot)
        self._keep_expiry(m.KEY_EXPIRY, (), seen)
        self._exposition.gauge(m.ROWS_VISIBLE).replace((), _rows_visible(seen.facts.get("rows_visible")))

    def _keep_expiry(self, family: Family, labels: Labels, seen: Observation) -> None:
        """Keep the last known instant through looks that could not see one: it does not move by itself."""
        if seen.expires_at is not None:
            self._exposition.gauge(family).put(labels, seen.expires_at.timestamp())
        elif seen.verdict is not Verdict.UNKNOWN:
            self._exposition.gauge(family).drop(*labels)

    def _tick_started(self, event: TickStarted) -> None:
        if event.kind == "check":
            self._exposition.histogram(m.CHECK_LAG, event.name).observe(event.lag_seconds)

    def _tick_missed(self, event: TickMissed) -> None:
        if event.kind == "check":
            self._exposition.counter(m.CHECK_MISSED, event.name, _listed(event.cause, MISSED_CAUSES)).inc()

    def _look_finished(self, event: LookFinished) -> None:
        of, rule = self._exposition, event.rule
        counted = event.violations if event.failure is None else None
        if event.failure is not None:
            of.counter(m.PROOF_FAILURES, rule, event.failure).inc()
        if counted is None:
            self._forget_counts(rule)
            of.counter(m.EVALUATIONS, rule, "unknown").inc()
            return
        # Each of these is one assignment: no scrape finds a gap between the old counts and the new ones.
        classes = self._classes.get(rule, ())
        of.gauge(m.VIOLATIONS).replace((rule,), {(name,): float(counted.get(name, 0)) for name in classes})
        oldest: dict[Labels, float] = {(): event.oldest_at.timestamp()} if event.oldest_at else {}
        of.gauge(m.OLDEST_VIOLATION).replace((rule,), oldest)
        subjects: dict[Labels, float] = {(): float(event.counts.subjects)} if event.counts else {}
        of.gauge(m.SUBJECTS).replace((rule,), subjects)
        of.gauge(m.LAST_PROVEN).put((rule,), event.taken_at.timestamp())
        damage = sum(counted.values()) - sum(counted.get(name, 0) for name in DEFERRED)
        of.counter(m.EVALUATIONS, rule, "fail" if damage else "pass").inc()

    def _run_started(self, event: RunStarted) -> None:
        if not event.resumed:
            self._exposition.gauge(m.RUN_PROGRESS).put((event.rule,), 0)

    def _batch_settled(self, event: BatchSettled) -> None:
        of, rule = self._exposition, event.rule
        for result, rows in event.results.items():
            of.counter(m.RUN_ROWS, rule, result).inc(rows)
        of.histogram(m.BATCH_DURATION, rule).observe(event.duration_seconds)
        of.gauge(m.RUN_HEARTBEAT).put((rule,), event.at.timestamp())
        if event.total > 0:
            of.gauge(m.RUN_PROGRESS).put((rule,), event.done / event.total)

    def _cap_measured(self, event: CapMeasured) -> None:
        self._exposition.gauge(m.CAP_USED).put((event.rule, _listed(event.window, ("run", "day"))), event.ratio)

    def _verify_failed(self, event: VerifyFailed) -> None:
        self._exposition.counter(m.VERIFY_FAILURES, event.rule, _listed(event.invariant, INVARIANTS)).inc()

    def _verification_made(self, event: VerificationMade) -> None:
        self._exposition.gauge(m.CREDITS_DRIFT).put((event.rule,), event.drift)

    def _undo_finished(self, event: UndoFinished) -> None:
        if event.applied:
            self._exposition.counter(m.RUN_ROWS, event.rule, RowResult.UNDONE).inc(event.rows.get("undone", 0))
        if event.refusal is not None:
            self._exposition.counter(m.REFUSALS, event.rule, event.refusal.guard).inc()

    def _cycle_finished(self, event: CycleFinished) -> None:
        of, rule = self._exposition, event.rule
        of.counter(m.RUNS, rule, event.outcome).inc()
        if event.refusal is not None:
            of.counter(m.REFUSALS, rule, event.refusal.guard).inc()
        if event.drift is not None:
            of.gauge(m.CREDITS_DRIFT).put((rule,), event.drift)
        of.gauge(m.RUN_PROGRESS).drop(rule)
        of.gauge(m.RUN_HEARTBEAT).drop(rule)

    def _freeze_read(self, event: FreezeRead) -> None:
        self._exposition.gauge(m.FROZEN).put((event.rule,), float(event.frozen))

    def _lease_moved(self, event: LeaseMoved) -> None:
        of = self._exposition
        of.gauge(m.LEASE_HELD).put((event.lease,), float(event.held))
        of.gauge(m.LEASE_EPOCH).put((event.lease,), float(event.epoch))
        of.counter(m.FENCED_WRITES, event.lease).inc(float(event.lost))

    def _audit_checked(self, event: AuditChecked) -> None:
        of, standing = self._exposition, event.verdict
        ok: dict[Labels, float] = {(): float(standing is Verdict.HEALTHY)}
        of.gauge(m.AUDIT_CHAIN_OK).replace((), {} if standing is Verdict.UNKNOWN else ok)
        head: dict[Labels, float] = {(): float(event.seq)} if event.hash and event.seq is not None else {}
        of.gauge(m.AUDIT_HEAD_SEQ).replace((), head)

    def _config_loaded(self, event: ConfigLoaded) -> None:
        self._exposition.gauge(m.CONFIG_RELOADED).put((), float(not event.problems))
        if not event.problems:
            self._exposition.gauge(m.CONFIG_RELOADED_AT).put((), event.at.timestamp())

    def _breaker_read(self, event: BreakerRead) -> None:
        self._exposition.gauge(m.BREAKER_OPEN).put((event.rule,), float(event.open))

    def _breaker_moved(self, event: BreakerMoved) -> None:
        is_open = event.after is not BreakerStatus.CLOSED
        self._exposition.gauge(m.BREAKER_OPEN).put((event.rule,), float(is_open))

    def _fault_caught(self, event: FaultCaught) -> None:
        """Take a bug in a rule's task as an evaluation gone wrong, whose counts say nothing any more."""
        kind, _, rule = event.where.partition(" ")
        if kind == "rule" and rule in self._classes:
            self._exposition.counter(m.EVALUATIONS, rule, "error").inc()
            self._forget_counts(rule)

    def _forget_counts(self, rule: str) -> None:
        """Make absent what only a proven look may say."""
        for family in (m.VIOLATIONS, m.OLDEST_VIOLATION, m.SUBJECTS):
            self._exposition.gauge(family).drop(rule)


def classes_of(rule: Rule | Survey) -> Sequence[str]:
    """Return every class that a rule can count: each has a series as soon as one of them is proven."""
    return rule.classes if isinstance(rule, Survey) else tuple(FindingClass)


def _say_nothing(event: Event) -> None:
    """Some events are for the log alone."""
    del event


def _listed(value: str, listed: Sequence[str]) -> str:
    return value if value in listed else UNLISTED


def _signatures_of(check: Check) -> tuple[str, ...]:
    """Ask the attribute, not the protocol `CountsSignatures`: that question alone cost 30 us of each look."""
    names: tuple[str, ...] = getattr(check.spec, "signature_names", ())
    return names


def _newly_seen(facts: Mapping[str, JSON], name: str) -> int:
    """Read `{"signatures": {"profile-lookup": {"new": 3}}}`; what has another shape counts nothing."""
    signatures = facts.get("signatures")
    found = signatures.get(name) if isinstance(signatures, dict) else None
    new = found.get("new") if isinstance(found, dict) else None
    return new if isinstance(new, int) and not isinstance(new, bool) and new > 0 else 0


def _rows_visible(facts: JSON) -> dict[Labels, float]:
    """Read `{"public.users|service": 123}`; what has another shape is left out rather than guessed."""
    seen: dict[Labels, float] = {}
    for name, rows in facts.items() if isinstance(facts, dict) else ():
        table, _, role = name.rpartition("|")
        if table and role in ROLES and isinstance(rows, int) and not isinstance(rows, bool):
            seen[table, role] = float(rows)
    return seen
