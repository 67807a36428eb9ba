"""`{{name}}` in a configured text: where a captured value goes, in a form that cannot break out of its place."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

import httpx

from sidecar.checks.stopped import Stopped
from sidecar.domain.check import JSON

Captured: TypeAlias = bool | int | float | str
_HOLE = re.compile(r"\{\{ *([a-z][a-z0-9_]{0,62}) *\}\}")
_SENDABLE = re.compile(r"[\t -~]*")
_ABSOLUTE = re.compile(r"https?://[^/?#{}@]+(?=[/?]|$)")


@dataclass(frozen=True, slots=True)
class Template:
    """A text with holes. `names` are the captured values that fill them."""

    text: str

    @property
    def names(self) -> frozenset[str]:
        """The values that it needs."""
        return frozenset(_HOLE.findall(self.text))

    def filled(self, values: Mapping[str, Captured]) -> str:
        """Return the text with the values as they are."""
        return _HOLE.sub(lambda hole: _text(values[hole[1]]), self.text)

    def as_header(self, values: Mapping[str, Captured]) -> str:
        """Return a header's value. Raises: Stopped for a line break or another character that no header holds."""
        found = self.filled(values)
        if not _SENDABLE.fullmatch(found):
            raise Stopped("step_failed", f"{self._who()} cannot be sent in a header")
        return found

    def as_url(self, values: Mapping[str, Captured]) -> str:
        """Return a URL in which each value is a part of its own. Raises: Stopped for one that would climb a path."""

        def part(hole: re.Match[str]) -> str:
            found = _text(values[hole[1]])
            if found in ("", ".", ".."):
                raise Stopped("step_failed", f"{{{{{hole[1]}}}}} cannot stand in a URL")
            return quote(found, safe="")

        return _HOLE.sub(part, self.text)

    def as_json(self, values: Mapping[str, Captured]) -> Captured:
        """Return a value of a JSON document: the captured one itself where the text is nothing but its hole."""
        whole = _HOLE.fullmatch(self.text)
        return values[whole[1]] if whole else self.filled(values)

    def _who(self) -> str:
        return "a value with " + ", ".join(f"{{{{{name}}}}}" for name in sorted(self.names))


def template(text: str) -> Template:
    """Read a template. Raises: ValueError where a {{ opens no name."""
    if "{{" in _HOLE.sub("", text):
        raise ValueError("holds a {{ that is no captured value; write {{name}}")
    return Template(text)


def url_template(text: str) -> Template:
    """Read the template of a URL, whose host no captured value can choose. Raises: ValueError."""
    if not re.fullmatch(r"[!-~]+", _HOLE.sub("x", text)):
        raise ValueError("must be a URL without blanks; write other characters percent-encoded")
    is_path = text.startswith("/") and not text.startswith(("//", "/{{"))
    if not is_path and not _ABSOLUTE.match(text):
        raise ValueError(
            "must be a path of the backend such as /health, or an http or https URL whose host is written out"
        )
    try:
        port = httpx.URL(_HOLE.sub("x", text)).port
    except httpx.InvalidURL:
        raise ValueError("is not a URL") from None  # the message would repeat the URL, which may hold a secret
    if port is not None and not 0 < port < 65_536:
        raise ValueError("has a port that does not exist")
    return template(text)


def json_names(document: JSON) -> frozenset[str]:
    """Return the captured values that a JSON document needs. Raises: ValueError."""
    match document:
        case str():
            return template(document).names
        case list():
            return frozenset().union(*map(json_names, document))
        case dict():
            if any("{{" in key for key in document):
                raise ValueError("has a {{ in a key, where no captured value goes")
            return frozenset().union(*map(json_names, document.values()))
        case _:
            return frozenset()


def filled_json(document: JSON, values: Mapping[str, Captured]) -> bytes:
    """Return a JSON document with its holes filled."""

    def fill(part: JSON) -> JSON:
        match part:
            case str():
                return Template(part).as_json(values)
            case list():
                return [fill(inner) for inner in part]
            case dict():
                return {key: fill(inner) for key, inner in part.items()}
            case _:
                return part

    return json.dumps(fill(document)).encode()


def filled_form(fields: Mapping[str, Template], values: Mapping[str, Captured]) -> tuple[str, bytes]:
    """Return the content type and body of a multipart form. Nobody can guess the boundary, so no value ends a part."""
    boundary = f"sidecar-{secrets.token_hex(16)}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{field.filled(values)}\r\n'
        for name, field in fields.items()
    ]
    return f"multipart/form-data; boundary={boundary}", f"{''.join(parts)}--{boundary}--\r\n".encode("utf-8", "replace")


def _text(value: Captured) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
