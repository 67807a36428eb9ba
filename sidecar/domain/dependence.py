"""Whether a check can be judged while the checks that it depends on stand as they do."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError, TopologicalSorter

from sidecar.domain.check import Check, CheckState, Observation, Verdict, is_stale
from sidecar.domain.reasons import CommonReason

BARRED = frozenset({CommonReason.DEPENDENCY_DOWN, CommonReason.DEPENDENCY_UNKNOWN})


@dataclass(frozen=True, slots=True)
class Barred:
    """A parent keeps a check from being judged; `detail` names it."""

    reason: CommonReason
    detail: str


def bar(parents: Iterable[tuple[Check, CheckState]], now: datetime) -> Barred | None:
    """Return what keeps a child from looking, None while every parent is known to stand healthy.

    A parent that is down is the better explanation, so it is named before one of which nothing is known.
    """
    unknown: Barred | None = None
    for parent, state in parents:
        if is_stale(parent, state, now):
            unknown = unknown or Barred(CommonReason.DEPENDENCY_UNKNOWN, f"{parent.name} was not looked at lately")
        elif state.verdict is Verdict.UNHEALTHY:
            return Barred(CommonReason.DEPENDENCY_DOWN, f"{parent.name} is unhealthy")
        elif state.verdict is Verdict.UNKNOWN:
            unknown = unknown or Barred(CommonReason.DEPENDENCY_UNKNOWN, f"{parent.name} is unknown")
    return unknown


def excuse(parents: Iterable[tuple[Check, CheckState]]) -> Barred | None:
    """Return the parent that explains a child's failure although it still stands healthy: its last look was not.

    Without this, a child with the interval of its parent would fall in the same moment as the parent.
    """
    for parent, state in parents:
        if state.last is not None and state.last.verdict is not Verdict.HEALTHY:
            return Barred(CommonReason.DEPENDENCY_DOWN, f"the last look of {parent.name} was {state.last.verdict}")
    return None


def is_barred(seen: Observation | None) -> bool:
    """Say whether a look was not made because of a parent."""
    return seen is not None and seen.reason in BARRED


def find_cycle(parents: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names of one cycle, the first again at the end, each a parent of the next; empty for none."""
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as error:
        return tuple(error.args[1])
    return ()


def parents_first(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Return the checks so that parents come before their children; those that are equally deep keep their order."""
    by_name = {check.name: check for check in checks}
    sorter = TopologicalSorter({check.name: [n for n in check.depends_on if n in by_name] for check in checks})
    sorter.prepare()
    places = {name: place for place, name in enumerate(by_name)}
    ordered: list[Check] = []
    while sorter.is_active():
        names = sorted(sorter.get_ready(), key=places.__getitem__)
        ordered += [by_name[name] for name in names]
        sorter.done(*names)
    return tuple(ordered)
