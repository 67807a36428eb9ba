"""What `depends_on` names must exist, and must not lead back to the check itself."""

from collections.abc import Mapping

from sidecar.config.document import Document
from sidecar.config.problems import Problems, suggest
from sidecar.domain.dependence import find_cycle


def judge_dependence(document: Document, problems: Problems) -> None:
    """Note each parent that is no check, and one cycle where there is any.

    Reads the document, so that a mistake in one check does not make its name unknown to others.
    """
    places = _places(document)
    parents: dict[str, list[str]] = {}
    for name, place in places.items():
        for position, parent in enumerate(document.list_at("checks", place, "depends_on")):
            if not isinstance(parent, str):
                continue  # its type is a problem that was noted already
            at = ("checks", place, "depends_on", position)
            if parent not in places:
                problems.add(document, at, "is no check", suggest(parent, places))
            elif parent == name:
                problems.add(document, at, "is the check itself")
            else:
                parents.setdefault(name, []).append(parent)
    _judge_cycle(document, places, find_cycle(parents), problems)


def _judge_cycle(document: Document, places: Mapping[str, int], cycle: tuple[str, ...], problems: Problems) -> None:
    if cycle:
        shown = " -> ".join(reversed(cycle))
        path = ("checks", min(places[name] for name in cycle), "depends_on")
        problems.add(document, path, "leads back to the check itself", shown)


def _places(document: Document) -> dict[str, int]:
    places: dict[str, int] = {}
    for position in range(len(document.list_at("checks"))):
        name = document.at("checks", position, "name")
        if isinstance(name, str):
            places.setdefault(name, position)
    return places
