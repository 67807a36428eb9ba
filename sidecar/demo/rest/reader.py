"""A text being read, and the names, fields and values that every part of a query string is made of.

Written after the Parsec grammar of PostgREST (ApiRequest/QueryParams.hs).
"""

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from sidecar.demo.rest.errors import RestError, malformed
from sidecar.demo.rest.query import Field

FIELD_NAME = "field name (* or [a..z0..9_$])"
_INDEX = re.compile(r"-?[0-9]+(?=->|::|[.,]|$)")

Read = TypeVar("Read")


class Reader:
    """A text and a place in it. `subject` is how a refusal names the text."""

    def __init__(self, text: str, subject: str) -> None:
        """Start at the beginning."""
        self.text = text
        self.at = 0
        self.subject = subject

    def fail(self, expected: str) -> NoReturn:
        """Refuse the text at this place."""
        found = f'"{self.text[self.at]}"' if self.at < len(self.text) else "end of input"
        raise malformed(self.subject, self.at + 1, f"unexpected {found} expecting {expected}")

    def sees(self, word: str) -> bool:
        """Say whether `word` comes next."""
        return self.text.startswith(word, self.at)

    def take(self, word: str) -> bool:
        """Step over `word` if it comes next."""
        if not self.sees(word):
            return False
        self.at += len(word)
        return True

    def need(self, word: str) -> None:
        """Step over `word`, or refuse."""
        if not self.take(word):
            self.fail(f'"{word}"')

    def run(self, wanted: Callable[[str], bool]) -> str:
        """Step over characters while they are wanted, and return them."""
        start = self.at
        while self.at < len(self.text) and wanted(self.text[self.at]):
            self.at += 1
        return self.text[start : self.at]

    def rest(self) -> str:
        """Step over all that is left, and return it."""
        return self.run(lambda _: True)

    def blanks(self) -> None:
        """Step over blanks."""
        self.run(lambda char: char in " \t")

    def ends_item(self) -> bool:
        """Say whether an item of a list ends here."""
        return self.at >= len(self.text) or self.text[self.at] in ",)"

    def attempt(self, reading: "Callable[[Reader], Read]") -> "Read | None":
        """Read, or step back and return None."""
        start = self.at
        try:
            return reading(self)
        except RestError:
            self.at = start
            return None


def name(reader: Reader) -> str:
    """Read the name of a column or table, quoted or plain. A plain one may hold blanks, as in PostgREST."""
    if reader.sees('"'):
        return quoted(reader)
    parts = [word(reader)]
    while reader.sees("-") and not reader.sees("->"):
        reader.need("-")
        parts.append(word(reader))
    return "-".join(parts)


def word(reader: Reader) -> str:
    """Read letters, digits, `_`, `$` and blanks."""
    found = reader.run(lambda char: char.isalnum() or char in "_ $")
    return found.strip() if found else reader.fail(FIELD_NAME)


def quoted(reader: Reader) -> str:
    """Read a text in double quotes, in which a backslash takes the meaning from the next character."""
    reader.need('"')
    chars: list[str] = []
    while not reader.take('"'):
        reader.take("\\")
        if reader.at >= len(reader.text):
            reader.fail('"\\""')
        chars.append(reader.text[reader.at])
        reader.at += 1
    return "".join(chars)


def names(text: str, subject: str) -> tuple[str, ...]:
    """Read a list of names, as in `columns` and `on_conflict`."""
    reader = Reader(text, subject)
    found = [name(reader)]
    while reader.take(","):
        reader.blanks()
        found.append(name(reader))
    return tuple(found)


def field(reader: Reader) -> Field:
    """Read a name with an optional JSON path."""
    reader.blanks()
    column = name(reader)
    found = Field(column, path(reader))
    reader.blanks()
    return found


def path(reader: Reader) -> tuple[tuple[str, str | int], ...]:
    """Read steps into a JSON value, such as `->a->>0`."""
    steps: list[tuple[str, str | int]] = []
    while reader.sees("->"):
        arrow = "->>" if reader.sees("->>") else "->"
        reader.need(arrow)
        index = _INDEX.match(reader.text, reader.at)
        if index:
            reader.need(index[0])
        steps.append((arrow, int(index[0]) if index else _key(reader)))
    return tuple(steps)


def _key(reader: Reader) -> str:
    if reader.sees('"'):
        return quoted(reader)
    parts = [reader.run(lambda char: char not in "(-:.,>)")]
    while reader.sees("-") and not reader.sees("->"):
        reader.need("-")
        parts.append(reader.run(lambda char: char not in "(-:.,>)"))
    if not all(parts):
        reader.fail("any non reserved character different from: .,>()")
    return "-".join(part.strip() for part in parts)


def single_value(reader: Reader) -> str:
    """Read the value inside a logic tree: quoted, an array literal in braces, or up to the next comma or bracket."""
    found = reader.attempt(_quoted_whole)
    if found is None:
        found = reader.attempt(_braced)
    return reader.run(lambda char: char not in ",)") if found is None else found


def list_value(reader: Reader) -> tuple[str, ...]:
    """Read the values of `in`."""
    reader.blanks()
    reader.need("(")
    reader.blanks()
    found = [_element(reader)]
    while reader.take(","):
        found.append(_element(reader))
    reader.blanks()
    reader.need(")")
    reader.blanks()
    return tuple(found)


def _element(reader: Reader) -> str:
    element = reader.attempt(_quoted_whole)
    return reader.run(lambda char: char not in ",)") if element is None else element


def _quoted_whole(reader: Reader) -> str:
    found = quoted(reader)
    return found if reader.ends_item() else reader.fail('"," or ")"')


def _braced(reader: Reader) -> str:
    start = reader.at
    reader.need("{")
    reader.run(lambda char: char not in "{}")
    reader.need("}")
    return reader.text[start : reader.at]
