"""The kind `http`: one request on a fresh connection, judged by CEL conditions, under one deadline."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

import httpx
from pydantic import AfterValidator, Field, JsonValue, SecretStr

from sidecar.checks.conditions import Condition, Errored, Failed, compile_condition, used_names
from sidecar.checks.context import ProbeContext
from sidecar.checks.redirects import Request, is_port, redirected
from sidecar.checks.tables import Keys
from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.reasons import BY_CAUSE, HttpReason
from sidecar.errors import TargetUnreachable, Unreached
from sidecar.wire import Answer, Route, exchange, shared_client

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
MAX_REDIRECTS = 5
DEFAULT_CONDITION = "status >= 200 && status < 300"
_OURS = frozenset({"accept-encoding", "connection", "content-length", "host", "transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSpec:
    """Parameters of one `http` check. A `url` that starts with a slash is a path of the backend.

    Units: `body_bytes_at_most` counts bytes after decompression.
    """

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)
    expect: tuple[Condition, ...] = ()
    follow_redirects: bool = False
    body_bytes_at_most: int = 1_048_576


def _url(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be a URL without blanks; write other characters percent-encoded")
    if text.startswith("/") and not text.startswith("//"):
        return text
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ValueError("is not a URL") from None  # the message would repeat the URL, which may hold a secret
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must be an http or https URL, or a path of the backend such as /health")
    if not is_port(url.port):
        raise ValueError("has a port that does not exist")
    if url.userinfo:
        raise ValueError("must hold no user and password; send an Authorization header instead")
    return text


def _method(text: str) -> str:
    if text.upper() not in METHODS:
        message = f"must be one of {', '.join(METHODS)}"
        raise ValueError(message)
    return text.upper()


def _headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            message = f"{name!r} is not the name of a header"
            raise ValueError(message)
        if name.lower() in _OURS:
            message = f"{name} is set by Sidecar itself"
            raise ValueError(message)
        if not re.fullmatch(r"[\t -~]*", value.get_secret_value()):
            message = f"the value of {name} holds a line break or a character that is not ASCII"
            raise ValueError(message)
    return headers


def _condition(text: str) -> str:
    compile_condition(text)
    return text


class HttpKeys(Keys):
    """The keys of an `http` check beside the common ones."""

    url: Annotated[str, AfterValidator(_url)]
    method: Annotated[str, AfterValidator(_method)] = "GET"
    headers: Annotated[dict[str, SecretStr], AfterValidator(_headers)] = Field(default_factory=dict)
    body: JsonValue = None
    expect: list[Annotated[str, AfterValidator(_condition)]] = Field(default_factory=list)
    follow_redirects: bool = False
    body_bytes_at_most: Annotated[int, Field(ge=0, le=64 * 1024 * 1024)] = 1_048_576

    def to_spec(self) -> HttpSpec:
        """Return the frozen parameters. A body that is not text is sent as JSON."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        content = self.body.encode() if isinstance(self.body, str) else None
        if self.body is not None and content is None:
            content = json.dumps(self.body).encode()
            if "content-type" not in {name.lower() for name in headers}:
                headers["Content-Type"] = "application/json"
        return HttpSpec(
            url=self.url,
            method=self.method,
            headers=headers,
            content=content,
            expect=tuple(compile_condition(text) for text in self.expect or [DEFAULT_CONDITION]),
            follow_redirects=self.follow_redirects,
            body_bytes_at_most=self.body_bytes_at_most,
        )


@dataclass(slots=True)
class _Sight:
    """What has been seen so far; what is known when the look fails halfway is still told."""

    answer: Answer | None = None
    redirects: int = 0
    latency_seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        self.answer = answer
        self.latency_seconds += answer.duration_seconds
        for name, seconds in answer.phases.items():
            self.phases[name] = self.phases.get(name, 0.0) + seconds


@dataclass(frozen=True, slots=True)
class _Finding:
    reason: HttpReason
    detail: str = ""
    condition: str | None = None


