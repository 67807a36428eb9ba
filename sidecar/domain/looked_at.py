"""Which values a condition looked at, and how they are shown: short, on one line, secrets masked."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sidecar.domain.check import JSON
from sidecar.domain.masking import MASK, mask_text

VALUES_AT_MOST = 6
CHARACTERS_AT_MOST = 80  # of one value
READ_AT_MOST = CHARACTERS_AT_MOST + 400  # longer than what is masked can be cut without being recognised
SECRET_CHARACTERS_AT_LEAST = 4

Segment: TypeAlias = str | int

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[A-Za-z_]\w*|\d+|\S')
_SENSITIVE = re.compile(r"(?i)auth|cookie|token|secret|key|passw|session|credential|signature|e-?mail|phone")


@dataclass(frozen=True, slots=True)
class Looked:
    """A value by its path from one of the names, such as `body.models`; `is_sized` where its size was asked."""

    path: tuple[Segment, ...]
    is_sized: bool = False

    @property
    def label(self) -> str:
        """The path as CEL writes it."""
        shown = str(self.path[0])
        for part in self.path[1:]:
            plain = isinstance(part, str) and re.fullmatch(r"[A-Za-z_]\w*", part)
            shown += f".{part}" if plain else f"[{json.dumps(part)}]"
        return f"size({shown})" if self.is_sized else shown


def looked_at(text: str, names: Iterable[str]) -> tuple[Looked, ...]:
    """Return the values that a CEL text mentions, in its order. An index that is computed ends the path."""
    tokens, known, found = _TOKEN.findall(text), frozenset(names), dict[Looked, None]()
    position = 0
    while position < len(tokens):
        start = position
        position += 1
        if tokens[start] not in known or (start and tokens[start - 1] == "."):
            continue
        path: list[Segment] = [tokens[start]]
        while (step := _segment(tokens[position : position + 3])) is not None:
            path.append(step[0])
            position += step[1]
        is_sized = tokens[max(0, start - 2) : start] == ["size", "("] and tokens[position : position + 1] == [")"]
        found[Looked(tuple(path), is_sized)] = None
    return tuple(found)


def _segment(ahead: list[str]) -> tuple[Segment, int] | None:
    """Return the next part of a path and how many tokens it takes."""
    match ahead:
        case [".", word, *rest] if re.fullmatch(r"[A-Za-z_]\w*", word) and rest != ["("]:
            return word, 2
        case ["[", literal, "]"] if literal.isdecimal() and len(literal) < 10:
            return int(literal), 3
        case ["[", literal, "]"] if literal[0] in "\"'" and len(literal) > 1 and "\\" not in literal:
            return literal[1:-1], 3
    return None


def shown_values(looked: Iterable[Looked], bindings: Mapping[str, JSON], secrets: Iterable[str] = ()) -> str:
    """Render what was looked at as `status is 503, size(body.models) is 2`; no value that holds a secret is shown."""
    hidden = tuple(secret for secret in secrets if len(secret) >= SECRET_CHARACTERS_AT_LEAST)
    several = tuple(looked)
    shown = [f"{_clean(one.label)} {_shown(one, bindings, hidden)}" for one in several[:VALUES_AT_MOST]]
    more = len(several) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _shown(one: Looked, bindings: Mapping[str, JSON], secrets: tuple[str, ...]) -> str:
    value: JSON = dict(bindings)
    for part in one.path:
        match value, part:
            case dict(), str() if part in value:
                value = value[part]
            case list(), int() if part < len(value):
                value = value[part]
            case _:
                return "is not there"
    if one.is_sized and isinstance(value, str | list | dict):
        return f"is {len(value)}"
    is_whole = len(one.path) == 1
    return _rendered(value, secrets, is_masked=any(_SENSITIVE.search(str(part)) for part in one.path), whole=is_whole)


def _rendered(value: JSON, secrets: tuple[str, ...], *, is_masked: bool, whole: bool) -> str:
    match value:
        case dict() | list():
            return f"has {len(value)} entr{'y' if len(value) == 1 else 'ies'}"
        case None:
            return "is null"
        case bool():
            return f"is {str(value).lower()}"
        case _ if is_masked:
            return f"is {MASK}"
        case str() if whole:
            return f"has {len(value)} characters"
        case str():
            return f"is {_text(value, secrets)}"
        case _:
            number = f"{value:.6g}" if isinstance(value, float) else str(value)
            return f"is {MASK if any(secret in number for secret in secrets) else number}"


def _text(value: str, secrets: tuple[str, ...]) -> str:
    if any(secret in value for secret in secrets):
        return MASK
    masked = mask_text(value[:READ_AT_MOST])  # before it is cut: half a key is not recognised
    cut = masked if len(masked) <= CHARACTERS_AT_MOST else masked[:CHARACTERS_AT_MOST] + "…"
    return json.dumps(_clean(cut), ensure_ascii=False)


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
