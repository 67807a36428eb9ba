import asyncio
import threading
from collections import UserDict
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.domain.check import JSON, CheckState, Verdict
from sidecar.domain.decide import GuardName
from sidecar.domain.dependence import BARRED
from sidecar.domain.event import (
    BatchSettled,
    CapMeasured,
    Event,
    FaultCaught,
    LookFinished,
    RunStarted,
    TickMissed,
    TickStarted,
    VerifyFailed,
)
from sidecar.domain.finding import FindingClass
from sidecar.domain.look import ProofFailure
from sidecar.domain.reasons import CommonReason
from sidecar.domain.run import Outcome, RowResult
from sidecar.telemetry.catalogue import CATALOGUE, VIOLATIONS
from sidecar.telemetry.metrics import (
    EVALUATION_RESULTS,
    INVARIANTS,
    MISSED_CAUSES,
    NOTIFICATION_RESULTS,
    PHASES,
    ROLES,
    UNLISTED,
    Metrics,
)
from sidecar.telemetry.series import Family, Gauges, Shape
from tests.telemetry.cast import (
    AT,
    REASONS,
    RULE,
    a_check,
    a_rule,
    ended,
    observed,
    one_of_each,
    proven,
    settled,
    unproven,
)
from tests.telemetry.golden import BACKEND, GOLDEN, KEY, a_story, exposition


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry, [BACKEND, KEY], REASONS, [a_rule()])


def as_openmetrics(registry: CollectorRegistry) -> str:
    encoded: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # prometheus_client leaves it bare
    return encoded.decode()


