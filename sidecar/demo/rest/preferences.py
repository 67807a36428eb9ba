"""What the headers of a request ask for: preferences, a range of rows, a media type."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers

from sidecar.demo.rest.errors import RestError
from sidecar.demo.rest.query import Query
from sidecar.demo.rest.statements import Shape

_KNOWN: Mapping[str, tuple[str, ...]] = {  # in the order of Preference-Applied
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "missing": ("default", "null"),
    "return": ("representation", "minimal", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "tx": ("commit", "rollback"),
    "handling": ("strict", "lenient"),
}
_RANGE = re.compile(r"([0-9]+)-([0-9]*)")
_SHAPES = {
    "*/*": ("application/json", "array"),
    "application/*": ("application/json", "array"),
    "application/json": ("application/json", "array"),
    "text/csv": ("text/csv", "csv"),
    "application/vnd.pgrst.object+json": ("application/vnd.pgrst.object+json", "object"),
    "application/vnd.pgrst.object": ("application/vnd.pgrst.object+json", "object"),
    "application/vnd.pgrst.array+json": ("application/vnd.pgrst.array+json", "array"),
    "application/vnd.pgrst.array": ("application/vnd.pgrst.array+json", "array"),
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What `Prefer` asks for. `chosen` maps the name of a preference to its value."""

    chosen: Mapping[str, str]
    max_affected: int | None

    def applied(self, *ignored: str) -> dict[str, str]:
        """Return the header that says which preferences were followed, leaving out those that do not apply here."""
        followed = [f"{name}={self.chosen[name]}" for name in _KNOWN if name in self.chosen and name not in ignored]
        if self.strict and self.max_affected is not None and "max-affected" not in ignored:
            followed.append(f"max-affected={self.max_affected}")
        return {"Preference-Applied": ", ".join(followed)} if followed else {}

    @property
    def strict(self) -> bool:
        """Whether a preference that cannot be followed is an error."""
        return self.chosen.get("handling") == "strict"

    @property
    def counts(self) -> bool:
        """Whether rows are to be counted rather than guessed."""
        return self.chosen.get("count") in {"exact", "estimated"}


def preferences(headers: Headers) -> Preferences:
    """Read `Prefer`; the first word about a matter counts. Raises: RestError with PGRST122."""
    words = [word.strip() for header in headers.getlist("prefer") for word in header.split(",")]
    chosen: dict[str, str] = {}
    max_affected: int | None = None
    unknown: list[str] = []
    for word in words:
        name, _, value = word.partition("=")
        if value in _KNOWN.get(name, ()):
            chosen.setdefault(name, value)
        elif name == "max-affected":
            if max_affected is None and value.isdecimal():
                max_affected = int(value)
        elif name != "timezone":
            unknown.append(word)
    chosen.pop("tx", None)  # PostgREST follows it only where `db-tx-end` allows an override
    found = Preferences(chosen, max_affected)
    if unknown and found.strict:
        details = f"Invalid preferences: {', '.join(unknown)}"
        raise RestError(400, "PGRST122", "Invalid preferences given with handling=strict", details=details)
    return found


def row_range(headers: Headers, query: Query, method: str) -> tuple[int | None, int]:
    """Return limit and offset out of the query and, for GET, the header `Range`. Raises: RestError with PGRST103."""
    limit, offset = query.limit, query.offset
    if limit is not None and limit < 0:
        raise _unsatisfiable("Limit should be greater than or equal to zero.")
    asked = _RANGE.fullmatch(headers.get("range", "")) if method == "GET" else None
    if asked is None or limit == 0:
        return limit, offset
    lower, upper = int(asked[1]), int(asked[2]) if asked[2] else None
    if upper is not None and upper < lower:
        raise _unsatisfiable(
            "The lower boundary must be lower than or equal to the upper boundary in the Range header."
        )
    ends = [end for end in (upper, None if limit is None else offset + limit - 1) if end is not None]
    offset = max(offset, lower)
    if not ends:
        return None, offset
    if min(ends) < offset:
        raise _unsatisfiable("Limit should be greater than or equal to zero.")
    return min(ends) - offset + 1, offset


def _unsatisfiable(details: str) -> RestError:
    return RestError(416, "PGRST103", "Requested range not satisfiable", details=details)


def media_type(headers: Headers) -> tuple[str, Shape]:
    """Choose the first acceptable media type that can be served. Raises: RestError with PGRST107."""
    accepted = _by_quality(headers.get("accept", "*/*"))
    for word in accepted:
        name, *options = (part.strip() for part in word.split(";"))
        if name in _SHAPES:
            content_type, kind = _SHAPES[name]
            strip = "nulls=stripped" in options and "vnd.pgrst" in content_type
            suffix = ";nulls=stripped" if strip else ""
            return f"{content_type}{suffix}; charset=utf-8", Shape(kind, strip)
    raise RestError(406, "PGRST107", f"None of these media types are available: {', '.join(accepted)}")


def _by_quality(accept: str) -> list[str]:
    weighed = []
    for word in accept.split(","):
        found = re.search(r";\s*q=([0-9.]+)", word)
        weighed.append((float(found[1]) if found else 1.0, re.sub(r";\s*q=[0-9.]+", "", word).strip()))
    return [word for _, word in sorted(weighed, key=lambda pair: -pair[0]) if word]
