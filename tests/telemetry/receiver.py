"""A real OTLP/HTTP receiver, and a target that says which headers it was sent."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sidecar.serving import listen, serving


@dataclass(frozen=True)
class Received:
    name: str
    kind: int
    status: int
    message: str
    attributes: Mapping[str, object]
    events: tuple[Mapping[str, object], ...]
    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str


@dataclass
class Receiver:
    """Answers `status` after `release` is set; keeps every span and every raw body."""

    url: str = ""
    status: int = 200
    spans: list[Received] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    requests: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: Request) -> Response:
        body = await request.body()
        self.bodies.append(body)
        self.requests.put_nowait(None)
        await self.release.wait()
        if self.status == 200:
            sent = ExportTraceServiceRequest.FromString(body)
            for resource in sent.resource_spans:
                for scope in resource.scope_spans:
                    self.spans.extend(_received(span) for span in scope.spans)
        return Response(status_code=self.status)

    def named(self, name: str) -> Received:
        (found,) = [span for span in self.spans if span.name == name]
        return found


def _values(pairs: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in pairs:  # type: ignore[attr-defined]  # a repeated field of protobuf
        which = pair.value.WhichOneof("value")
        found[pair.key] = getattr(pair.value, which) if which else None
    return found


def _received(span: object) -> Received:
    s: Any = span
    return Received(
        name=s.name,
        kind=s.kind,
        status=s.status.code,
        message=s.status.message,
        attributes=_values(s.attributes),
        events=tuple(_values(event.attributes) for event in s.events),
        trace_id=s.trace_id.hex(),
        span_id=s.span_id.hex(),
        parent_id=s.parent_span_id.hex(),
        trace_state=s.trace_state,
    )


@asynccontextmanager
async def a_receiver(*, status: int = 200, held: bool = False) -> AsyncIterator[Receiver]:
    receiver = Receiver(status=status)
    if not held:
        receiver.release.set()
    app = Starlette(routes=[Route("/v1/traces", receiver.take, methods=["POST"])])
    async with serving(app, listen("127.0.0.1", 0), drain_seconds=1) as url:
        receiver.url = url
        try:
            yield receiver
        finally:
            receiver.release.set()


@dataclass
class Target:
    """What we look at: answers the status that the path names, and keeps the headers it was sent."""

    url: str = ""
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        return PlainTextResponse("hello", status_code=int(request.path_params["status"]))


@asynccontextmanager
async def a_target() -> AsyncIterator[Target]:
    target = Target()
    app = Starlette(routes=[Route("/status/{status:int}/{rest:path}", target.answer, methods=["GET", "POST"])])
    async with serving(app, listen("127.0.0.1", 0)) as url:
        target.url = url
        yield target
