"""A span for each exchange over a fresh connection, by OpenTelemetry's conventions for HTTP clients.

The instrumentation of httpx sees only httpx's own transport. It also builds every attribute of a span that is dropped,
and takes the host's name for the peer's address.

Imports the SDK: only `sidecar.telemetry.tracing` imports this, and only when tracing is opened.
"""

from importlib.metadata import version

import httpx
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sidecar.transport.progress import Progress
from sidecar.transport.reading import Exchanged

HTTP_SERVER_ERROR = 500
_PORTS = {"http": 80, "https": 443}
_PROPAGATOR = TraceContextTextMapPropagator()


class RequestSpans:
    """An observer of exchanges (`sidecar.transport.observing.Observer`)."""

    def __init__(self, provider: TracerProvider) -> None:
        """Make spans with `provider`."""
        self._tracer = provider.get_tracer("sidecar.transport", version("supabase-sidecar"))

    def __call__(self, method: str, url: httpx.URL) -> "RequestSpan | None":
        """Open the span of one exchange. Below one that is dropped there is none: its own ids name us to the target."""
        if not is_http_instrumentation_enabled():
            return None
        current = get_current_span()
        context = current.get_span_context()
        if context.is_valid and not context.trace_flags.sampled:
            return RequestSpan(current, None)
        span = self._tracer.start_span(method, kind=SpanKind.CLIENT)
        if not span.is_recording():
            return RequestSpan(span, None)
        span.set_attributes(
            {
                "http.request.method": method,
                "server.address": url.host,
                "server.port": url.port or _PORTS[url.scheme],
                "url.full": str(url),
            }
        )
        return RequestSpan(span, span)


class RequestSpan:
    """One exchange under observation (`sidecar.transport.observing.Observed`)."""

    __slots__ = ("_recorded", "headers")

    def __init__(self, named: Span, recorded: Span | None) -> None:
        """Tell the target of `named`; describe and end `recorded`."""
        self._recorded = recorded
        self.headers: dict[str, str] = {}
        _PROPAGATOR.inject(self.headers, context=set_span_in_context(named))

    def answered(self, exchanged: Exchanged, progress: Progress) -> None:
        """Describe the answer, and end the span."""
        span = self._recorded
        if span is None:
            return
        span.set_attribute("http.response.status_code", exchanged.status)
        span.set_attribute("network.protocol.version", exchanged.version)
        if progress.address is not None:
            span.set_attribute("network.peer.address", progress.address)
        if exchanged.status >= HTTP_SERVER_ERROR:
            span.set_attribute("error.type", str(exchanged.status))
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def failed(self, error: BaseException) -> None:
        """Mark the span by the error's type, and end it."""
        span = self._recorded
        if span is None:
            return
        if isinstance(error, Exception):
            span.set_attribute("error.type", type(error).__qualname__)
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR))
        span.end()
