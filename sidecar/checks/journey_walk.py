"""One walk through a journey: what has been captured and seen so far, and how each deed is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sidecar.checks.conditions import Condition, Errored, Failed
from sidecar.checks.context import ProbeContext
from sidecar.checks.exact import exact_number, for_cel
from sidecar.checks.journey_steps import Ask, Compare, JourneySpec, ReadDatabase, SessionUse, SignIn, SignOut, Step
from sidecar.checks.rows import service_reader
from sidecar.checks.session import Project, Session, sign_in, sign_out
from sidecar.checks.stopped import Stopped
from sidecar.checks.templates import Captured, filled_form, filled_json
from sidecar.checks.way import Way
from sidecar.domain.check import JSON, Check
from sidecar.errors import AnswerMalformed, StateUnavailable
from sidecar.wire import Answer, open_client

DAY = timedelta(days=1)
TEXT_AT_MOST = 4_096  # characters of a captured value
RETRY_SECONDS = 0.5


@dataclass(slots=True)
class Walk:
    """What one look has come to so far. `status` is that of the last answer to a request of a step."""

    check: Check
    spec: JourneySpec
    context: ProbeContext
    captured: dict[str, Captured] = field(default_factory=dict, repr=False)
    session: Session | None = None
    status: int | None = None

    async def take(self, step: Step, way: Way) -> None:
        """Take one step. Raises: Stopped, TargetUnreachable."""
        await self._pay(step)
        match step.deed:
            case SignIn():
                await self._sign_in(way)
            case SignOut():
                await self._sign_out(way)
            case Compare():
                self._compare(step, step.deed)
            case _:
                await self._look(step, way)

    async def _pay(self, step: Step) -> None:
        """Take the step's costs out of the budget before anything is sent: no crash can spend them twice."""
        if not step.costs:
            return
        notebook, now = self.context.notebook, self.context.clock.now()
        if notebook is None:
            raise Stopped("local_fault", "there is no memory to keep the budget in")
        purse = f"journey {self.check.name}"
        try:
            may = await notebook.spend(purse, step.costs, self.spec.budget, now - DAY, now)
        except StateUnavailable as error:
            raise Stopped("local_fault", "the memory that holds the budget is unavailable") from error
        if not may:
            raise Stopped("budget_spent", f"{step.costs} more would exceed {self.spec.budget} credits in 24 hours")

    async def _sign_in(self, way: Way) -> None:
        login, project = self.spec.login, self._project()
        if not login:
            raise Stopped("not_configured", "the canary user's e-mail or password is empty")
        if self.spec.session is SessionUse.FRESH:
            session = await sign_in(project, login, way)
        else:
            until = way.clock.now() + timedelta(seconds=self.check.timeout_seconds)
            session = await self.context.sessions.of(login, until, lambda: sign_in(project, login, way))
        self.session = session
        self.captured |= {"token": session.token, "user_id": session.user_id}

    async def _sign_out(self, way: Way) -> None:
        """End a session of this look's own, or one that the next look could not use any more."""
        session = self.session
        if session is None:
            return
        if self.spec.session is SessionUse.REUSE:
            next_look = timedelta(seconds=self.check.every_seconds + self.check.timeout_seconds)
            if self.context.sessions.outlives(session, way.clock.now() + next_look):
                return
            self.context.sessions.forget(self.spec.login, session)
        await sign_out(self._project(), session, way)
        self.session = None

    def _project(self) -> Project:
        return Project(url=self.context.supabase_url, anon_key=self.context.anon_key, tls=self.context.tls)

    def _compare(self, step: Step, deed: Compare) -> None:
        value, *among = (exact_number(self.captured[name]) for name in (deed.value, *deed.among))
        known = [number for number in among if number is not None]
        if value is None or len(known) != len(among):
            raise Stopped("step_failed", "a captured value is no number")
        if value < min(known) - deed.tolerance:
            raise Stopped(step.fails_as, f"{deed.value} is lower than {' and '.join(deed.among)}")
        if value > max(known) + deed.tolerance:
            raise Stopped(step.fails_as, f"{deed.value} is higher than {' and '.join(deed.among)}")

    async def _look(self, step: Step, way: Way) -> None:
        """Ask or read until what is expected holds, or patience is over."""
        until = way.clock.monotonic() + step.patience_seconds
        while True:
            bindings = await self._bindings(step, way)
            fault = judged(step, bindings)
            if fault is None:
                self._capture(step, bindings)
                return
            if way.clock.monotonic() + RETRY_SECONDS > min(until, way.deadline):
                raise fault
            await way.clock.sleep(RETRY_SECONDS)

    async def _bindings(self, step: Step, way: Way) -> dict[str, JSON]:
        if isinstance(step.deed, ReadDatabase):
            return await self._read(step.deed, way)
        if not isinstance(step.deed, Ask):
            raise TypeError(type(step.deed).__name__)
        answer = await self._ask(step.deed, way)
        if answer.status == 401 and step.deed.as_user and judged(step, self._answered(answer)) is not None:
            answer = await self._ask_anew(step.deed, way)
        return self._answered(answer)

    async def _ask_anew(self, deed: Ask, way: Way) -> Answer:
        """Ask again with a new session where a kept one was refused, which may have been ended by somebody else."""
        if self.session is None or not self.session.is_kept:
            raise Stopped("session_refused", "401 to a session that was just opened")
        self.context.sessions.forget(self.spec.login, self.session)
        await self._sign_in(way)
        answer = await self._ask(deed, way)
        if answer.status == 401:
            raise Stopped("session_refused", "401 to a session that was just opened")
        return answer

    async def _ask(self, deed: Ask, way: Way) -> Answer:
        url, values = deed.url.as_url(self.captured), self.captured
        if url.startswith("/"):
            if not self.context.backend_url:
                raise Stopped("local_fault", "the URL is a path, and backend.url is not set")
            url = self.context.backend_url.rstrip("/") + url
        headers = {name: header.as_header(values) for name, header in deed.headers.items()}
        content = None
        if deed.form is not None:
            headers["Content-Type"], content = filled_form(deed.form, values)
        elif deed.document is not None:
            headers["Content-Type"], content = "application/json", filled_json(deed.document, values)
        if deed.as_user:
            headers["Authorization"] = f"Bearer {self.captured['token']}"
        async with open_client(verify=self.context.tls) as client:
            answer = await way.ask(
                client,
                deed.method,
                url,
                headers=headers,
                content=content,
                body_bytes_at_most=deed.body_bytes_at_most,
            )
        self.status = answer.status
        return answer

    def _answered(self, answer: Answer) -> dict[str, JSON]:
        return {
            "status": answer.status,
            "headers": dict(answer.headers),
            "body": _body(answer),
            "text": answer.text,
            "latency_seconds": answer.duration_seconds,
            "phases": dict(answer.phases),
            "captured": dict(self.captured),
        }

    async def _read(self, deed: ReadDatabase, way: Way) -> dict[str, JSON]:
        context = self.context
        reader = service_reader(context.supabase_url, context.service_key, context.anon_key, context.tls, way)
        where = {deed.key: deed.value.filled(self.captured)}
        rows = await reader.rows(deed.table, where, deed.columns, way, order=deed.order, limit=deed.limit)
        if not rows and not deed.may_be_empty:
            raise Stopped(
                "row_unseen", f"the service key sees no row of {deed.table}, which does not prove that none is"
            )
        shown = for_cel(list(rows))
        row = shown[0] if isinstance(shown, list) and shown else None
        return {"row": row, "rows": shown, "count": len(rows), "captured": dict(self.captured)}

    def _capture(self, step: Step, bindings: Mapping[str, JSON]) -> None:
        for name, expression in step.capture.items():
            value = expression.value(bindings)
            if isinstance(value, Errored):
                raise Stopped("capture_failed", f"{name}: {value.detail}")
            if not isinstance(value, bool | int | float | str) or (
                isinstance(value, str) and len(value) > TEXT_AT_MOST
            ):
                raise Stopped("capture_failed", f"{name}: more than {TEXT_AT_MOST} characters")
            self.captured[name] = value


def judged(step: Step, bindings: Mapping[str, JSON]) -> Stopped | None:
    """Return why a step is not as expected, or None."""
    for condition in step.expect:
        match condition.holds(bindings):
            case Failed(detail=detail):
                return Stopped(step.fails_as, _told(condition, detail))
            case Errored(detail=detail):
                return Stopped("condition_error", detail)
    return None


def _told(condition: Condition, detail: str) -> str:
    """Leave out the names that hold captured values: even their sizes are nobody's business."""
    return condition.text if "captured" in condition.names else detail


def _body(answer: Answer) -> JSON:
    try:
        return for_cel(answer.json())
    except (AnswerMalformed, RecursionError, OverflowError):
        return None
