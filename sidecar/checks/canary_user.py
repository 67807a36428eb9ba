"""The kind `canary_user`: one user has a profile, the credits that are expected, and an API that says the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, SecretStr, model_validator

from sidecar.checks.conditions import ANSWER_NAMES, Condition, Errored, compile_condition
from sidecar.checks.context import ProbeContext
from sidecar.checks.exact import exact_number, for_cel
from sidecar.checks.journey_keys import UserKeys
from sidecar.checks.rows import Reader, service_reader
from sidecar.checks.session import Login, Project, Session, sign_in
from sidecar.checks.stopped import Stopped
from sidecar.checks.tables import Identifier, Keys, TableName, to_table
from sidecar.checks.way import Way
from sidecar.config.checks import LeftOut
from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.reasons import CanaryUserReason
from sidecar.domain.rule import Table
from sidecar.errors import AnswerMalformed
from sidecar.wire import Answer, open_client

_API_NAMES = {name: ANSWER_NAMES[name] for name in ("status", "headers", "body", "text")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A row that the service key must see and anon must not: what an empty reading is believed by."""

    table: Table
    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """Where the backend tells the user's credits."""

    url: str
    value: Condition
    tolerance: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryUserSpec:
    """Parameters of one `canary_user` check. `credits_column` is None where credits are not looked at."""

    user_id: str = field(repr=False)
    login: Login
    table: Table
    key: str
    columns: tuple[str, ...]
    credits_column: str | None
    expected: Decimal | None = field(repr=False)
    tolerance: Decimal
    api: Api | None
    sight: Sight


def _user_id(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if text:
        try:
            UUID(text)
        except ValueError:
            raise ValueError("must be a user's id, or empty") from None
    return SecretStr(text)


def _path(text: str) -> str:
    if not text.startswith("/") or text.startswith("//") or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a path of the backend such as /api/v1/credits/balance")
    return text


def _value(text: str) -> str:
    compile_condition(text, _API_NAMES)
    return text


def _amount(value: float | str | None) -> float | str | None:
    if isinstance(value, str) and value.strip() and exact_number(value.strip()) is None:
        raise ValueError("must be a number, or empty")
    return value


class ProfileKeys(Keys):
    """The user's row, and columns of it that must not be null."""

    table: TableName = "public.users"
    key: Identifier = "id"
    columns: list[Identifier] = Field(default_factory=list)


class CreditsKeys(Keys):
    """The user's credits. `expected` may be left out or empty: then only the API is compared."""

    column: Identifier = "credits_balance"
    expected: Annotated[int | float | str | None, AfterValidator(_amount)] = None
    tolerance: Annotated[float, Field(ge=0)] = 0


class ApiKeys(Keys):
    """What the backend answers to the user."""

    url: Annotated[str, AfterValidator(_path)] = "/api/v1/credits/balance"
    value: Annotated[str, AfterValidator(_value)] = "body.balance"
    tolerance: Annotated[float, Field(ge=0)] = 0


class SightKeys(Keys):
    """A row that the service key must see and anon must not: the fixture's canary unless another is named."""

    table: TableName = "public.sidecar_canary"
    key: Identifier = "id"
    value: int | str = 1


class CanaryUserKeys(Keys):
    """The keys of a `canary_user` check beside the common ones."""

    user_id: Annotated[SecretStr, AfterValidator(_user_id)] = SecretStr("")
    user: UserKeys | None = None
    required: bool = True
    profile: ProfileKeys = ProfileKeys()
    credits: CreditsKeys | None = None
    api: ApiKeys | None = None
    sight: SightKeys = SightKeys()

    @model_validator(mode="after")
    def _fits(self) -> "CanaryUserKeys":
        if self.api is not None and (self.user is None or self.credits is None):
            raise ValueError("api needs user, who is signed in for it, and credits, which it is compared with")
        if "user_id" not in self.model_fields_set and self.user is None:
            raise ValueError("must have a user_id or a user")
        return self

    def to_spec(self) -> CanaryUserSpec | LeftOut:
        """Return the frozen parameters."""
        login = self.user.to_login() if self.user else Login()
        if not self.required and not login and not self.user_id.get_secret_value():
            return LeftOut("left out; it needs a user's id, or the e-mail and the password of one, and they are empty")
        credits_, api = self.credits, self.api
        expected = credits_.expected if credits_ is not None else None
        return CanaryUserSpec(
            user_id=self.user_id.get_secret_value(),
            login=login,
            table=to_table(self.profile.table),
            key=self.profile.key,
            columns=tuple(self.profile.columns),
            credits_column=credits_.column if credits_ else None,
            expected=exact_number(expected.strip() if isinstance(expected, str) else expected),
            tolerance=Decimal(repr(credits_.tolerance)) if credits_ else Decimal(0),
            api=Api(
                url=api.url,
                value=compile_condition(api.value, _API_NAMES),
                tolerance=Decimal(repr(api.tolerance)),
            )
            if api
            else None,
            sight=Sight(table=to_table(self.sight.table), key=self.sight.key, value=str(self.sight.value)),
        )


class CanaryUserProbe:
    """Implements `sidecar.ports.Probe`."""

    def __init__(self, context: ProbeContext) -> None:
        self._context = context

    async def __call__(self, check: Check) -> Observation:
        """Look once, within `check.timeout_seconds`."""
        spec = check.spec
        if not isinstance(spec, CanaryUserSpec):
            raise TypeError(type(spec).__name__)
        clock = self._context.clock
        taken_at, started = clock.now(), clock.monotonic()
        way = Way(clock=clock, deadline=started + check.timeout_seconds)
        look = _Look(spec, self._context, check, way)
        reason, detail, retry_after_seconds = CanaryUserReason.OK, "", None
        try:
            async with way.bounded():
                await look.take()
        except Stopped as stopped:
            reason, detail = CanaryUserReason(stopped.reason), stopped.detail
            retry_after_seconds = stopped.retry_after_seconds
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=reason.verdict,
            reason=reason.value,
            taken_at=taken_at,
            duration_seconds=clock.monotonic() - started,
            detail=detail,
            phases=way.phases,
            facts=look.facts,
            retry_after_seconds=retry_after_seconds,
        )


