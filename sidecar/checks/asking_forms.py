"""Carry out the forms of an `http` check: what each asks, in which order, and what its answers come to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import httpx

from sidecar.checks.asked import Asking, Finding, Sight, ask
from sidecar.checks.clients import Clients
from sidecar.checks.context import ProbeContext
from sidecar.checks.forging import forged_tokens
from sidecar.checks.http_forms import OPENAPI_BYTES_AT_MOST, AuthForm, CorsForm, RequestsForm
from sidecar.checks.http_keys import HttpSpec
from sidecar.checks.http_names import cel_json
from sidecar.checks.http_texts import with_shared
from sidecar.checks.redirects import Request, origin_of
from sidecar.domain.auth_required import AuthSeen, judge_auth, names_route
from sidecar.domain.cors import CorsAnswer, CorsStep, judge_cors
from sidecar.domain.reasons import HttpReason
from sidecar.wire import Answer

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
NO_BACKEND = "the URL is a path, and backend.url is not set"


class Unanswered(Exception):  # no error: an answer that did not come, on its way out of nested calls
    """A request came to no answer that could be judged."""

    def __init__(self, finding: Finding) -> None:
        """Carry why."""
        super().__init__(finding.detail)
        self.finding = finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One look that takes several requests: all under one deadline, seen in one sight."""

    spec: HttpSpec
    context: ProbeContext
    clients: Clients
    deadline: float
    sight: Sight
    whole_url: Callable[[str, ProbeContext], httpx.URL | None]

    async def ask(
        self,
        url: str,
        *,
        name: str | None = None,
        method: str = "GET",
        headers: Mapping[str, str] = NO_HEADERS,
        content: bytes | None = None,
        body_bytes_at_most: int | None = None,
    ) -> Answer:
        """Send one request and return its answer. Raises: Unanswered.

        What the check shares goes with it to the origin of the first URL alone; `headers` are the request's own.
        """
        whole, home = self.whole_url(url, self.context), self.whole_url(self._first_url, self.context)
        if whole is None or home is None:
            raise Unanswered(Finding(HttpReason.LOCAL_FAULT, NO_BACKEND))
        is_home = whole is home or origin_of(whole) == origin_of(home)
        sent = with_shared(headers, self.spec.headers) if is_home else headers
        asking = Asking(
            request=Request(method=method, url=whole, headers=sent, content=content, is_home=is_home),
            connection=self.spec.connection,
            redirects_at_most=self.spec.redirects_at_most,
            body_bytes_at_most=body_bytes_at_most or self.spec.body_bytes_at_most,
        )
        self.sight.answer = None  # that of another request says nothing about this one
        seen = await ask(asking, self.clients, self.context.clock, self.deadline, self.sight)
        if name is not None:
            self.sight.requests.append({"name": name, "status": seen.status if isinstance(seen, Answer) else None})
        if isinstance(seen, Finding):
            raise Unanswered(seen)
        return seen

    @property
    def _first_url(self) -> str:
        form = self.spec.form
        return form.requests[0].url if isinstance(form, RequestsForm) else self.spec.url


async def walk_requests(walk: Walk, form: RequestsForm, judge: Callable[..., Finding]) -> Finding:
    """Make the requests one after the other; the first that fails decides, and is named."""
    for request in form.requests:
        try:
            answer = await walk.ask(
                request.url,
                name=request.name,
                method=request.method,
                headers=request.headers,
                content=request.content,
            )
            finding = judge(request.expect, answer, walk.sight, walk.context, walk.spec.secrets)
        except Unanswered as unanswered:
            finding = unanswered.finding
        if finding.reason is not HttpReason.OK:
            return replace(finding, detail=f"{request.name}: {finding.detail}", request=request.name)
    return Finding(HttpReason.OK)


async def walk_cors(walk: Walk, form: CorsForm) -> Finding:
    """Ask as browsers would."""
    cors, spec = form.cors, walk.spec
    answers: list[CorsAnswer] = []

    async def step(step: CorsStep, url: str, method: str, asked: str, headers: Mapping[str, str]) -> None:
        answer = await walk.ask(url, name=str(step), method=method, headers=headers)
        answers.append(CorsAnswer(step=step, status=answer.status, headers=answer.headers, method=asked))

    try:
        for method in cors.methods:
            preflight = {"Origin": cors.allowed_origin, "Access-Control-Request-Method": method}
            await step(CorsStep.ALLOWED, spec.url, "OPTIONS", method, preflight)
        preflight = {"Origin": cors.foreign_origin, "Access-Control-Request-Method": cors.methods[0]}
        await step(CorsStep.FOREIGN, spec.url, "OPTIONS", cors.methods[0], preflight)
        failing = form.error_url or spec.url
        await step(CorsStep.ERROR, failing, spec.method, spec.method, {"Origin": cors.foreign_origin})
        await step(CorsStep.NO_ORIGIN, failing, spec.method, spec.method, {})
    except Unanswered as unanswered:
        return unanswered.finding
    fault = judge_cors(cors, answers)
    return Finding(HttpReason.OK) if fault is None else Finding(fault.reason, fault.detail)


async def walk_auth(walk: Walk, form: AuthForm) -> Finding:
    """Prove that the route is there; then ask as nobody, and as somebody who only pretends."""
    spec, context = walk.spec, walk.context
    try:
        exists, unproven = await _exists(walk, form)
        without = await walk.ask(spec.url, name="without credentials", method=spec.method)
        forged: dict[str, int] = {}
        issuer = f"{context.supabase_url.rstrip('/')}/auth/v1"
        for how, token in forged_tokens(issuer, context.clock.now().timestamp()).items():
            headers = {"Authorization": f"Bearer {token}"}
            forged[how] = (await walk.ask(spec.url, name=how, method=spec.method, headers=headers)).status
    except Unanswered as unanswered:
        return unanswered.finding
    fault = judge_auth(AuthSeen(exists=exists, without=without.status, forged=forged, unproven=unproven))
    return Finding(HttpReason.OK) if fault is None else Finding(fault.reason, fault.detail)


async def _exists(walk: Walk, form: AuthForm) -> tuple[bool | None, str]:
    spec = walk.spec
    if form.authorization is not None:
        answer = await walk.ask(
            spec.url, name="authorised call", method=spec.method, headers={"Authorization": form.authorization}
        )
        is_let_in = 200 <= answer.status < 300
        return (True, "") if is_let_in else (None, f"the authorised call was answered with {answer.status}")
    try:
        answer = await walk.ask(form.openapi_url or "", name="openapi", body_bytes_at_most=OPENAPI_BYTES_AT_MOST)
    except Unanswered as unanswered:
        if unanswered.finding.reason is HttpReason.BODY_TOO_LARGE:
            return None, "the OpenAPI document is longer than 4 MiB"
        raise
    if answer.status != 200:
        return None, f"the OpenAPI document was answered with {answer.status}"
    named = names_route(cel_json(answer.content), spec.method, _path(spec.url, walk.context))
    return named, "what was answered is no OpenAPI document" if named is None else ""


def _path(url: str, context: ProbeContext) -> str:
    """Return the path that the backend knows: what stands before all of its paths is none of its routes."""
    backend = (context.backend_url or "").rstrip("/")
    return httpx.URL(url.removeprefix(backend) if url.startswith(f"{backend}/") else url).path
