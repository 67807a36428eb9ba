"""The keys of the kind `http` as they are written, and as its probe uses them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import httpx
from pydantic import AfterValidator, Field, JsonValue, SecretStr, ValidationInfo, field_validator

from sidecar.checks.conditions import Condition, compile_condition
from sidecar.checks.connection_keys import Connection, ConnectionKeys, SecretText, no_repeats
from sidecar.checks.hidden import hidden_in
from sidecar.checks.redirects import MAX_REDIRECTS, is_port

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
DEFAULT_CONDITION = "status >= 200 && status < 300"
_OURS = frozenset({"accept-encoding", "connection", "content-length", "host", "transfer-encoding"})
# What these hold is no secret, and would be masked wherever an answer happens to say the same.
_PLAIN = frozenset(
    {"accept", "accept-language", "cache-control", "content-type", "origin", "prefer", "range", "referer", "user-agent"}
)
_SECRET_CHARACTERS_AT_LEAST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSpec:
    """Parameters of one `http` check. A `url` that starts with a slash is a path of the backend.

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

    @property
    def remarks(self) -> tuple[str, ...]:
        """What whoever wrote this should hear about it."""
        return self.connection.remarks


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
        raise ValueError("must hold no user and password; use auth instead")
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
    no_repeats([name.lower() for name in headers])
    return headers


def _condition(text: str) -> str:
    compile_condition(text)
    return text


UrlText = Annotated[str, AfterValidator(_url)]
MethodText = Annotated[str, AfterValidator(_method)]
HeaderTexts = Annotated[dict[str, SecretText], AfterValidator(_headers)]
ConditionText = Annotated[str, AfterValidator(_condition)]


class HttpKeys(ConnectionKeys):
    """The keys of an `http` check beside the common ones."""

    url: UrlText
    method: MethodText = "GET"
    headers: HeaderTexts = Field(default_factory=dict)
    body: JsonValue = None
    expect: list[ConditionText] = Field(default_factory=list)
    follow_redirects: bool = False
    max_redirects: Annotated[int, Field(ge=1, le=20)] = MAX_REDIRECTS
    body_bytes_at_most: Annotated[int, Field(ge=0, le=64 * 1024 * 1024)] = 1_048_576

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

    def to_spec(self) -> HttpSpec:
        """Return the frozen parameters. A body that is not text is sent as JSON."""
        headers = sent_headers(self.headers) | self.authorization()
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
            redirects_at_most=self.max_redirects if self.follow_redirects else None,
            body_bytes_at_most=self.body_bytes_at_most,
            connection=self.to_connection(),
            secrets=(*secrets_of(headers), *self.secrets(), *hidden_in(self.url, self.body)),
        )


def sent_headers(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    """Return headers as they are sent."""
    return {name: value.get_secret_value() for name, value in headers.items()}


def secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what of some headers nobody may see again, whole and without its scheme (`Bearer`)."""
    hidden = [value for name, value in headers.items() if name.lower() not in _PLAIN]
    hidden += [value.partition(" ")[2] for value in hidden]
    return tuple(value for value in hidden if len(value) >= _SECRET_CHARACTERS_AT_LEAST)