class _Look:
    """One look: first what the database says, then what the API says of the same."""

    def __init__(self, spec: CanaryUserSpec, context: ProbeContext, check: Check, way: Way) -> None:
        self._spec = spec
        self._context = context
        self._check = check
        self._way = way
        self.facts: dict[str, JSON] = {"api_compared": False}

    async def take(self) -> None:
        """Raises: Stopped, TargetUnreachable."""
        spec = self._spec
        compares = spec.api is not None and bool(spec.login)
        session = await self._session() if compares or (spec.login and not spec.user_id) else None
        user_id = spec.user_id or (session.user_id if session else "")
        if not user_id:
            raise Stopped("not_configured", "neither a user id nor a login is configured")
        if session is not None and UUID(session.user_id) != UUID(user_id):
            raise Stopped("other_user", "the login belongs to another user than user_id")
        reader = self._service_reader()
        credits_ = await self._profile(reader, user_id)
        if spec.api is None or session is None or credits_ is None:
            return
        await self._compare(spec.api, session, reader, user_id, credits_)

    async def _session(self) -> Session:
        context, login, way = self._context, self._spec.login, self._way
        project = Project(url=context.supabase_url, anon_key=context.anon_key, tls=context.tls)
        until = way.clock.now() + timedelta(seconds=self._check.timeout_seconds)
        return await context.sessions.of(login, until, lambda: sign_in(project, login, way))

    def _service_reader(self) -> Reader:
        context = self._context
        return service_reader(context.supabase_url, context.service_key, context.anon_key, context.tls, self._way)

    async def _profile(self, reader: Reader, user_id: str) -> Decimal | None:
        """Judge the user's row by itself, and return its credits where they are looked at."""
        spec = self._spec
        row = await self._row(reader, user_id)
        if empty := [name for name in spec.columns if row.get(name) is None]:
            raise Stopped("profile_incomplete", f"null: {', '.join(empty)}")
        if spec.credits_column is None:
            return None
        found = exact_number(row.get(spec.credits_column))
        if found is None:
            raise Stopped("profile_incomplete", f"no number: {spec.credits_column}")
        if spec.expected is not None and abs(found - spec.expected) > spec.tolerance:
            lower = "lower" if found < spec.expected else "higher"
            raise Stopped("credits_differ", f"{spec.credits_column} is {lower} than expected")
        return found

    async def _row(self, reader: Reader, user_id: str) -> Mapping[str, Any]:
        spec = self._spec
        wanted = [spec.key, *spec.columns, *([spec.credits_column] if spec.credits_column else [])]
        rows = await reader.rows(spec.table, {spec.key: user_id}, list(dict.fromkeys(wanted)), self._way)
        if len(rows) == 1:
            return rows[0]
        if rows:
            raise Stopped("database_unread", f"{spec.table} has several rows of one user")
        if await self._is_sighted(reader):
            raise Stopped("profile_missing", f"no row of {spec.table}, where the service key sees everything")
        raise Stopped("profile_unseen", f"no row of {spec.table}, and no proof that one would be seen")

    async def _is_sighted(self, service: Reader) -> bool:
        """Prove that the service key sees what others do not: a row that anon, asked the same, is not shown."""
        sight, anon = (
            self._spec.sight,
            Reader(url=self._context.supabase_url, key=self._context.anon_key, tls=self._context.tls),
        )
        where = {sight.key: sight.value}
        try:
            seen = await service.rows(sight.table, where, [sight.key], self._way)
        except Stopped:
            return False
        if len(seen) != 1 or str(seen[0].get(sight.key)) != sight.value:
            return False
        try:
            return not await anon.rows(sight.table, where, [sight.key], self._way)
        except Stopped as refused:
            return any(f"status {status}" in refused.detail for status in (401, 403))

    async def _compare(self, api: Api, session: Session, reader: Reader, user_id: str, before: Decimal) -> None:
        """Compare the API's number with the database's of before and after it: in between, credits may have moved."""
        answer = await self._ask(api, session)
        if answer.status == 401 and session.is_kept:
            self._context.sessions.forget(self._spec.login, session)
            answer = await self._ask(api, await self._session())
        if answer.status == 401:
            raise Stopped("session_refused", "the backend answers 401 to a session that was just opened")
        told = _number_in(answer, api)
        self.facts["api_compared"] = True
        if abs(told - before) <= api.tolerance:
            return
        after = await self._profile(reader, user_id)
        bounds = [before, before if after is None else after]
        if not min(bounds) - api.tolerance <= told <= max(bounds) + api.tolerance:
            lower = "lower" if told < min(bounds) else "higher"
            raise Stopped("api_differs", f"the API tells {lower} credits than the database")

    async def _ask(self, api: Api, session: Session) -> Answer:
        if not self._context.backend_url:
            raise Stopped("local_fault", "api is looked at, and backend.url is not set")
        url = self._context.backend_url.rstrip("/") + api.url
        async with open_client(verify=self._context.tls) as client:
            return await self._way.ask(client, "GET", url, headers={"Authorization": f"Bearer {session.token}"})


def _number_in(answer: Answer, api: Api) -> Decimal:
    try:
        body = for_cel(answer.json())
    except (AnswerMalformed, RecursionError, OverflowError):
        body = None
    bindings: dict[str, JSON] = {"status": answer.status, "headers": dict(answer.headers), "body": body}
    bindings["text"] = answer.text
    found = api.value.value(bindings) if answer.status == 200 else Errored("")
    number = None if isinstance(found, Errored) else exact_number(found)
    if number is None:
        raise Stopped("api_unread", f"status {answer.status} without a number in {api.value.text}")
    return number
