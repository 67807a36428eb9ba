"""A configuration text as plain data that still knows where in the text each part stands."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Plain: TypeAlias = bool | int | Decimal | str | list["Plain"] | dict[str, "Plain"] | None

_SHOWN_KEY = re.compile(r"[A-Za-z0-9_$./-]{1,63}")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a text. Units: `line` and `column` count from 1; 0 means that no place is to blame."""

    line: int
    column: int


NOWHERE = Place(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Plain data with the places of its values and of its keys. Numbers are int or Decimal, never float."""

    file: str
    data: Plain = None
    values: Mapping[Path, Place] = field(default_factory=dict)
    keys: Mapping[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Return where the value at `path` stands, or where its nearest parent does when there is none."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, NOWHERE)

    def key_place(self, path: Path) -> Place:
        """Return where the key at the end of `path` stands."""
        return self.keys.get(path) or self.place(path)

    def at(self, *path: str | int) -> Plain:
        """Return the value at `path`, None when there is none."""
        found = self.data
        for part in path:
            match found:
                case dict() if isinstance(part, str):
                    found = found.get(part)
                case list() if isinstance(part, int) and part < len(found):
                    found = found[part]
                case _:
                    return None
        return found

    def mapping_at(self, *path: str | int) -> dict[str, Plain]:
        """Return the mapping at `path`, an empty one when something else or nothing stands there."""
        found = self.at(*path)
        return found if isinstance(found, dict) else {}

    def list_at(self, *path: str | int) -> list[Plain]:
        """Return the list at `path`, an empty one when something else or nothing stands there."""
        found = self.at(*path)
        return found if isinstance(found, list) else []

    def with_texts(self, change: Callable[[Path, str], str]) -> "Document":
        """Return the same document with every text passed through `change`; keys stay as they are."""
        return replace(self, data=_change(self.data, (), change))


def _change(data: Plain, path: Path, change: Callable[[Path, str], str]) -> Plain:
    match data:
        case str():
            return change(path, data)
        case list():
            return [_change(item, (*path, index), change) for index, item in enumerate(data)]
        case dict():
            return {key: _change(value, (*path, key), change) for key, value in data.items()}
        case _:
            return data


def dotted(path: Path) -> str:
    """Render a path as `checks[0].expect[1]`. A key that does not look like one may be a pasted secret: not shown."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + (part if _SHOWN_KEY.fullmatch(part) else "…")
    return shown
