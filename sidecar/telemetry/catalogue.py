"""Every metric that Sidecar exposes about itself. docs/reference/metrics.md is made from this."""

from typing import Final

from sidecar.telemetry.series import Family, Shape

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # fmt: skip
_LAG_SECONDS: Final = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)

_CHECK: Final = ("check",)
_RULE: Final = ("rule",)


def _gauge(name: str, labels: tuple[str, ...], help_text: str) -> Family:
    return Family(name, Shape.GAUGE, labels, help_text)


def _counter(name: str, labels: tuple[str, ...], help_text: str) -> Family:
    return Family(name, Shape.COUNTER, labels, help_text)


def _histogram(name: str, labels: tuple[str, ...], help_text: str, buckets: tuple[float, ...]) -> Family:
    return Family(name, Shape.HISTOGRAM, labels, help_text, buckets)


CHECK_UP: Final = _gauge(
    "sidecar_check_up",
    ("check", "kind", "severity"),
    "Standing verdict of a check: 1 healthy, 0 unhealthy, absent while unknown and two intervals after the last look.",
)
CHECK_IN_MAINTENANCE: Final = _gauge(
    "sidecar_check_in_maintenance",
    _CHECK,
    "1 while a maintenance window holds the standing verdict, as of the last look; else 0.",
)
CHECK_RUNS: Final = _counter("sidecar_check_runs_total", ("check", "kind"), "Looks made, whatever they saw.")
CHECK_FAILURES: Final = _counter(
    "sidecar_check_failures_total",
    ("check", "kind", "reason"),
    "Looks that did not see a healthy target, by reason; those that could not judge (verdict unknown) are among them.",
)
CHECK_RETRIES: Final = _counter(
    "sidecar_check_retries_total", ("check", "kind"), "Further tries within looks, of checks that ask for them."
)
CHECK_DURATION: Final = _histogram(
    "sidecar_check_duration_seconds", ("check", "kind"), "Duration of a look, in seconds.", _SECONDS
)
CHECK_PHASE: Final = _gauge(
    "sidecar_check_phase_seconds", ("check", "phase"), "Duration of a phase of the last look, in seconds."
)
CHECK_LAST_RUN: Final = _gauge(
    "sidecar_check_last_run_timestamp_seconds", _CHECK, "Unix time of the last look, whatever it saw."
)
CHECK_LAST_SUCCESS: Final = _gauge(
    "sidecar_check_last_success_timestamp_seconds", _CHECK, "Unix time of the last look that saw a healthy target."
)
CHECK_INTERVAL: Final = _gauge("sidecar_check_interval_seconds", _CHECK, "Configured interval, in seconds.")
CHECK_TLS_EXPIRY: Final = _gauge(
    "sidecar_check_tls_expiry_timestamp_seconds", _CHECK, "Unix time at which the target's certificate expires."
)
CHECK_LAG: Final = _histogram(
    "sidecar_check_schedule_lag_seconds", _CHECK, "How late ticks were handed over, in seconds.", _LAG_SECONDS
)
CHECK_MISSED: Final = _counter(
    "sidecar_check_missed_ticks_total",
    ("check", "cause"),
    "Ticks that led to no look: the last one still ran (overlap), too late (misfire), or an error.",
)
LOG_SIGNATURES: Final = _counter(
    "sidecar_log_signatures_total",
    ("check", "signature"),
    "Lines that had a signature, counted when a look read or fetched them.",
)
KEY_REASON: Final = _gauge(
    "sidecar_service_key_reason",
    ("reason",),
    "1 for the reason of the last look at the service key, 0 for every other.",
)
KEY_EXPIRY: Final = _gauge(
    "sidecar_service_key_expiry_timestamp_seconds", (), "Unix time at which the service key expires; absent if never."
)
ROWS_VISIBLE: Final = _gauge(
    "sidecar_rows_visible", ("table", "role"), "Rows that a role saw in the last look; absent while not seen."
)
VIOLATIONS: Final = _gauge(
    "sidecar_rule_violations",
    ("rule", "class"),
    "Violations found by the last look, by class; absent while the last look proved nothing, so that 0 means none.",
)
LAST_PROVEN: Final = _gauge(
    "sidecar_rule_last_proven_timestamp_seconds", _RULE, "Unix time of the last look whose read was proven whole."
)
OLDEST_VIOLATION: Final = _gauge(
    "sidecar_rule_oldest_violation_timestamp_seconds",
    _RULE,
    "Unix time of the oldest evidence among current violations; absent while there are none or nothing is proven.",
)
SUBJECTS: Final = _gauge(
    "sidecar_rule_subjects", _RULE, "Subjects (auth users) counted by the last look; absent while it proved nothing."
)
EVALUATIONS: Final = _counter(
    "sidecar_rule_evaluations_total",
    ("rule", "result"),
    "Looks of a rule: pass (proven, no violation), fail (violations), unknown (nothing proven), error (a bug of ours).",
)
PROOF_FAILURES: Final = _counter(
    "sidecar_read_proof_failures_total", ("rule", "proof"), "Reads that proved nothing, by what was missing."
)
RUNS: Final = _counter(
    "sidecar_runs_total", ("rule", "outcome"), "Cycles of a rule by how they ended, those that needed no run included."
)
RUN_ROWS: Final = _counter(
    "sidecar_run_rows_total", ("rule", "result"), "Rows that batches of this process settled, by result."
)
RUN_PROGRESS: Final = _gauge(
    "sidecar_run_progress_ratio", _RULE, "Settled rows of the current run (0..1); absent while none runs."
)
RUN_HEARTBEAT: Final = _gauge(
    "sidecar_run_heartbeat_timestamp_seconds",
    _RULE,
    "Unix time of the last settled batch of the current run; absent while none runs.",
)
BATCH_DURATION: Final = _histogram(
    "sidecar_batch_duration_seconds", _RULE, "Duration of a batch, from intent to settlement, in seconds.", _SECONDS
)
REFUSALS: Final = _counter("sidecar_refusals_total", ("rule", "guard"), "Repairs that a guard refused.")
FROZEN: Final = _gauge("sidecar_frozen", _RULE, "1 while the rule or everything is frozen, as last read; else 0.")
BREAKER_OPEN: Final = _gauge(
    "sidecar_breaker_open",
    _RULE,
    "1 while the breaker of the rule's table is open or half-open, as last read; else 0.",
)
CAP_USED: Final = _gauge(
    "sidecar_cap_used_ratio", ("rule", "window"), "Used part of a cap (0..1), for a run and for the last 24 hours."
)
VERIFY_FAILURES: Final = _counter(
    "sidecar_verify_failures_total", ("rule", "invariant"), "Verifications that found the source other than written."
)
CREDITS_DRIFT: Final = _gauge(
    "sidecar_credits_drift", _RULE, "Credits restored minus credits expected by the last verified run, in credits."
)
LEASE_HELD: Final = _gauge(
    "sidecar_lease_held", ("lease",), "1 while this process holds the lease of a target table, or of a report; else 0."
)
LEASE_EPOCH: Final = _gauge(
    "sidecar_lease_epoch", ("lease",), "Epoch under which this process last held the lease; it rises with each taking."
)
FENCED_WRITES: Final = _counter(
    "sidecar_fenced_writes_total", ("lease",), "Work of this process that ended since another one had taken the lease."
)
AUDIT_CHAIN_OK: Final = _gauge(
    "sidecar_audit_chain_ok",
    (),
    "1 while the audit's chain holds, 0 once it does not; absent before the first check, and while it cannot be read.",
)
AUDIT_HEAD_SEQ: Final = _gauge(
    "sidecar_audit_head_seq",
    (),
    "Number of the newest row up to which the audit's chain was verified. It never falls, unless rows are gone.",
)
CONFIG_RELOADED: Final = _gauge(
    "sidecar_config_last_reload_successful",
    (),
    "1 when the last reading of the configuration put it in force, 0 when it was refused and the one before stays.",
)
CONFIG_RELOADED_AT: Final = _gauge(
    "sidecar_config_last_reload_success_timestamp_seconds",
    (),
    "Unix time at which the configuration in force was read.",
)
LISTENER_FAILURES: Final = _counter(
    "sidecar_telemetry_failures_total", ("listener",), "Events that a listener of telemetry failed to take."
)
NOTIFICATIONS: Final = _counter(
    "sidecar_notifications_total",
    ("result",),
    "Notifications by result: delivered, failed (given up), dropped (queue full), repeated (told within the hour).",
)
BUILD: Final = _gauge("sidecar_build_info", ("version", "revision", "python_version"), "1, with what is running.")