class HttpProbe:
    """Implements `sidecar.ports.Probe`."""

    def __init__(self, context: ProbeContext) -> None:
        self._context = context

    async def __call__(self, check: Check) -> Observation:
        """Look once, within `check.timeout_seconds`."""
        spec = check.spec
        if not isinstance(spec, HttpSpec):
            raise TypeError(type(spec).__name__)
        clock = self._context.clock
        taken_at, started, sight = clock.now(), clock.monotonic(), _Sight()
        try:
            seen = await self._look(spec, sight, started + check.timeout_seconds)
            finding = seen if isinstance(seen, _Finding) else self._judge(spec, sight, seen)
        except TargetUnreachable as error:
            finding = _Finding(BY_CAUSE[error.cause], str(error))
        answer = sight.answer
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=finding.reason.verdict,
            reason=finding.reason.value,
            taken_at=taken_at,
            duration_seconds=clock.monotonic() - started,
            detail=finding.detail,
            phases=sight.phases,
            facts=_facts(sight, finding.condition),
            retry_after_seconds=answer.retry_after_seconds(taken_at)
            if answer and answer.status in (429, 503)
            else None,
            expires_at=answer.certificate_expires_at if answer else None,
        )

    async def _look(self, spec: HttpSpec, sight: _Sight, deadline: float) -> Answer | _Finding:
        """Send the request, follow where it leads, and return the answer to judge, or why there is none."""
        url = spec.url
        if url.startswith("/"):
            if not self._context.backend_url:
                return _Finding(HttpReason.LOCAL_FAULT, "the URL is a path, and backend.url is not set")
            url = self._context.backend_url.rstrip("/") + url
        request = Request(method=spec.method, url=_parsed(url), headers=spec.headers, content=spec.content)
        client = shared_client(Route(tls=self._context.tls), self._context.resolver)
        while True:
            answer = await self._send(client, request, spec, deadline)
            sight.add(answer)
            onward = redirected(request, answer) if spec.follow_redirects else None
            if onward is None:
                return answer
            if sight.redirects == MAX_REDIRECTS:
                return _Finding(HttpReason.TOO_MANY_REDIRECTS, f"more than {MAX_REDIRECTS} redirects")
            sight.redirects += 1
            request = onward

    async def _send(self, client: httpx.AsyncClient, request: Request, spec: HttpSpec, deadline: float) -> Answer:
        remaining = deadline - self._context.clock.monotonic()
        if remaining <= 0:
            raise TargetUnreachable(Unreached.TIMED_OUT, "the deadline passed between redirects")
        return await exchange(
            client,
            request.method,
            str(request.url),
            timeout_seconds=remaining,
            headers=request.headers,
            content=request.content,
            body_bytes_at_most=spec.body_bytes_at_most,
        )

    def _judge(self, spec: HttpSpec, sight: _Sight, answer: Answer) -> _Finding:
        bindings = self._bindings(sight, answer, used_names(spec.expect))
        for condition in spec.expect:
            match condition.holds(bindings):
                case Failed(detail=detail):
                    return _Finding(HttpReason.CONDITION_FAILED, detail, condition.text)
                case Errored(detail=detail):
                    return _Finding(HttpReason.CONDITION_ERROR, detail, condition.text)
        return _Finding(HttpReason.OK)

    def _bindings(self, sight: _Sight, answer: Answer, used: frozenset[str]) -> dict[str, JSON]:
        expires_at = answer.certificate_expires_at
        certificate: JSON = None
        if expires_at is not None:
            remaining = (expires_at - self._context.clock.now()).total_seconds()
            certificate = {"expires_at": expires_at.isoformat(), "expires_in_seconds": remaining}
        return {
            "status": answer.status,
            "headers": dict(answer.headers),
            "body": cel_json(answer.content) if "body" in used else None,
            "text": answer.text if "text" in used else "",
            "latency_seconds": sight.latency_seconds,
            "phases": dict(sight.phases),
            "certificate": certificate,
        }


@lru_cache(maxsize=512)
def _parsed(url: str) -> httpx.URL:
    """Parse a URL of the configuration; every look asks for the same."""
    return httpx.URL(url)


def cel_json(content: bytes) -> JSON:
    """Parse JSON into numbers that CEL can reckon with: 64-bit integers, and doubles. None when it is not JSON."""
    try:
        parsed: JSON = json.loads(content, parse_float=float, parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return parsed


def _integer(digits: str) -> int | float:
    number = int(digits) if len(digits) <= 20 else None  # longer than any 64-bit integer with its sign
    return number if number is not None and -(2**63) <= number < 2**63 else float(digits)


def _refuse(name: str) -> None:
    raise ValueError(name)


def _facts(sight: _Sight, condition: str | None) -> dict[str, JSON]:
    facts: dict[str, JSON] = {"redirects": sight.redirects}
    if sight.answer is not None:
        facts |= {"status": sight.answer.status, "size_bytes": len(sight.answer.content)}
    if condition is not None:
        facts["condition"] = condition
    return facts
