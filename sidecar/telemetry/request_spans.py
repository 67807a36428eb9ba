"""A span for each exchange over a fresh connection, by OpenTelemetry's conventions for HTTP clients.

The instrumentation of httpx sees only httpx's own transport. It also builds every attribute of a span that is dropped,
and takes the host's name for the peer's address.

Imports the SDK: only `sidecar.telemetry.tracing` imports this, and only when tracing is opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import httpx
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context

from sidecar.transport.observing import Told
from sidecar.transport.progress import Progress

HTTP_SERVER_ERROR = 500
_PORTS = {"http": 80, "https": 443}


class RequestSpans:
    """An observer of exchanges (`sidecar.transport.observing.Observer`)."""

    def __init__(self, provider: TracerProvider) -> None:
        """Make spans with `provider`."""
        self._tracer = provider.get_tracer("sidecar.transport", version("supabase-sidecar"))

    @contextmanager
    def __call__(self, request: httpx.Request) -> Iterator[Told | None]:
        """Open the span, and name it to the target in the request's headers."""
        if not is_http_instrumentation_enabled():
            yield None
            return
        span = self._tracer.start_span(request.method, kind=SpanKind.CLIENT)
        inject(request.headers, context=set_span_in_context(span))
        if not span.is_recording():
            yield None
            return
        try:
            _describe_request(span, request)
            yield lambda response, progress: _describe_response(span, response, progress)
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()


def _describe_request(span: Span, request: httpx.Request) -> None:
    url = request.url
    span.set_attributes(
        {
            "http.request.method": request.method,
            "server.address": url.host,
            "server.port": url.port or _PORTS[url.scheme],
            "url.full": str(url),
        }
    )


def _describe_response(span: Span, response: httpx.Response, progress: Progress) -> None:
    span.set_attribute("http.response.status_code", response.status_code)
    span.set_attribute("network.protocol.version", response.http_version.removeprefix("HTTP/"))
    if progress.address is not None:
        span.set_attribute("network.peer.address", progress.address)
    if response.status_code >= HTTP_SERVER_ERROR:
        span.set_attribute("error.type", str(response.status_code))
        span.set_status(Status(StatusCode.ERROR))
