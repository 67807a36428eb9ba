import io
import json

import pytest
from prometheus_client import CollectorRegistry

from sidecar.domain.event import Event, LifecycleChanged
from sidecar.ports import Reporter
from sidecar.telemetry.events import Telemetry
from sidecar.telemetry.logging import configure_logging
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.tracing import open_tracing
from tests.telemetry.cast import AT, one_of_each

STARTED = LifecycleChanged(phase="started")


class Deaf:
    def hear(self, event: Event) -> None:
        raise RuntimeError(f"jane@example.com {event}")


class Attentive:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def hear(self, event: Event) -> None:
        self.heard.append(event)


async def test_a_listener_that_fails_is_counted_and_named_and_the_others_still_hear() -> None:
    registry, stream, attentive = CollectorRegistry(), io.StringIO(), Attentive()
    metrics = Metrics(registry, [], {}, [])
    log = configure_logging(stream, "info", terminal=False)
    async with open_tracing(None, service_name="x") as tracing:
        reporter: Reporter = Telemetry(tracing, [Deaf(), attentive], count_failure=metrics.count_listener_failure)
        reporter.emit(STARTED)
    log.close()
    assert attentive.heard == [STARTED]
    assert registry.get_sample_value("sidecar_telemetry_failures_total", {"listener": "Deaf"}) == 1
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["event"], line["error_type"]) == ("library.logged", "RuntimeError")
    assert "jane" not in stream.getvalue()


async def test_every_event_reaches_metrics_and_log_inside_its_span() -> None:
    registry, stream = CollectorRegistry(), io.StringIO()
    async with open_tracing(None, service_name="x") as tracing:
        log = configure_logging(stream, "debug", terminal=False, trace_ids=tracing.ids)
        metrics = Metrics(registry, [], {}, [], trace_id=tracing.exported_trace_id)
        telemetry = Telemetry(tracing, [metrics, log], count_failure=metrics.count_listener_failure)
        with telemetry.span("check backend", **{"sidecar.check.name": "backend"}):
            ids = tracing.ids()
            for event in one_of_each():
                telemetry.emit(event)
        log.close()
    written = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert len(written) == len(one_of_each())
    assert {(line["trace_id"], line["span_id"]) for line in written} == {ids}
    assert registry.get_sample_value("sidecar_telemetry_failures_total", {"listener": "Metrics"}) is None
    labels = {"check": "backend"}
    assert registry.get_sample_value("sidecar_check_last_run_timestamp_seconds", labels) == AT.timestamp()


async def test_an_exception_inside_a_span_goes_through() -> None:
    async with open_tracing(None, service_name="x") as tracing:
        telemetry = Telemetry(tracing, [], count_failure=lambda _: None)
        with pytest.raises(KeyError), telemetry.span("run rule"):
            raise KeyError("x")
