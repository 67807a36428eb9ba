"""The texts that an `http` check is made of: URLs, methods, headers and conditions, each refused where it is wrong."""

import re
from collections.abc import Mapping
from typing import Annotated

import httpx
from pydantic import AfterValidator, SecretStr

from sidecar.checks.conditions import compile_condition
from sidecar.checks.connection_keys import SecretText, no_repeats
from sidecar.checks.redirects import is_port

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
DEFAULT_CONDITION = "status >= 200 && status < 300"
_OURS = frozenset({"accept-encoding", "connection", "content-length", "host", "transfer-encoding"})
# What these hold is no secret, and would be masked wherever an answer happens to say the same.
_PLAIN = frozenset(
    {"accept", "accept-language", "cache-control", "content-type", "origin", "prefer", "range", "referer", "user-agent"}
)
_SECRET_CHARACTERS_AT_LEAST = 4


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


def sent_headers(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    """Return headers as they are sent."""
    return {name: value.get_secret_value() for name, value in headers.items()}


def secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what of some headers nobody may see again, whole and without its scheme (`Bearer`)."""
    hidden = [value for name, value in headers.items() if name.lower() not in _PLAIN]
    hidden += [value.partition(" ")[2] for value in hidden]
    return tuple(value for value in hidden if len(value) >= _SECRET_CHARACTERS_AT_LEAST)


def with_shared(own: Mapping[str, str], shared: Mapping[str, str]) -> Mapping[str, str]:
    """Return a request's own headers with those that it shares; of two with one name its own counts."""
    if not own:
        return shared
    named = {name.lower() for name in own}
    return {name: value for name, value in shared.items() if name.lower() not in named} | dict(own)
