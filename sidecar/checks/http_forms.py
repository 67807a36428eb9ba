"""Forms of an `http` check that take several requests: a list, CORS, and a route that must ask who somebody is."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, field_validator, model_validator

from sidecar.checks.conditions import Condition, compile_condition
from sidecar.checks.connection_keys import AuthKeys, Keys
from sidecar.checks.hidden import hidden_in
from sidecar.checks.http_texts import (
    DEFAULT_CONDITION,
    ConditionText,
    HeaderTexts,
    MethodText,
    UrlText,
    secrets_of,
    sent_headers,
)
from sidecar.domain.cors import Cors

REQUESTS_AT_MOST = 20
METHODS_AT_MOST = 7
FOREIGN_ORIGIN = "https://origin.invalid"  # .invalid is nobody's, by RFC 2606
OPENAPI_BYTES_AT_MOST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRequest:
    """One request of a list, with what must hold of its answer."""

    name: str
    url: str = field(repr=False)
    method: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    expect: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class RequestsForm:
    """Requests that are made one after the other; the first that fails decides."""

    requests: tuple[NamedRequest, ...]


@dataclass(frozen=True, slots=True)
class CorsForm:
    """What browsers of an allowed and of a foreign page would be told. `error_url` answers with an error."""

    cors: Cors
    error_url: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class AuthForm:
    """A route that must be there, by an OpenAPI document or by an authorised call, and lets nobody else in."""

    openapi_url: str | None = field(repr=False)
    authorization: str | None = field(repr=False)


Form: TypeAlias = RequestsForm | CorsForm | AuthForm


def content_of(body: JsonValue, headers: dict[str, str]) -> bytes | None:
    """Return a body as it is sent: text as it is, anything else as JSON, which `headers` then say."""
    if body is None or isinstance(body, str):
        return None if body is None else body.encode()
    if "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = "application/json"
    return json.dumps(body).encode()


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", text):
        raise ValueError("must be a name of small letters, digits and dashes")
    return text


class RequestKeys(Keys):
    """One of `requests`."""

    name: Annotated[str, AfterValidator(_name)]
    url: UrlText
    method: MethodText = "GET"
    headers: HeaderTexts = Field(default_factory=dict)
    body: JsonValue = None
    expect: list[ConditionText] = Field(default_factory=list)

    def to_request(self, shared: Collection[str]) -> NamedRequest:
        """Return the frozen parameters; `shared` names the headers that the check says for all of them."""
        headers = sent_headers(self.headers)
        is_kind_shared = "content-type" in {name.lower() for name in shared}
        content = content_of(self.body, {} if is_kind_shared else headers)
        return NamedRequest(
            name=self.name,
            url=self.url,
            method=self.method,
            headers=headers,
            content=content,
            expect=tuple(compile_condition(text) for text in self.expect or [DEFAULT_CONDITION]),
        )


def one_name_each(requests: list[RequestKeys]) -> list[RequestKeys]:
    """Refuse a name that stands there twice."""
    names = [request.name for request in requests]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        message = f"names {repeated} twice"
        raise ValueError(message)
    return requests


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?", text):
        raise ValueError("must be an origin such as https://app.example.com, without a path")
    return text.lower()


OriginText = Annotated[str, AfterValidator(_origin)]


class CorsKeys(Keys):
    """Whose pages may read the answers."""

    allowed_origin: OriginText
    foreign_origin: OriginText = FOREIGN_ORIGIN
    methods: Annotated[list[MethodText], Field(min_length=1, max_length=METHODS_AT_MOST)] = Field(
        default_factory=lambda: ["GET"]
    )
    error_url: UrlText | None = None

    @model_validator(mode="after")
    def _two(self) -> "CorsKeys":
        if self.allowed_origin == self.foreign_origin:
            raise ValueError("allowed_origin and foreign_origin must differ")
        return self

    def to_form(self) -> CorsForm:
        """Return the frozen parameters."""
        methods = tuple(dict.fromkeys(self.methods))
        cors = Cors(allowed_origin=self.allowed_origin, foreign_origin=self.foreign_origin, methods=methods)
        return CorsForm(cors, self.error_url)


class AuthRequiredKeys(Keys):
    """How it is known that the route exists: one of the two."""

    openapi: UrlText | None = None
    authorised: AuthKeys | None = None

    @model_validator(mode="after")
    def _one(self) -> "AuthRequiredKeys":
        if (self.openapi is None) == (self.authorised is None):
            raise ValueError("must have either openapi or authorised: a 401 alone does not prove that a route exists")
        return self

    def to_form(self) -> AuthForm:
        """Return the frozen parameters."""
        return AuthForm(self.openapi, None if self.authorised is None else self.authorised.value)

    def secrets(self) -> tuple[str, ...]:
        """Return what nobody may see."""
        return () if self.authorised is None else secrets_of({"Authorization": self.authorised.value})


class FormKeys(Keys):
    """The forms; one of them at most, and each judges by itself."""

    requests: Annotated[list[RequestKeys], Field(max_length=REQUESTS_AT_MOST), AfterValidator(one_name_each)] = Field(
        default_factory=list
    )
    cors: CorsKeys | None = None
    auth_required: AuthRequiredKeys | None = None

    @field_validator("requests")
    @classmethod
    def _some(cls, requests: list[RequestKeys]) -> list[RequestKeys]:
        if not requests:
            raise ValueError("must name at least one request")
        return requests

    @property
    def forms(self) -> list[str]:
        """The names of the forms that are used."""
        used = {"requests": bool(self.requests), "cors": self.cors, "auth_required": self.auth_required}
        return [name for name, value in used.items() if value]

    def to_form(self, shared: Collection[str]) -> Form | None:
        """Return the form's frozen parameters, None for a single request. `shared` names the check's headers."""
        if self.requests:
            return RequestsForm(tuple(request.to_request(shared) for request in self.requests))
        if self.cors is not None:
            return self.cors.to_form()
        return None if self.auth_required is None else self.auth_required.to_form()

    def form_secrets(self) -> tuple[str, ...]:
        """Return what of the forms nobody may see."""
        found: list[str] = []
        for request in self.requests:
            found += [*secrets_of(sent_headers(request.headers)), *hidden_in(request.url, request.body)]
        return (*found, *(self.auth_required.secrets() if self.auth_required else ()))