def series(registry: CollectorRegistry | Gauges, name: str) -> dict[tuple[str, ...], float]:
    """Return a sample name's series: label values in label-name order, to values."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_the_whole_exposition_is_as_written_down() -> None:
    """When this changed on purpose: python -m tests.telemetry.golden, and read the difference."""
    assert exposition() == GOLDEN.read_text(encoding="utf-8")


def test_both_formats_can_be_read_back(registry: CollectorRegistry, metrics: Metrics) -> None:
    for event in a_story():
        metrics.hear(event)
    text = {family.name for family in parse_text(generate_latest(registry).decode())}
    assert {family.name.removesuffix("_total") for family in CATALOGUE} <= {n.removesuffix("_total") for n in text}
    open_metrics = list(parse_openmetrics(as_openmetrics(registry)))  # type: ignore[no-untyped-call]  # likewise
    assert len(open_metrics) == len(CATALOGUE)


def test_names_units_and_labels_follow_the_conventions() -> None:
    for family in CATALOGUE:
        assert family.name.startswith("sidecar_")
        assert family.name.endswith("_total") == (family.shape is Shape.COUNTER), family.name
        assert family.help.endswith("."), family.name
        assert not {"type", "instance", "job", "service", "env"} & set(family.labels)
        if "timestamp" in family.name:
            assert family.name.endswith("_timestamp_seconds")
            assert "Unix time" in family.help
        elif family.name.endswith("_seconds"):
            assert "in seconds" in family.help
    assert len({family.name for family in CATALOGUE}) == len(CATALOGUE)


def test_every_event_can_be_heard(metrics: Metrics, registry: CollectorRegistry) -> None:
    told = one_of_each()
    assert {type(event) for event in told} == set(get_args(Event))
    for event in told:
        metrics.hear(event)
    assert series(registry, "sidecar_check_runs_total")["backend", "http"] == 2


def test_every_label_value_comes_from_a_closed_set(registry: CollectorRegistry, metrics: Metrics) -> None:
    facts: dict[str, JSON] = {
        "rows_visible": {"public.users|service": 1, "public.users|postgres": 2, "odd": 3, "t|anon": True}
    }
    metrics.hear(observed(BACKEND, Verdict.UNHEALTHY, "user 22cb… timed out", phases={"connect": 1.0, "evil": 2.0}))
    metrics.hear(observed(KEY, Verdict.UNKNOWN, "made up", facts=facts))
    metrics.hear(TickMissed(kind="check", name="backend", cause="made up"))
    metrics.hear(VerifyFailed(rule=RULE, run_id="r1", invariant="made up", rows=1))
    metrics.hear(CapMeasured(rule=RULE, window="made up", ratio=1))
    metrics.count_notification("made up")
    for event in a_story():
        metrics.hear(event)
    allowed: dict[str, set[str]] = {
        "check": {"backend", "service-key"},
        "kind": set(REASONS),
        "severity": {"critical"},
        "reason": {reason for listed in REASONS.values() for reason in listed} | set(CommonReason),
        "phase": set(PHASES),
        "cause": set(MISSED_CAUSES),
        "rule": {RULE},
        "class": set(FindingClass),
        "proof": set(ProofFailure),
        "guard": set(GuardName),
        "window": {"run", "day"},
        "invariant": set(INVARIANTS),
        "role": set(ROLES),
        "table": {"public.users"},
        "outcome": set(Outcome),
        "listener": set(),
    }
    results = set(RowResult) | set(EVALUATION_RESULTS) | set(NOTIFICATION_RESULTS)
    for family in registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label not in {"le", "version", "revision", "python_version"}:
                    assert value in (results if label == "result" else allowed[label]) | {UNLISTED}, sample


def test_up_is_absent_while_unknown_and_follows_the_standing_verdict(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    slow = a_check(fail_after=3)
    assert series(registry, "sidecar_check_up") == {}
    metrics.hear(observed(slow, Verdict.UNKNOWN, "timed_out"))
    assert series(registry, "sidecar_check_up") == {}
    metrics.hear(observed(slow, Verdict.HEALTHY))
    assert series(registry, "sidecar_check_up") == {("backend", "http", "critical"): 1}
    standing = CheckState(verdict=Verdict.HEALTHY, since=AT)
    metrics.hear(observed(slow, Verdict.UNHEALTHY, "timed_out", before=standing))
    assert series(registry, "sidecar_check_up") == {("backend", "http", "critical"): 1}
    metrics.hear(observed(BACKEND, Verdict.UNHEALTHY, "timed_out"))
    assert series(registry, "sidecar_check_up") == {("backend", "http", "critical"): 0}
    metrics.hear(observed(BACKEND, Verdict.UNKNOWN, "timed_out"))
    assert series(registry, "sidecar_check_up") == {}


def test_failures_are_preset_for_every_reason_of_the_kind_and_count_looks_that_could_not_judge(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    preset = series(registry, "sidecar_check_failures_total")
    assert set(preset.values()) == {0}
    assert {reason for check, _, reason in preset if check == "backend"} == {
        "timed_out",
        "condition_failed",
        "probe_failed",
    }
    other = CollectorRegistry()
    Metrics(other, [replace(BACKEND, depends_on=("gateway",))], REASONS, [])
    assert {reason for _, _, reason in series(other, "sidecar_check_failures_total")} >= BARRED
    metrics.hear(observed(KEY, Verdict.UNKNOWN, "network_down"))
    metrics.hear(observed(KEY, Verdict.HEALTHY))
    assert series(registry, "sidecar_check_failures_total")["service-key", "service_key", "network_down"] == 1
    assert sum(series(registry, "sidecar_check_failures_total").values()) == 1


def test_the_reason_of_the_key_is_one_hot_and_absent_before_the_first_look(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    assert series(registry, "sidecar_service_key_reason") == {}
    metrics.hear(observed(KEY, Verdict.UNHEALTHY, "rls_still_applied"))
    metrics.hear(observed(KEY, Verdict.HEALTHY))
    seen = series(registry, "sidecar_service_key_reason")
    assert seen == {(reason,): float(reason == "ok") for reason in (*REASONS["service_key"], *CommonReason)}


def test_no_green_outlives_two_intervals(registry: CollectorRegistry) -> None:
    now = 1000.0
    metrics = Metrics(registry, [BACKEND, KEY], REASONS, [], monotonic=lambda: now)
    facts: dict[str, JSON] = {"rows_visible": {"public.users|service": 5}}
    metrics.hear(observed(BACKEND, Verdict.HEALTHY, phases={"connect": 0.01}))
    metrics.hear(observed(KEY, Verdict.HEALTHY, facts=facts))
    names = ("sidecar_check_up", "sidecar_check_phase_seconds", "sidecar_service_key_reason", "sidecar_rows_visible")
    now += 2 * BACKEND.every_seconds - 1
    assert all(series(registry, name) for name in names)
    now += 2
    assert [series(registry, name) for name in names] == [{}] * 4
    assert series(registry, "sidecar_check_last_run_timestamp_seconds"), "an instant does not age"
    metrics.hear(observed(BACKEND, Verdict.HEALTHY))
    assert set(series(registry, "sidecar_check_up")) == {("backend", "http", "critical")}


def test_a_reload_keeps_counting_and_drops_the_series_of_what_is_gone(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, [BACKEND, KEY], REASONS, [a_rule()])
    for event in a_story():
        metrics.hear(event)
    runs = series(registry, "sidecar_check_runs_total")["backend", "http"]
    other = a_check("other")
    metrics.follow([BACKEND, other], [])
    metrics.hear(proven({"repairable": 1}))
    text = generate_latest(registry).decode()
    assert series(registry, "sidecar_check_runs_total") == {("backend", "http"): runs, ("other", "http"): 0}
    for gone in ('check="service-key"', f'rule="{RULE}"', 'reason="rls_still_applied"', "public.users|"):
        assert gone not in text, gone
    metrics.follow([BACKEND, KEY], [a_rule()])
    metrics.hear(proven({"repairable": 1}))
    assert series(registry, "sidecar_rule_violations")["repairable", RULE] == 1
    assert series(registry, "sidecar_check_runs_total")["backend", "http"] == runs


def test_further_tries_are_counted_for_the_checks_that_ask_for_them(registry: CollectorRegistry) -> None:
    retried = replace(a_check(), retries=2)
    metrics = Metrics(registry, [retried, KEY], REASONS, [])
    assert series(registry, "sidecar_check_retries_total") == {("backend", "http"): 0}
    metrics.hear(observed(retried, Verdict.HEALTHY, facts={"attempts": 3}))
    metrics.hear(observed(retried, Verdict.UNKNOWN, "probe_failed"))
    assert series(registry, "sidecar_check_retries_total") == {("backend", "http"): 2}


def test_a_look_that_was_not_made_has_no_duration(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.hear(observed(BACKEND, Verdict.UNKNOWN, "dependency_down"))
    assert series(registry, "sidecar_check_duration_seconds_count")["backend", "http"] == 0
    assert series(registry, "sidecar_check_failures_total")["backend", "http", "dependency_down"] == 1


def test_visible_rows_disappear_when_the_last_look_did_not_see_them(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.hear(observed(KEY, Verdict.HEALTHY, facts={"rows_visible": {"public.users|service": 5}}))
    assert series(registry, "sidecar_rows_visible") == {("service", "public.users"): 5}
    metrics.hear(observed(KEY, Verdict.UNKNOWN, "network_down"))
    assert series(registry, "sidecar_rows_visible") == {}


def test_an_expiry_survives_a_look_that_could_not_see_it_and_goes_when_there_is_none(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.hear(observed(KEY, Verdict.HEALTHY, expires_at=AT))
    metrics.hear(observed(KEY, Verdict.UNKNOWN, "network_down"))
    assert series(registry, "sidecar_service_key_expiry_timestamp_seconds") == {(): AT.timestamp()}
    metrics.hear(observed(KEY, Verdict.HEALTHY))
    assert series(registry, "sidecar_service_key_expiry_timestamp_seconds") == {}


def test_violations_are_absent_until_proven_and_again_once_unproven(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    counted = ("sidecar_rule_violations", "sidecar_rule_subjects", "sidecar_rule_oldest_violation_timestamp_seconds")
    assert [series(registry, name) for name in counted] == [{}, {}, {}]
    metrics.hear(proven({"repairable": 3}, oldest_at=AT))
    seen = series(registry, "sidecar_rule_violations")
    assert seen == {(str(name), RULE): 3.0 if name == "repairable" else 0.0 for name in FindingClass}
    assert series(registry, "sidecar_rule_subjects") == {(RULE,): 25}
    metrics.hear(unproven())
    assert [series(registry, name) for name in counted] == [{}, {}, {}]
    assert series(registry, "sidecar_rule_last_proven_timestamp_seconds") == {(RULE,): AT.timestamp()}
    assert series(registry, "sidecar_read_proof_failures_total")["count_mismatch", RULE] == 1


def test_a_failed_proof_is_believed_over_counts_that_came_with_it(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    lying = proven({"repairable": 0})
    contradiction = LookFinished(
        rule=RULE,
        failure=ProofFailure.CANARY_UNSEEN,
        detail="",
        violations=lying.violations,
        counts=lying.counts,
        oldest_at=None,
        taken_at=AT,
        duration_seconds=1,
    )
    metrics.hear(contradiction)
    assert series(registry, "sidecar_rule_violations") == {}
    assert series(registry, "sidecar_rule_evaluations_total")["unknown", RULE] == 1


def test_the_oldest_violation_disappears_when_there_is_none(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.hear(proven({"repairable": 3}, oldest_at=AT))
    metrics.hear(proven({}))
    assert series(registry, "sidecar_rule_oldest_violation_timestamp_seconds") == {}
    assert series(registry, "sidecar_rule_violations")["repairable", RULE] == 0


@pytest.mark.parametrize(
    ("event", "result"),
    [
        (proven({}), "pass"),
        (proven({"too_young": 4, "unconfirmed": 1}), "pass"),
        (proven({"too_young": 4, "chain_broken": 1}), "fail"),
        (proven({"repairable": 1}), "fail"),
        (unproven(), "unknown"),
        (FaultCaught(where=f"rule {RULE}", error_type="KeyError", detail=""), "error"),
    ],
)
def test_an_evaluation_has_one_of_four_results(
    registry: CollectorRegistry, metrics: Metrics, event: Event, result: str
) -> None:
    metrics.hear(event)
    assert series(registry, "sidecar_rule_evaluations_total") == {
        (name, RULE): float(name == result) for name in EVALUATION_RESULTS
    }


def test_a_bug_in_a_rule_makes_its_counts_absent_and_a_bug_elsewhere_does_not(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.hear(proven({"repairable": 1}))
    metrics.hear(FaultCaught(where="check backend", error_type="KeyError", detail=""))
    assert series(registry, "sidecar_rule_violations") != {}
    metrics.hear(FaultCaught(where=f"rule {RULE}", error_type="KeyError", detail=""))
    assert series(registry, "sidecar_rule_violations") == {}


def test_ticks_of_rules_are_not_told_as_ticks_of_checks(registry: CollectorRegistry, metrics: Metrics) -> None:
    before = generate_latest(registry)
    metrics.hear(TickStarted(kind="rule", name=RULE, lag_seconds=1))
    metrics.hear(TickMissed(kind="rule", name=RULE, cause="overlap"))
    assert generate_latest(registry) == before


def test_progress_and_heartbeat_live_as_long_as_the_run(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.hear(RunStarted(rule=RULE, run_id="r1", plan_id="p1", rows=4, resumed=False))
    assert series(registry, "sidecar_run_progress_ratio") == {(RULE,): 0}
    metrics.hear(settled({RowResult.INSERTED: 1}, done=1, total=4))
    assert series(registry, "sidecar_run_progress_ratio") == {(RULE,): 0.25}
    assert series(registry, "sidecar_run_heartbeat_timestamp_seconds") == {(RULE,): AT.timestamp()}
    metrics.hear(ended())
    assert series(registry, "sidecar_run_progress_ratio") == {}
    assert series(registry, "sidecar_run_heartbeat_timestamp_seconds") == {}


def test_an_empty_batch_divides_by_nothing(registry: CollectorRegistry, metrics: Metrics) -> None:
    empty = BatchSettled(rule=RULE, run_id="r1", results={}, duration_seconds=0.1, done=0, total=0, at=AT)
    metrics.hear(empty)
    assert series(registry, "sidecar_run_progress_ratio") == {}


def test_the_duration_carries_the_trace_as_exemplar_in_openmetrics_only() -> None:
    registry = CollectorRegistry()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    Metrics(registry, [BACKEND], REASONS, [], trace_id=lambda: trace_id).hear(observed(BACKEND, Verdict.HEALTHY))
    (line,) = [text for text in as_openmetrics(registry).splitlines() if trace_id in text]
    assert line.startswith(
        'sidecar_check_duration_seconds_bucket{check="backend",kind="http",le="0.25"} 1.0 # {trace_id='
    )
    assert trace_id not in generate_latest(registry).decode()


def test_replacing_series_shows_the_old_ones_until_all_of_the_new_are_there() -> None:
    gauges = Gauges(Family("g", Shape.GAUGE, ("rule", "class"), "A gauge."))
    old: dict[tuple[str, ...], float] = {("a",): 1, ("b",): 1}

    def seen() -> set[float]:
        (family,) = gauges.collect()
        assert len(family.samples) == 2
        return {sample.value for sample in family.samples}

    class Scraped(UserDict[tuple[str, ...], float]):
        """Is scraped in the middle of being read."""

        def __iter__(self) -> Iterator[tuple[str, ...]]:
            for key in super().__iter__():
                between.append(seen())
                yield key

    between: list[set[float]] = []
    gauges.replace(("r",), old)
    gauges.replace(("r",), Scraped({("a",): 2, ("b",): 2}))
    assert between == [{1.0}, {1.0}]
    assert seen() == {2.0}


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads change places as often as possible."""
    import sys  # noqa: PLC0415  # only here

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
async def test_a_scrape_in_the_middle_of_a_change_sees_all_of_it_or_nothing(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    """Whatever is scraped while looks come and go: a rule's classes are all there or all absent, and never 0 unseen."""
    done = threading.Event()
    torn: list[object] = []
    violations = metrics._exposition.gauge(VIOLATIONS)  # alone it is quick to scrape, and so often scraped
    looks = [proven(dict.fromkeys(FindingClass, count), oldest_at=AT) for count in (1, 2, 3)]
    looks.insert(1, unproven())

    def scrape() -> int:
        scrapes = 0
        while not done.is_set():
            seen = series(violations, "sidecar_rule_violations")
            if len(seen) not in {0, len(FindingClass)} or len(set(seen.values())) > 1 or 0 in seen.values():
                torn.append(seen)
            scrapes += 1
            if scrapes % 100 == 0:
                generate_latest(registry)
        return scrapes

    async with asyncio.TaskGroup() as group:
        scraping = group.create_task(asyncio.to_thread(scrape))
        for _ in range(300):
            for event in looks:
                metrics.hear(event)
            await asyncio.sleep(0)
        done.set()
    assert torn == []
    assert scraping.result() > 0
