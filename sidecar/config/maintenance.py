"""From the entries under `maintenance` to the windows of the calendar."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo

from sidecar.config.document import Document, Path
from sidecar.config.problems import Problems, suggest
from sidecar.config.schema import Day, WindowSection
from sidecar.domain.maintenance import EVERY_DAY, MINUTES_A_DAY, Once, Recurring, Span, Window

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")


def read_windows(
    sections: Iterable[WindowSection], checks: Iterable[str], document: Document, problems: Problems
) -> tuple[Window, ...]:
    """Return every window that could be read, after noting what is wrong with the others."""
    known, names = set(checks), set[str]()
    windows = []
    for position, section in enumerate(sections):
        path: Path = ("maintenance", position)
        if section.name in names:
            problems.add(document, (*path, "name"), "is the name of another window")
        names.add(section.name)
        for place, name in enumerate(section.checks or ()):
            if name not in known:
                problems.add(document, (*path, "checks", place), "is no check", suggest(name, known))
        span = _read_span(section, document, path, problems)
        if span is not None:
            checks_named = None if section.checks is None else frozenset(section.checks)
            windows.append(Window(name=section.name, span=span, checks=checks_named, freeze=section.freeze))
    return tuple(windows)


def _read_span(section: WindowSection, document: Document, path: Path, problems: Problems) -> Span | None:
    start, end = _TIME.fullmatch(section.starts), _TIME.fullmatch(section.ends)
    if start and end:
        return _recurring(section, _minute(start), _minute(end), document, path, problems)
    if start or end:
        problems.add(document, (*path, "ends"), "must be written like starts", "both as a time, or both with a date")
        return None
    if section.days is not None:
        problems.add(document, (*path, "days"), "does not go together with a date in starts")
        return None
    starts_at = _instant(section.starts, section.zone, document, (*path, "starts"), problems, is_end=False)
    ends_at = _instant(section.ends, section.zone, document, (*path, "ends"), problems, is_end=True)
    if starts_at is None or ends_at is None:
        return None
    if starts_at >= ends_at:
        problems.add(document, (*path, "ends"), "must be later than starts")
        return None
    return Once(starts_at=starts_at, ends_at=ends_at)


def _recurring(
    section: WindowSection, starts: int, ends: int, document: Document, path: Path, problems: Problems
) -> Recurring | None:
    if starts == MINUTES_A_DAY:
        problems.add(document, (*path, "starts"), "must be before 24:00", "the day begins at 00:00")
        return None
    if starts == ends:
        hint = 'a whole day is starts: "00:00", ends: "24:00"'
        problems.add(document, (*path, "ends"), "must not be the time at which it starts", hint)
        return None
    days = EVERY_DAY if section.days is None else frozenset(tuple(Day).index(day) for day in section.days)
    return Recurring(zone=section.zone, days=days, starts_minute=starts, ends_minute=ends)


def _minute(match: re.Match[str]) -> int:
    return int(match[1] or match[3]) * 60 + int(match[2] or match[4])


def _instant(
    text: str, zone: tzinfo, document: Document, path: Path, problems: Problems, *, is_end: bool
) -> datetime | None:
    """Return an instant of a zone's wall clock; of two in autumn the one that makes the window longer."""
    try:
        wall = datetime.fromisoformat(text)
    except ValueError:
        problems.add(document, path, "is no date and time", "write it like 2026-12-24T18:00")
        return None
    at = wall.replace(tzinfo=zone, fold=int(is_end)).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) != wall:
        problems.add(document, path, "does not exist in this zone", "the clock skips this hour on that day")
        return None
    return at
