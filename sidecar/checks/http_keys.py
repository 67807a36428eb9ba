"""The keys of the kind `http` as they are written, and as its probe uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, JsonValue, SecretStr, ValidationInfo, field_validator, model_validator

from sidecar.checks.conditions import Condition, compile_condition
from sidecar.checks.connection_keys import Connection, ConnectionKeys
from sidecar.checks.hidden import hidden_in
from sidecar.checks.http_forms import Form, FormKeys, content_of
from sidecar.checks.http_texts import (
    DEFAULT_CONDITION,
    ConditionText,
    HeaderTexts,
    MethodText,
    UrlText,
    secrets_of,
    sent_headers,
)
from sidecar.checks.redirects import MAX_REDIRECTS


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSpec:
    """Parameters of one `http` check. A `url` that starts with a slash is a path of the backend.

    `form` is None for a single request; `url` is empty where each request of a list has its own.
    `redirects_at_most` is None where none is followed; `secrets` are what no detail and no fact may show.
    Units: `body_bytes_at_most` counts bytes after decompression.
    """

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)
    expect: tuple[Condition, ...] = ()
    redirects_at_most: int | None = None
    body_bytes_at_most: int = 1_048_576
    connection: Connection = field(default_factory=Connection)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    form: Form | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What whoever wrote this should hear about it."""
        return self.connection.remarks


class HttpKeys(FormKeys, ConnectionKeys):
    """The keys of an `http` check beside the common ones."""

    url: UrlText | None = None
    method: MethodText = "GET"
    headers: HeaderTexts = Field(default_factory=dict)
    body: JsonValue = None
    expect: list[ConditionText] = Field(default_factory=list)
    follow_redirects: bool = False
    max_redirects: Annotated[int, Field(ge=1, le=20)] = MAX_REDIRECTS
    body_bytes_at_most: Annotated[int, Field(ge=0, le=64 * 1024 * 1024)] = 1_048_576

    @field_validator("method")
    @classmethod
    def _harmless(cls, method: str, info: ValidationInfo) -> str:
        wish = info.data.get("auth_required")
        if wish is not None and wish.authorised is not None and method not in ("GET", "HEAD", "OPTIONS"):
            raise ValueError("must be GET or HEAD beside auth_required.authorised: that call would do what it says")
        return method

    @field_validator("follow_redirects")
    @classmethod
    def _stays(cls, follow_redirects: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  # pydantic's
        if follow_redirects and (form := _stranger(info)):
            message = f"means nothing beside {form}, which judges the first answer"
            raise ValueError(message)
        return follow_redirects

    @field_validator("headers")
    @classmethod
    def _as_nobody(cls, headers: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        names = {name.lower() for name in headers}
        form = _stranger(info)
        if form is not None and names & {"authorization", "cookie"}:
            message = f"must hold no Authorization and no Cookie beside {form}, which asks as a stranger"
            raise ValueError(message)
        if form == "cors" and any(name == "origin" or name.startswith("access-control-") for name in names):
            raise ValueError("must hold no Origin and no Access-Control header beside cors, which sends its own")
        return headers

    @field_validator("headers")
    @classmethod
    def _one_authorization(cls, headers: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        if info.data.get("auth") is not None and "authorization" in {name.lower() for name in headers}:
            raise ValueError("must hold no Authorization beside auth; keep one of them")
        return headers

    @field_validator("max_redirects")
    @classmethod
    def _of_some(cls, max_redirects: int, info: ValidationInfo) -> int:
        if info.data.get("follow_redirects") is False:
            raise ValueError("means nothing without follow_redirects: true")
        return max_redirects

    @model_validator(mode="after")
    def _one_form(self) -> "HttpKeys":
        forms = self.forms
        if len(forms) > 1:
            message = f"has {' and '.join(forms)}; keep one of them"
            raise ValueError(message)
        if (self.url is None) != (forms == ["requests"]):
            raise ValueError("must have either url or requests")
        if forms and (self.expect or self.body is not None):
            message = f"{forms[0]} judges its own answers: leave out expect and body"
            raise ValueError(message)
        if self.auth is not None and forms in (["cors"], ["auth_required"]):
            message = f"{forms[0]} asks as a stranger: leave out auth"
            raise ValueError(message)
        return self

    def to_spec(self) -> HttpSpec:
        """Return the frozen parameters."""
        headers = sent_headers(self.headers) | self.authorization()
        return HttpSpec(
            url=self.url or "",
            method=self.method,
            content=content_of(self.body, headers),
            headers=headers,
            expect=tuple(compile_condition(text) for text in self.expect or [DEFAULT_CONDITION]),
            redirects_at_most=self.max_redirects if self.follow_redirects else None,
            body_bytes_at_most=self.body_bytes_at_most,
            connection=self.to_connection(),
            secrets=(
                *secrets_of(headers),
                *self.secrets(),
                *hidden_in(self.url or "", self.body),
                *self.form_secrets(),
            ),
            form=self.to_form(headers),
        )


def _stranger(info: ValidationInfo) -> str | None:
    """Return the form that asks as a stranger would, None where there is none."""
    return next((form for form in ("cors", "auth_required") if info.data.get(form) is not None), None)
