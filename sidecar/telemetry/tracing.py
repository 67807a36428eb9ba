"""Spans: exported over OTLP/HTTP when an endpoint is set, and otherwise only ids in log lines and request headers.

An exporter that is down, slow or refusing delays nothing: spans go into a bounded queue, a thread of its own empties
it, and what does not fit is dropped.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from sidecar.transport.observing import observed_by

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from sidecar.telemetry.spans import ScrubbedExporter

EXPORT_SECONDS = 5.0  # for one batch, retries included
QUEUE_SPANS = 2048
BATCH_SPANS = 256
EVERY_SECONDS = 2.0
CLOSE_SECONDS = 2.0  # for the last batches; what is not out by then is lost
TRACES_PATH = "/v1/traces"
# Without it the instrumentation speaks the conventions of 2022 (`http.url`); read once per process, when it starts.
STABLE_CONVENTIONS = ("OTEL_SEMCONV_STABILITY_OPT_IN", "http")


class Tracing:
    """Opens spans and names the current one. Made by `open_tracing`."""

    def __init__(self, provider: "TracerProvider", *, exported: bool) -> None:
        """Make spans with `provider`; `exported` says whether anybody will ever see them."""
        self._tracer = provider.get_tracer("sidecar", version("supabase-sidecar"))
        self._exported = exported

    @contextmanager
    def span(self, name: str, **attributes: str | float | bool) -> Iterator[None]:
        """Open a span; HTTP calls made inside it become its children. An exception marks it by its type alone."""
        from opentelemetry import context  # noqa: PLC0415  # imported where used
        from opentelemetry.trace import Status, StatusCode, set_span_in_context  # noqa: PLC0415  # likewise

        # The SDK's own context manager is three generators deep, which each look of each check would pay for.
        span = self._tracer.start_span(name, attributes=attributes)
        token = context.attach(set_span_in_context(span))
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            context.detach(token)
            span.end()

    def ids(self) -> tuple[str, str] | None:
        """Return the current trace's and span's ids in hexadecimal, None outside of any span."""
        from opentelemetry.trace import format_span_id, format_trace_id, get_current_span  # noqa: PLC0415  # likewise

        context = get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return format_trace_id(context.trace_id), format_span_id(context.span_id)

    def exported_trace_id(self) -> str | None:
        """Return the current trace's id where somebody can look it up: for exemplars."""
        ids = self.ids() if self._exported else None
        return ids[0] if ids else None

    def untraced(self) -> AbstractContextManager[None]:
        """Make no span of HTTP calls inside: for requests whose very address is a secret."""
        from opentelemetry.instrumentation.utils import suppress_http_instrumentation  # noqa: PLC0415  # likewise

        return suppress_http_instrumentation()


@asynccontextmanager
async def open_tracing(endpoint: str | None, *, service_name: str) -> AsyncIterator[Tracing]:
    """Trace every httpx client of the process until the end of the block, and close within two seconds.

    `endpoint` is the root of an OTLP/HTTP receiver, or its address for traces; None exports nothing.
    """
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # likewise
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  # likewise

    from sidecar.telemetry.spans import Synthetic  # noqa: PLC0415  # likewise

    resource = Resource.create({"service.name": service_name, "service.version": version("supabase-sidecar")})
    sampler = Synthetic(exported=endpoint is not None)
    provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    exporter = _add_exporter(provider, endpoint) if endpoint is not None else None
    try:
        with _instrumented(provider):
            yield Tracing(provider, exported=exporter is not None)
    finally:
        if exporter is not None:
            await _close(provider, exporter)


def _add_exporter(provider: "TracerProvider", endpoint: str) -> "ScrubbedExporter":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # 100 ms
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # likewise

    # The exporter's thread may outlive the log by a moment; with no handler at all, Python prints its words bare.
    library = logging.getLogger("opentelemetry")
    if not library.handlers:
        library.addHandler(logging.NullHandler())

    from sidecar.telemetry.spans import ScrubbedExporter  # noqa: PLC0415  # likewise

    address = endpoint.rstrip("/")
    address = address if address.endswith(TRACES_PATH) else address + TRACES_PATH
    exporter = ScrubbedExporter(OTLPSpanExporter(endpoint=address, timeout=EXPORT_SECONDS))
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUE_SPANS,
            max_export_batch_size=BATCH_SPANS,
            schedule_delay_millis=EVERY_SECONDS * 1000,
        )
    )
    return exporter


@contextmanager
def _instrumented(provider: "TracerProvider") -> Iterator[None]:
    """Trace httpx, for all clients at once, so that no call site has to know; once per process.

    Kept connections run over httpx's own transport, which its instrumentation knows; fresh ones over ours.
    """
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor  # noqa: PLC0415  # 100 ms

    from sidecar.telemetry.request_spans import RequestSpans  # noqa: PLC0415  # likewise

    instrumentor = HTTPXClientInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        yield
        return
    with _environment(*STABLE_CONVENTIONS):
        instrumentor.instrument(tracer_provider=provider)
    try:
        with observed_by(RequestSpans(provider)):
            yield
    finally:
        instrumentor.uninstrument()


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable that a library reads only from the environment, unless the operator has set it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


async def _close(provider: "TracerProvider", exporter: "ScrubbedExporter") -> None:
    """Send what is queued, within two seconds.

    In a daemon thread of its own: the SDK's shutdown waits for up to thirty seconds and takes no other bound, and a
    thread of the loop's pool would be waited for at the loop's end.
    """
    loop, flushed = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(flushed.set)

    threading.Thread(target=shut_down, name="last spans", daemon=True).start()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await flushed.wait()
    except TimeoutError:
        exporter.shutdown()  # interrupts the wait between two tries
