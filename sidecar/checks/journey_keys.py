"""The keys of a `journey`, and what they must agree on before anything is sent."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, SecretStr, model_validator

from sidecar.checks.conditions import ANSWER_NAMES, Shape, compile_condition
from sidecar.checks.journey_steps import (
    Ask,
    Compare,
    Deed,
    JourneySpec,
    ReadDatabase,
    SessionUse,
    SignIn,
    SignOut,
    Step,
)
from sidecar.checks.session import Login
from sidecar.checks.tables import IDENTIFIER, Identifier, Keys, TableName, matching, to_table
from sidecar.checks.templates import json_names, template, url_template
from sidecar.config.checks import LeftOut
from sidecar.domain.reasons import JourneyReason

STEPS_AT_MOST = 50
NO_LOGIN = "left out; it needs the e-mail and the password of a canary user, and one of them is empty"
RESERVED = frozenset({"token", "user_id"})  # captured by every sign-in
_OURS = frozenset({"accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"})
_ASK_NAMES = {name: shape for name, shape in ANSWER_NAMES.items() if name != "certificate"} | {"captured": Shape.ANY}
_ROW_NAMES = {"row": Shape.ANY, "rows": Shape.ANY, "count": Shape.INT, "captured": Shape.ANY}


def _seconds(longest: float) -> AfterValidator:
    def read(text: str) -> str:
        found = re.fullmatch(r"([0-9]{1,6})(ms|s|m)", text)
        if found is None or not 0 < to_seconds(text) <= longest:
            message = f"must be a duration such as 500ms or 5s, at most {longest:g}s"
            raise ValueError(message)
        return text

    return AfterValidator(read)


def to_seconds(text: str) -> float:
    """Return a duration that was validated, in seconds."""
    number, unit = re.fullmatch(r"([0-9]+)(ms|s|m|h|d)", text).groups()  # type: ignore[union-attr]  # validated
    return int(number) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}[unit]


def _url(text: str) -> str:
    return url_template(text).text


def _template(text: str) -> str:
    return template(text).text


def _document(value: JsonValue) -> JsonValue:
    json_names(value)
    return value


def _headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or name.lower() in _OURS:
            message = f"{name!r} is not a header that a step may set"
            raise ValueError(message)
        if not re.fullmatch(r"[\t -~]*", template(value.get_secret_value()).text):
            message = f"the value of {name} holds a line break or a character that is not ASCII"
            raise ValueError(message)
    return headers


Name = Annotated[
    str, matching(r"[a-z0-9][a-z0-9_-]{0,62}", "must be a short name: lower-case letters, digits, - and _")
]
Variable = Annotated[str, matching(r"[a-z][a-z0-9_]{0,62}", "must be a name: lower-case letters, digits and _")]
Order = Annotated[str, matching(rf"{IDENTIFIER}(\.(asc|desc))?", "must be a column, with .asc or .desc")]


Headers = Annotated[dict[str, SecretStr], AfterValidator(_headers)]


class UserKeys(Keys):
    """The canary user's own login. Empty: nobody is signed in."""

    email: SecretStr
    password: SecretStr

    def to_login(self) -> Login:
        """Return the login."""
        return Login(email=self.email.get_secret_value().strip(), password=self.password.get_secret_value())


class RequestKeys(Keys):
    """One HTTP request."""

    url: Annotated[str, AfterValidator(_url)]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: Headers = Field(default_factory=dict)
    as_user: bool = False
    body: Annotated[JsonValue, AfterValidator(_document)] = None
    form: dict[Name, Annotated[str, AfterValidator(_template)]] | None = None
    body_bytes_at_most: Annotated[int, Field(ge=0, le=16 * 1024 * 1024)] = 262_144

    @model_validator(mode="after")
    def _fits(self) -> "RequestKeys":
        if self.body is not None and self.form is not None:
            raise ValueError("must have a body or a form, not both")
        if self.as_user and "authorization" in {name.lower() for name in self.headers}:
            raise ValueError("must not set Authorization beside as_user")
        if self.as_user and not self.url.startswith("/"):
            raise ValueError("as_user goes with a path of the backend: the token is shown to nobody else")
        return self

    def to_deed(self) -> Ask:
        """Return the request."""
        return Ask(
            url=url_template(self.url),
            method=self.method,
            headers={name: template(value.get_secret_value()) for name, value in self.headers.items()},
            document=self.body,
            form=None if self.form is None else {name: template(text) for name, text in self.form.items()},
            as_user=self.as_user,
            body_bytes_at_most=self.body_bytes_at_most,
        )


class ReadKeys(Keys):
    """A reading by the service key."""

    table: TableName
    key: Identifier = "id"
    value: Annotated[str, AfterValidator(_template)] = "{{user_id}}"
    columns: Annotated[list[Identifier], Field(min_length=1)]
    order: Order | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 2
    may_be_empty: bool = False

    def to_deed(self) -> ReadDatabase:
        """Return the reading."""
        return ReadDatabase(
            table=to_table(self.table),
            key=self.key,
            value=template(self.value),
            columns=tuple(self.columns),
            order=self.order,
            limit=self.limit,
            may_be_empty=self.may_be_empty,
        )


