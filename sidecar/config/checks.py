"""From the entries under `checks` to the domain's checks. What a kind's own keys mean, its model knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Protocol, runtime_checkable

import pydantic

from sidecar.config.dependence import judge_dependence
from sidecar.config.document import Document, Path, Plain
from sidecar.config.problems import Problems, suggest
from sidecar.config.schema import CheckSection
from sidecar.config.validate import report, validate_kind
from sidecar.config.variables import Expanded
from sidecar.domain.check import Check

COMMON = frozenset(CheckSection.model_fields)


@runtime_checkable
class HasSpec(Protocol):
    """What a kind's model must be able to do beside validating."""

    def to_spec(self) -> object:
        """Return the kind's frozen parameters, or `LeftOut`."""
        ...


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The parameters of a check that is not made: it may be left out, and what it needs is empty."""

    why: str


def read_checks(
    expanded: Expanded,
    kinds: Mapping[str, type[pydantic.BaseModel]],
    backend_url: str | None,
    folder: FilePath,
    problems: Problems,
) -> tuple[Check, ...]:
    """Return every check that could be read, after noting what is wrong with the others.

    Files that checks name begin in `folder`.
    """
    document = expanded.document
    first: dict[str, int] = {}
    checks = []
    for position in range(len(document.list_at("checks"))):
        check = _read_check(expanded, ("checks", position), kinds, backend_url, folder, problems)
        name = document.at("checks", position, "name")
        if isinstance(name, str) and name in first:
            line = document.place(("checks", first[name], "name")).line
            problems.add(document, ("checks", position, "name"), "is the name of another check", f"see line {line}")
        elif isinstance(name, str):
            first[name] = position
        if check is not None:
            checks.append(check)
    judge_dependence(document, problems)
    return tuple(checks)


def kinds_of(document: Document) -> Mapping[str, str]:
    """Return the kind of each check by its name, as far as they can be read."""
    pairs = [
        (document.at("checks", position, "name"), document.at("checks", position, "kind"))
        for position in range(len(document.list_at("checks")))
    ]
    return {name: kind for name, kind in pairs if isinstance(name, str) and isinstance(kind, str)}


def _read_check(
    expanded: Expanded,
    path: Path,
    kinds: Mapping[str, type[pydantic.BaseModel]],
    backend_url: str | None,
    folder: FilePath,
    problems: Problems,
) -> Check | None:
    document = expanded.document
    entry = document.at(*path)
    if not isinstance(entry, dict):
        problems.add(document, path, "must be a mapping of keys to values")
        return None
    common = _read_common(document, path, entry, problems)
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        if isinstance(kind, str) and kind:
            problems.add(document, (*path, "kind"), "is no kind of check", suggest(kind, kinds))
        return None
    lacks = _lacks_database(document, path, entry, kinds[kind], problems)
    own = {key: value for key, value in entry.items() if key not in COMMON}
    _resolve_url(document, path, own, backend_url, problems)
    hidden = expanded.under(path)
    found = validate_kind(kinds[kind], document, path, own, problems, inherited=COMMON, hidden=hidden, folder=folder)
    if found is None or common is None:
        return None
    if not isinstance(found, HasSpec):
        message = f"the model of kind {kind} has no to_spec()"
        raise TypeError(message)
    return Check(
        name=common.name,
        kind=kind,
        every_seconds=common.every,
        timeout_seconds=common.timeout,
        severity=common.severity,
        fail_after=common.fail_after,
        pass_after=common.pass_after,
        spec=lacks or found.to_spec(),
        retries=common.retries.times,
        retry_wait_seconds=common.retries.wait,
        recheck_every_seconds=common.recheck_every,
        depends_on=common.depends_on,
        outside=common.outside,
    )


def _lacks_database(
    document: Document, path: Path, entry: Mapping[str, Plain], model: type[pydantic.BaseModel], problems: Problems
) -> LeftOut | None:
    """Leave a check out that needs database.url where that is not set, and note it where that was not allowed."""
    if not getattr(model, "needs_database", False) or document.at("database", "url"):
        return None
    if entry.get("only_with_database") is not True and not problems.is_blamed(document, ("database", "url")):
        message = f"is {entry.get('kind')}, which needs database.url, and that is not set"
        problems.add(document, (*path, "kind"), message, "set it, or give the check only_with_database: true")
    return LeftOut("left out; it needs database.url, and that is not set")


def _read_common(document: Document, path: Path, entry: Mapping[str, Plain], problems: Problems) -> CheckSection | None:
    try:
        common = CheckSection.model_validate({key: value for key, value in entry.items() if key in COMMON})
    except pydantic.ValidationError as error:
        report(error, CheckSection, document, path, problems)
        return None
    if common.timeout >= common.every:
        hint = f"{common.timeout:g} s is not shorter than {common.every:g} s"
        problems.add(document, (*path, "timeout"), "must be shorter than every", hint)
        return None
    if common.recheck_every is not None and common.timeout >= common.recheck_every:
        hint = f"{common.recheck_every:g} s is not longer than {common.timeout:g} s"
        problems.add(document, (*path, "recheck_every"), "must be longer than timeout", hint)
        return None
    waits_seconds = common.retries.times * common.retries.wait
    if waits_seconds >= common.timeout:
        hint = f"waiting alone takes {waits_seconds:g} s of {common.timeout:g} s"
        problems.add(document, (*path, "retries"), "do not fit into timeout", hint)
        return None
    return common


def _resolve_url(
    document: Document, path: Path, own: dict[str, Plain], backend_url: str | None, problems: Problems
) -> None:
    """Turn a `url` that is a path into one of the backend."""
    url = own.get("url")
    if backend_url is not None:
        if isinstance(url, str) and url.startswith("/"):
            own["url"] = backend_url + url
        return  # paths further down are the backend's at each look
    for at in _urls(own):
        text = document.at(*path, *at)
        if isinstance(text, str) and text.startswith("/") and not problems.is_blamed(document, ("backend", "url")):
            problems.add(
                document, (*path, *at), "is a path, and backend.url is not set", "set it, or write a whole URL"
            )


def _urls(own: Mapping[str, Plain]) -> list[Path]:
    """Return where a check may name URLs."""
    requests = own.get("requests")
    listed: list[Path] = [
        ("requests", place, "url") for place in range(len(requests) if isinstance(requests, list) else 0)
    ]
    return [("url",), ("cors", "error_url"), ("auth_required", "openapi"), *listed]
