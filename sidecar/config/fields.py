"""How single values are read: each type says in one sentence what it wants. No message ever repeats the value."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sidecar.config.problems import closest
from sidecar.config.variables import Secret
from sidecar.domain.rule import Table

MILLISECONDS: Mapping[str, int] = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_URL_CHARACTERS = re.compile(r"[!-~]+")


class Strict(BaseModel):
    """A mapping whose every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


def wrong(message: str, hint: str = "") -> PydanticCustomError:
    """Return the error to raise for a value, with a hint that `validate` picks up."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


@dataclass(frozen=True, slots=True, eq=False)
class Reads:
    """A pydantic annotation: read a value with one function, and describe it with one JSON Schema."""

    read: Callable[[object], object]
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read with our function alone."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe with our schema alone."""
        return dict(self.schema)


def _text(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, str) or value is None:
        raise wrong("must not be empty")
    raise wrong("must be text", "put it in quotes" if not isinstance(value, (dict, list)) else "")


def _matching(pattern: re.Pattern[str], message: str, hint: str = "") -> Reads:
    def read(value: object) -> str:
        text = _text(value)
        if not pattern.fullmatch(text):
            raise wrong(message, hint)
        return text

    return Reads(read, {"type": "string", "pattern": f"^(?:{pattern.pattern})$"})


def whole(low: int, high: int) -> Reads:
    """Read a whole number from `low` to `high`."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong("must be a whole number", f"from {low} to {high}, without quotes")
        if not low <= value <= high:
            raise wrong(f"must be from {low} to {high}")
        return value

    return Reads(read, {"type": "integer", "minimum": low, "maximum": high})


def number() -> Reads:
    """Read an exact number, negative ones included."""

    def read(value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise wrong("must be a number", "like 12 or 0.5, without quotes")
        return Decimal(value)

    return Reads(read, {"type": "number"})


def percent(*, zero: bool) -> Reads:
    """Read an exact percentage up to 100; `zero` says whether 0 is one."""

    def read(value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise wrong("must be a number of percent", "write it like 0.5, without quotes or a % sign")
        number = Decimal(value)
        if number > 100 or number < 0 or (number == 0 and not zero):
            raise wrong("must be from 0 to 100" if zero else "must be above 0, and at most 100")
        return number

    low = {"minimum": 0} if zero else {"exclusiveMinimum": 0}
    return Reads(read, {"type": "number", **low, "maximum": 100})


def duration(longest: str = "366d") -> Reads:
    """Read a duration such as `30s` into seconds, above 0 and at most `longest`."""

    def read(value: object) -> float:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise wrong("must be a duration", "write it like 500ms, 30s, 5m, 24h or 7d")
        seconds = _seconds(match)
        if seconds <= 0:
            raise wrong("must be longer than 0")
        if seconds > limit:
            raise wrong(f"must be at most {longest}")
        return seconds

    known = _DURATION.fullmatch(longest)
    if known is None:
        raise ValueError(longest)
    limit = _seconds(known)
    return Reads(read, {"type": "string", "pattern": f"^{_DURATION.pattern}$"})


def _seconds(match: re.Match[str]) -> float:
    return int(match[1]) * MILLISECONDS[match[2]] / 1000


def one_of(words: type[StrEnum]) -> Reads:
    """Read one word of a closed set."""
    known = [str(word) for word in words]

    def read(value: object) -> StrEnum:
        if isinstance(value, str) and value in known:
            return words(value)
        raise wrong(f"must be one of {', '.join(known)}", _meant(value, known))

    return Reads(read, {"enum": known})


def _meant(value: object, known: Iterable[str]) -> str:
    """Suggest a word only when it is close: the value itself is never repeated."""
    near = closest(value, known) if isinstance(value, str) else None
    return f"did you mean {near}?" if near else ""


def exactly(expected: bool | str) -> Reads:  # noqa: FBT001  # the value itself, not a switch
    """Read one fixed value."""
    shown = str(expected).lower() if isinstance(expected, bool) else expected

    def read(value: object) -> bool | str:
        if value != expected or isinstance(value, bool) != isinstance(expected, bool):
            raise wrong(f"must be {shown}")
        return expected

    return Reads(read, {"const": expected})


def _table(value: object) -> Table:
    schema, dot, name = _text(value).partition(".")
    if not (dot and _IDENTIFIER.fullmatch(schema) and _IDENTIFIER.fullmatch(name)):
        raise wrong("must be a table with its schema", "write it like public.users")
    return Table(schema, name)


def _base_url(value: object) -> str:
    """Read the root of an HTTP service, without a trailing slash."""
    text = _text(value)
    if not is_http_url(text):
        raise wrong("must be an http or https URL", "like https://host.example")
    parts = urlsplit(text)
    if parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise wrong("must be a plain URL", "without user, password, query or fragment")
    return text.rstrip("/")


def is_http_url(text: str) -> bool:
    """Say whether a text is an absolute http or https URL with a host."""
    try:
        parts = urlsplit(text)
        # Reading `port` is what finds a port that is no number.
        return bool(
            _URL_CHARACTERS.fullmatch(text) and parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        )
    except ValueError:
        return False


def _optional_url(value: object) -> str | None:
    return None if value is None or value == "" else _base_url(value)


def _secret(value: object) -> Secret:
    if value is None or isinstance(value, str):
        return Secret(value or "")
    raise wrong("must be text", "use ${NAME} or file:/path")


def _unique(values: tuple[object, ...]) -> tuple[object, ...]:
    for position, value in enumerate(values):
        if value in values[:position]:
            raise wrong(f"names the same thing twice, at positions {values.index(value) + 1} and {position + 1}")
    return values


_HTTP = {"type": "string", "pattern": "^https?://"}

Text: TypeAlias = Annotated[str, Reads(_text, {"type": "string", "minLength": 1})]
Identifier: TypeAlias = Annotated[
    str, _matching(_IDENTIFIER, "must be a column name", "letters, digits and _, at most 63")
]
Name: TypeAlias = Annotated[
    str, _matching(_NAME, "must be a short name", "lower-case letters, digits, - and _, at most 63")
]
TableName: TypeAlias = Annotated[Table, Reads(_table, {"type": "string", "pattern": r"^[^.]+\.[^.]+$"})]
BaseURL: TypeAlias = Annotated[str, Reads(_base_url, _HTTP)]
OptionalURL: TypeAlias = Annotated[str | None, Reads(_optional_url, {"type": ["string", "null"]})]
SecretText: TypeAlias = Annotated[Secret, Reads(_secret, {"type": ["string", "null"]})]
Unique = AfterValidator(_unique)
True_: TypeAlias = Annotated[Literal[True], exactly(True)]  # noqa: FBT003  # the value itself