CATALOGUE: Final = (
    CHECK_UP, CHECK_IN_MAINTENANCE, CHECK_RUNS, CHECK_FAILURES, CHECK_RETRIES, CHECK_DURATION, CHECK_PHASE,
    CHECK_LAST_RUN, CHECK_LAST_SUCCESS, CHECK_INTERVAL, CHECK_TLS_EXPIRY, CHECK_LAG, CHECK_MISSED, LOG_SIGNATURES,
    KEY_REASON, KEY_EXPIRY, ROWS_VISIBLE,
    VIOLATIONS, LAST_PROVEN, OLDEST_VIOLATION, SUBJECTS, EVALUATIONS, PROOF_FAILURES,
    RUNS, RUN_ROWS, RUN_PROGRESS, RUN_HEARTBEAT, BATCH_DURATION,
    REFUSALS, FROZEN, BREAKER_OPEN, CAP_USED, VERIFY_FAILURES, CREDITS_DRIFT,
    LEASE_HELD, LEASE_EPOCH, FENCED_WRITES,
    AUDIT_CHAIN_OK, AUDIT_HEAD_SEQ,
    CONFIG_RELOADED, CONFIG_RELOADED_AT,
    LISTENER_FAILURES, NOTIFICATIONS, BUILD,
)  # fmt: skip
