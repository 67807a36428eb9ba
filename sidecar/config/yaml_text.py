"""YAML, read strictly and without surprises: no aliases, no tags, no duplicate keys, no guessing at types.

PyYAML delivers events; what they mean is decided here. Unlike YAML 1.1, only `true` and `false` are booleans, and a
plain word that dialects of YAML read differently (`yes`, `0x1F`, `2026-01-01`, `1e3`) must be put in quotes.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Protocol

import yaml

from sidecar.config.document import NOWHERE, Document, Path, Place, Plain
from sidecar.config.problems import Problems

BYTES_AT_MOST = 1024 * 1024  # a rule file is about 2 KB
DEPTH_AT_MOST = 32  # the shipped files reach 6

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}")
_NUMBER_OF_YAML_1_2 = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+")
_QUOTED = re.compile(r"'([^']*)'")
_HARMLESS = re.compile(r".|\\.|<[a-z ]+>")  # one character, or the name of a token
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_STR = "tag:yaml.org,2002:str"


class _Mark(Protocol):
    line: int
    column: int


class _Unreadable(Exception):
    """Ends the reading of one text."""

    def __init__(self, place: Place, message: str, hint: str = "", path: Path = ()) -> None:
        super().__init__(message)
        self.place, self.message, self.hint, self.path = place, message, hint, path


def read_file(path: FilePath, problems: Problems) -> str | None:
    """Return the text of a file, or None after noting why it cannot be read."""
    problems.reading(str(path))
    content = b""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_AT_MOST + 1)
        if len(content) <= BYTES_AT_MOST:
            return content.decode("utf-8-sig")
        problems.add_place(str(path), NOWHERE, "is larger than 1 MiB", "a configuration is a few kilobytes")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        problems.add_place(str(path), Place(line, column), "is not UTF-8 text", "save the file as UTF-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable path"
        problems.add_place(str(path), NOWHERE, f"cannot be read: {reason}")
    return None


def parse(file: str, text: str, problems: Problems) -> Document | None:
    """Return the one document of a YAML text, or None after noting what is wrong with it."""
    problems.reading(file)
    reader = _Reader(file, problems)
    try:
        return reader.document(text)
    except _Unreadable as stop:
        problems.add_place(file, stop.place, stop.message, stop.hint, stop.path)
    except yaml.MarkedYAMLError as error:
        message, hint = _explain(error)
        problems.add_place(file, _place(error.problem_mark or error.context_mark), message, hint)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        problems.add_place(file, Place(line, column), "holds a character that YAML does not allow")
    except (ValueError, OverflowError):
        # PyYAML hands the number in an escape such as "\UFFFFFFFF" to chr() unchecked.
        problems.add_place(file, reader.seen, "is not YAML: an escape names no character")
    return None


def _explain(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    """Say what PyYAML found, without the words of the text: they may be part of a secret."""
    problem = _QUOTED.sub(lambda m: m[0] if _HARMLESS.fullmatch(m[1]) else "'…'", error.problem or "it ends too early")
    if "'\\t'" in problem:
        return "is indented with a tab", "use spaces"
    if "got '{'" in problem:
        return f"is not YAML: {problem}", "inside { } put ${NAME} in quotes"
    if problem == "mapping values are not allowed here":
        return f"is not YAML: {problem}", "check the indentation, or put the text in quotes"
    return f"is not YAML: {problem}", ""


def _place(mark: _Mark | None) -> Place:
    return Place(mark.line + 1, mark.column + 1) if mark is not None else NOWHERE


class _Reader:
    """Builds plain data from events, and keeps the places."""

    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._values: dict[Path, Place] = {}
        self._keys: dict[Path, Place] = {}
        self._resolver = yaml.resolver.Resolver()
        self.seen = Place(1, 1)

    def document(self, text: str) -> Document:
        events = self._events(text)
        next(events)  # the start of the stream
        first = next(events)
        if isinstance(first, yaml.StreamEndEvent):
            raise _Unreadable(NOWHERE, "is empty")
        data = self.node(next(events), events, ())
        next(events)  # the end of the document
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Unreadable(_place(after.start_mark), "a second document begins here", "one file holds one document")
        return Document(file=self._file, data=data, values=self._values, keys=self._keys)

    def _events(self, text: str) -> Iterator[yaml.Event]:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            self.seen = _place(event.start_mark)
            yield event

    def node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Plain:
        place = _place(event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Unreadable(
                place, "anchors and aliases are not used here", "write it out, or put the text in quotes", path
            )
        if getattr(event, "tag", None) is not None:
            raise _Unreadable(place, "tags are not used here", "leave it out, or put the text in quotes", path)
        if len(path) > DEPTH_AT_MOST:
            raise _Unreadable(place, f"is nested more than {DEPTH_AT_MOST} levels deep", "", path[:4])
        self._values[path] = place
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path)
        return self._scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            place = _place(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
                raise _Unreadable(place, "a key must be plain text", "", path)
            key = event.value
            if _UNSTORABLE.search(key):
                raise _Unreadable(place, "a key holds a character that cannot be stored", "", path)
            if key in found:
                self._problems.add_place(
                    self._file, place, "is given twice", f"first on line {self._keys[*path, key].line}", (*path, key)
                )
                _Reader(self._file, self._problems).node(next(events), events, (*path, key))  # with places of its own
                continue
            self._keys[*path, key] = place
            found[key] = self.node(next(events), events, (*path, key))
        return found

    def _sequence(self, events: Iterator[yaml.Event], path: Path) -> list[Plain]:
        found: list[Plain] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            found.append(self.node(event, events, (*path, len(found))))
        return found

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Plain:
        text: str = event.value
        if _UNSTORABLE.search(text):
            return self._refuse(path, "holds a character that cannot be stored")
        if event.style is not None:
            return text
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _WHOLE.fullmatch(text):
            return int(text)
        if _FRACTION.fullmatch(text):
            return Decimal(text)
        tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # the stubs leave it bare
        if tag != _STR or _NUMBER_OF_YAML_1_2.fullmatch(text):
            hint = "put it in quotes if it is text; only true and false are booleans, and numbers are like 12 or 0.5"
            return self._refuse(path, "means different things in different YAMLs", hint)
        return text

    def _refuse(self, path: Path, message: str, hint: str = "") -> str:
        self._problems.add(Document(file=self._file, values=self._values), path, message, hint)
        return ""
