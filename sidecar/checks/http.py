"""The kind `http`: one request on a fresh connection, judged by CEL conditions, under one deadline."""

from collections.abc import Sequence
from functools import lru_cache

import httpx

from sidecar.checks.asked import Finding, Sight
from sidecar.checks.asking_forms import Unanswered, Walk, walk_auth, walk_cors, walk_requests
from sidecar.checks.clients import Clients
from sidecar.checks.conditions import Condition, Errored, Failed, used_names
from sidecar.checks.context import ProbeContext
from sidecar.checks.http_forms import AuthForm, CorsForm, RequestsForm
from sidecar.checks.http_keys import HttpSpec
from sidecar.checks.http_names import answer_bindings
from sidecar.domain.check import Check, Observation
from sidecar.domain.reasons import HttpReason
from sidecar.wire import Answer


class HttpProbe:
    """Implements `sidecar.ports.Probe`."""

    def __init__(self, context: ProbeContext) -> None:
        self._context = context
        self._clients = Clients(context)

    async def __call__(self, check: Check) -> Observation:
        """Look once, within `check.timeout_seconds`."""
        spec = check.spec
        if not isinstance(spec, HttpSpec):
            raise TypeError(type(spec).__name__)
        clock = self._context.clock
        taken_at, started, sight = clock.now(), clock.monotonic(), Sight()
        finding = await self._look(spec, sight, started + check.timeout_seconds)
        facts = sight.facts(spec.secrets)
        if finding.condition is not None:
            facts["condition"] = finding.condition
        if finding.request is not None:
            facts["request"] = finding.request
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=finding.reason.verdict,
            reason=finding.reason.value,
            taken_at=taken_at,
            duration_seconds=clock.monotonic() - started,
            detail=finding.detail,
            phases=sight.phases,
            facts=facts,
            retry_after_seconds=sight.retry_after_seconds(taken_at),
            expires_at=sight.certificate.expires_at if sight.certificate else None,
        )

    async def _look(self, spec: HttpSpec, sight: Sight, deadline: float) -> Finding:
        walk = Walk(
            spec=spec,
            context=self._context,
            clients=self._clients,
            deadline=deadline,
            sight=sight,
            whole_url=whole_url,
        )
        match spec.form:
            case RequestsForm() as form:
                return await walk_requests(walk, form, judge)
            case CorsForm() as form:
                return await walk_cors(walk, form)
            case AuthForm() as form:
                return await walk_auth(walk, form)
            case None:
                return await self._ask_once(walk)

    async def _ask_once(self, walk: Walk) -> Finding:
        spec = walk.spec
        try:
            answer = await walk.ask(spec.url, method=spec.method, content=spec.content)
        except Unanswered as unanswered:
            return unanswered.finding
        return judge(spec.expect, answer, walk.sight, self._context, spec.secrets)


def judge(
    expect: Sequence[Condition], answer: Answer, sight: Sight, context: ProbeContext, secrets: Sequence[str] = ()
) -> Finding:
    """Hold every condition against an answer; the first that does not hold is told, with none of `secrets`."""
    bindings = answer_bindings(
        answer,
        used=used_names(expect),
        latency_seconds=sight.latency_seconds,
        phases=sight.phases,
        now=context.clock.now(),
    )
    for condition in expect:
        match condition.holds(bindings, secrets):
            case Failed(detail=detail):
                return Finding(HttpReason.CONDITION_FAILED, detail, condition.text)
            case Errored(detail=detail):
                return Finding(HttpReason.CONDITION_ERROR, detail, condition.text)
    return Finding(HttpReason.OK)


def whole_url(url: str, context: ProbeContext) -> httpx.URL | None:
    """Return the URL of a check; None for a path where there is no backend."""
    if not url.startswith("/"):
        return _parsed(url)
    return _parsed(context.backend_url.rstrip("/") + url) if context.backend_url else None


@lru_cache(maxsize=512)
def _parsed(url: str) -> httpx.URL:
    """Parse a URL of the configuration; every look asks for the same."""
    return httpx.URL(url)
