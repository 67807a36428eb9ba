"""Collects what is wrong, so that a person sees everything at once instead of one thing per try."""

from collections.abc import Iterable
from difflib import get_close_matches

from sidecar.config.document import Document, Path, Place, dotted
from sidecar.errors import ConfigError, Problem

HIDDEN = "***"
HIDDEN_CHARS_AT_LEAST = 4  # shorter values are left: replacing every "1" would make messages unreadable


class Problems:
    """Problems of several texts, in the order in which the texts were read."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._blamed: set[tuple[str, Path]] = set()
        self._files: dict[str, int] = {}
        self._secrets: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def reading(self, file: str) -> None:
        """Take note of the order of the texts."""
        self._files.setdefault(file, len(self._files))

    def hide(self, secret: str) -> None:
        """Never show this value, whatever a message holds."""
        if len(secret) >= HIDDEN_CHARS_AT_LEAST:
            self._secrets.add(secret)

    def add(self, document: Document, path: Path, message: str, hint: str = "") -> None:
        """Blame a value. A path is blamed once: what follows from the first problem is noise."""
        if (document.file, path) not in self._blamed:
            self._blamed.add((document.file, path))
            self._append(document.file, document.place(path), dotted(path), message, hint)

    def add_key(self, document: Document, path: Path, message: str, hint: str = "") -> None:
        """Blame the key at the end of `path`."""
        self._append(document.file, document.key_place(path), dotted(path), message, hint)

    def add_place(self, file: str, place: Place, message: str, hint: str = "", path: Path = ()) -> None:
        """Blame a place of a text that could not be read as a document, or the file as a whole."""
        self._append(file, place, dotted(path), message, hint)

    def is_blamed(self, document: Document, path: Path) -> bool:
        """Say whether the value at `path`, or one above it, was blamed already."""
        return any((document.file, path[:length]) in self._blamed for length in range(1, len(path) + 1))

    def raise_any(self) -> None:
        """Raise: ConfigError with every problem, by file, line and column."""
        if self._found:
            order = sorted(self._found, key=lambda p: (self._files.get(p.file, 0), p.file, p.line, p.column))
            raise ConfigError(tuple(order))

    def _append(self, file: str, place: Place, path: str, message: str, hint: str) -> None:
        self.reading(file)
        self._found.append(
            Problem(
                file=file,
                line=place.line,
                column=place.column,
                path=path,
                message=hide_in(message, self._secrets),
                hint=hide_in(hint, self._secrets),
            )
        )


def hide_in(text: str, values: Iterable[str]) -> str:
    """Return `text` without any of `values`, longest first."""
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= HIDDEN_CHARS_AT_LEAST:
            text = text.replace(value, HIDDEN)
    return text


def suggest(name: str, known: Iterable[str], otherwise: str = "known here") -> str:
    """Return a hint: the known name that looks most like `name`, or all of them."""
    names = sorted(known)
    near = closest(name, names)
    if near is not None:
        return f"did you mean {near}?"
    return f"{otherwise}: {', '.join(names)}" if names else ""


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like `name`, None when none does."""
    return next(iter(get_close_matches(name, sorted(known), n=1)), None)