class CompareKeys(Keys):
    """A comparison of captured numbers."""

    value: Variable
    among: Annotated[list[Variable], Field(min_length=1)]
    tolerance: Annotated[float, Field(ge=0)] = 0

    def to_deed(self) -> Compare:
        """Return the comparison."""
        return Compare(value=self.value, among=tuple(self.among), tolerance=Decimal(repr(self.tolerance)))


class StepKeys(Keys):
    """One step: exactly one deed, and what is expected of it."""

    name: Name
    sign_in: Literal[True] | None = None
    sign_out: Literal[True] | None = None
    request: RequestKeys | None = None
    read_database: ReadKeys | None = None
    compare: CompareKeys | None = None
    expect: list[str] = Field(default_factory=list)
    capture: dict[Variable, str] = Field(default_factory=dict)
    costs: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    fails_as: Literal["condition_failed", "balance_differs", "ledger_differs"] | None = None
    patience: Annotated[str, _seconds(60)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "StepKeys":
        deeds = [self.sign_in, self.sign_out, self.request, self.read_database, self.compare]
        if sum(deed is not None for deed in deeds) != 1:
            raise ValueError("must have exactly one of sign_in, sign_out, request, read_database and compare")
        names = _ASK_NAMES if self.request else _ROW_NAMES if self.read_database else None
        if names is None and (self.expect or self.capture or self.patience):
            raise ValueError("only request and read_database have expect, capture and patience")
        if self.costs and not self.request:
            raise ValueError("only a request may cost credits")
        if self.patience and self.request and self.request.method != "GET":
            raise ValueError("only a GET is tried again: patience would do anything else twice")
        if taken := RESERVED.intersection(self.capture):
            message = f"captures {', '.join(sorted(taken))}, which sign_in does"
            raise ValueError(message)
        for text in (*self.expect, *self.capture.values()):
            compile_condition(text, names or {})
        return self

    def needs(self) -> frozenset[str]:
        """Return the captured values without which the step cannot be taken."""
        if self.compare is not None:
            return frozenset({self.compare.value, *self.compare.among})
        if self.read_database is not None:
            return template(self.read_database.value).names
        if self.request is None:
            return frozenset({"token"}) if self.sign_out else frozenset()
        asked = self.request.to_deed()
        found = asked.url.names | json_names(self.request.body)
        found |= frozenset().union(*(header.names for header in asked.headers.values()))
        found |= frozenset().union(*(field.names for field in (asked.form or {}).values()))
        return found | ({"token"} if self.request.as_user else frozenset())

    def gives(self) -> frozenset[str]:
        """Return the values that are captured once the step was taken."""
        return frozenset(self.capture) | (RESERVED if self.sign_in else frozenset())

    def to_step(self) -> Step:
        """Return the step."""
        names = _ASK_NAMES if self.request else _ROW_NAMES
        expect = self.expect or (["status >= 200 && status < 300"] if self.request else [])
        given = self.request or self.read_database or self.compare
        deed: Deed = given.to_deed() if given is not None else SignIn() if self.sign_in else SignOut()
        default = JourneyReason.BALANCE_DIFFERS if self.compare else JourneyReason.CONDITION_FAILED
        return Step(
            name=self.name,
            deed=deed,
            expect=tuple(compile_condition(text, names) for text in expect),
            capture={name: compile_condition(text, names) for name, text in self.capture.items()},
            costs=self.costs,
            fails_as=JourneyReason(self.fails_as) if self.fails_as else default,
            patience_seconds=to_seconds(self.patience) if self.patience else 0.0,
            needs=self.needs(),
        )


class JourneyKeys(Keys):
    """The keys of a `journey` beside the common ones."""

    user: UserKeys
    required: bool = True
    steps: Annotated[list[StepKeys], Field(min_length=1, max_length=STEPS_AT_MOST)]
    cleanup: Annotated[list[StepKeys], Field(max_length=STEPS_AT_MOST)] = Field(default_factory=list)
    cleanup_timeout: Annotated[str, _seconds(60)] = "5s"
    session: Literal["reuse", "fresh"] = "reuse"
    budget: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    @model_validator(mode="after")
    def _fits(self) -> "JourneyKeys":
        names = [step.name for step in (*self.steps, *self.cleanup)]
        if len(set(names)) != len(names):
            raise ValueError("must give each step a name of its own")
        _judge_names(self.steps, self.cleanup)
        dear = max((step.costs for step in (*self.steps, *self.cleanup)), default=0)
        if dear > self.budget:
            message = f"has a step that costs {dear} credits, and a budget of {self.budget}: it would never be taken"
            raise ValueError(message)
        return self

    def to_spec(self) -> JourneySpec | LeftOut:
        """Return the frozen parameters."""
        login = self.user.to_login()
        if not self.required and not login:
            return LeftOut(NO_LOGIN)
        return JourneySpec(
            login=login,
            steps=tuple(step.to_step() for step in self.steps),
            cleanup=tuple(step.to_step() for step in self.cleanup),
            session=SessionUse(self.session),
            budget=self.budget,
            cleanup_seconds=to_seconds(self.cleanup_timeout),
        )


def _judge_names(steps: Sequence[StepKeys], cleanup: Sequence[StepKeys]) -> None:
    known: frozenset[str] = frozenset()
    for step in (*steps, *cleanup):
        if missing := step.needs() - known:
            message = (
                f"has the step {step.name}, which needs {', '.join(sorted(missing))}; no earlier step captures that"
            )
            raise ValueError(message)
        known |= step.gives()
