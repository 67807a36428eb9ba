"""What OpenTelemetry is given by us: which spans are made and marked, and what of a span may leave the process.

Imports the SDK: only `sidecar.telemetry.tracing` imports this, and only when tracing is opened.
"""

import re
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceState
from opentelemetry.util.types import Attributes, AttributeValue

from sidecar.domain.masking import mask_text

SYNTHETIC = (("sidecar", "synthetic"),)  # in `tracestate`: lets whoever is probed tell our requests from a user's
HTTP_ERROR = 400
HTTP_SERVER_ERROR = 500

_URLS = frozenset({"url.full", "http.url"})
_AFTER_PATH = re.compile(r"[?#].*", re.DOTALL)
_USERINFO = re.compile(r"(?<=://)[^/]*@")
# A path's segment that names one thing among many: a uuid, a number, a long token.
_IDENTIFIER = re.compile(r"(?<=/)(?:[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+|[^/]{41,})(?=/|$)")


class Synthetic(Sampler):
    """Marks every trace as ours. With nowhere to export to, spans exist only as ids in headers and log lines."""

    def __init__(self, *, exported: bool) -> None:
        """Record every span when it is `exported`, none otherwise."""
        self._decision = Decision.RECORD_AND_SAMPLE if exported else Decision.DROP

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide the same for every span."""
        del parent_context, trace_id, name, kind, links, trace_state
        return SamplingResult(self._decision, attributes, TraceState(SYNTHETIC))

    def get_description(self) -> str:
        """Name it, as the SDK asks."""
        return f"Synthetic({self._decision.name})"


class ScrubbedExporter(SpanExporter):
    """Hands spans on without query strings, keys, e-mails or exception texts.

    Runs in the exporter's own thread. After `shutdown` nothing is handed on, so that a shutdown ends soon.
    """

    def __init__(self, inner: SpanExporter) -> None:
        """Hand on to `inner`."""
        self._inner = inner
        self._closing = threading.Lock()
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand on scrubbed copies."""
        if self._closed:
            return SpanExportResult.FAILURE
        return self._inner.export([scrub(span) for span in spans])

    def shutdown(self) -> None:
        """Interrupt what is being exported. A second call does nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have nothing to flush."""
        del timeout_millis
        return True


def scrub(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of a finished span that may leave the process.

    A 4xx answer leaves the status unset: whether a 401 is bad news is for the check to say (OpenTelemetry's HTTP
    conventions allow this to an instrumentation with context). The instrumentation itself calls it an error.
    """
    attributes = {name: _scrubbed(name, value) for name, value in (span.attributes or {}).items()}
    status = Status(span.status.status_code)  # without the description, which quotes the exception
    if _is_answered_4xx(span.kind, attributes):
        attributes.pop("error.type", None)
        status = Status(StatusCode.UNSET)
    return ReadableSpan(
        name=mask_text(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=[_bare(event) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _is_answered_4xx(kind: SpanKind, attributes: Mapping[str, AttributeValue]) -> bool:
    status = attributes.get("http.response.status_code", attributes.get("http.status_code"))
    return kind is SpanKind.CLIENT and isinstance(status, int) and HTTP_ERROR <= status < HTTP_SERVER_ERROR


def _scrubbed(name: str, value: AttributeValue) -> AttributeValue:
    if isinstance(value, str):
        return clean_url(value) if name in _URLS else mask_text(value)
    if isinstance(value, bool | int | float):
        return value
    return mask_text(str(value)) if not isinstance(value, list | tuple) else [mask_text(str(inner)) for inner in value]


def clean_url(url: str) -> str:
    """Return scheme, host and path, with identifiers in the path as `{id}`: a path names users too."""
    return mask_text(_IDENTIFIER.sub("{id}", _USERINFO.sub("", _AFTER_PATH.sub("", url))))


def _bare(event: Event) -> Event:
    """Keep what kind of exception it was, and when."""
    kind = (event.attributes or {}).get("exception.type")
    return Event(event.name, {"exception.type": kind} if kind is not None else {}, event.timestamp)
