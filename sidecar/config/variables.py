"""Values that come from outside the text: `${NAME}` from the environment, `file:` from a file, and secrets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from sidecar.config.document import Document, Path, dotted
from sidecar.config.problems import Problems

SECRET_BYTES_AT_MOST = 64 * 1024

_PIECE = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Secret:
    """A value that shows itself only when asked by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Keep `value`; an empty one means that none was given."""
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True)
class Expanded:
    """A document with its variables filled in. `foreign` maps a path to the values that came from outside."""

    document: Document
    foreign: Mapping[Path, set[str]] = field(default_factory=dict)

    def under(self, path: Path) -> set[str]:
        """Return the values from outside at `path` and below."""
        return {value for at, values in self.foreign.items() if at[: len(path)] == path for value in values}


def expand(
    document: Document, environ: Mapping[str, str], problems: Problems, may_be_unset: frozenset[Path]
) -> Expanded:
    """Fill in every `${NAME}` and `${NAME:-default}`; `$$` is a dollar sign.

    Expansion happens in texts after the YAML was parsed, so that no value can change the structure. A default stands
    in for a variable that is unset or empty. At the paths in `may_be_unset` an unset variable is empty.
    """
    foreign: dict[Path, set[str]] = {}

    def fill(path: Path, text: str) -> str:
        def piece(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if name is None:
                if match[0] == "${":
                    hint = "write ${NAME} or ${NAME:-default}; $$ is a dollar sign"
                    problems.add(document, path, "holds a ${ that is no variable", hint)
                return "$"
            value = environ.get(name, "") or default
            if value is None and (name in environ or path in may_be_unset):
                value = ""
            if value is None:
                problems.add(document, path, f"the environment variable {name} is not set", "export it")
                return ""
            if _UNSTORABLE.search(value):
                problems.add(document, path, f"the environment variable {name} is not text")
                return ""
            foreign.setdefault(path, set()).add(value)
            return value

        return _PIECE.sub(piece, text)

    return Expanded(document.with_texts(fill), foreign)


def reveal_files(expanded: Expanded, is_secret: re.Pattern[str], folder: FilePath, problems: Problems) -> Expanded:
    """Replace `file:/path` by the stripped content of that file wherever a secret stands.

    `is_secret` matches the dotted path of a secret. Every secret found is hidden from messages.
    """
    document = expanded.document

    def read(path: Path, text: str) -> str:
        if not is_secret.fullmatch(dotted(path)):
            return text
        value = text
        if text.startswith("file:"):
            value = read_secret(document, path, folder / text.removeprefix("file:"), problems) or ""
        problems.hide(value)
        return value

    return replace(expanded, document=document.with_texts(read))


def read_secret(document: Document, path: Path, file: FilePath, problems: Problems) -> str | None:
    """Return the stripped content of a secret's file, or None after noting why it cannot be had."""
    try:
        return secret_in(file)
    except ValueError as error:
        problems.add(document, path, str(error))
        return None


def secret_in(file: FilePath) -> str:
    """Return the stripped content of a secret's file. Raises: ValueError that says why it cannot be had."""
    try:
        with file.open("rb") as opened:
            content = opened.read(SECRET_BYTES_AT_MOST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable path"
        message = f"the file cannot be read: {reason}"
        raise ValueError(message) from None
    if len(content) > SECRET_BYTES_AT_MOST:
        raise ValueError("the file is too large for a secret")
    try:
        value = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    if _UNSTORABLE.search(value):
        raise ValueError("the file is not text")
    return value
