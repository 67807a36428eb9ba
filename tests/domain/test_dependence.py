"""What parents say about their children."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.check import CheckState, Verdict, is_stale, pace_seconds
from sidecar.domain.dependence import bar, excuse, find_cycle, is_barred, parents_first
from sidecar.domain.reasons import CommonReason
from tests.domain.cast import NOW, a_check, observation

UP, DOWN, BLIND = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.UNKNOWN
GATEWAY = a_check("gateway")


def standing(verdict: Verdict, last: Verdict | None = None) -> CheckState:
    seen = observation(last or verdict)
    return CheckState(verdict=verdict, since=NOW, pending=last or verdict, streak=1, last=seen)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (standing(UP), None),
        (standing(UP, DOWN), None),
        (standing(DOWN), CommonReason.DEPENDENCY_DOWN),
        (standing(DOWN, UP), CommonReason.DEPENDENCY_DOWN),
        (standing(BLIND), CommonReason.DEPENDENCY_UNKNOWN),
        (CheckState(), CommonReason.DEPENDENCY_UNKNOWN),
        (CheckState(verdict=UP, since=NOW, pending=UP, streak=9), CommonReason.DEPENDENCY_UNKNOWN),
    ],
)
def test_a_child_is_barred_unless_its_parent_is_known_to_stand_healthy(
    state: CheckState, reason: CommonReason | None
) -> None:
    barred = bar([(GATEWAY, state)], NOW)
    assert (barred.reason if barred else None) == reason


def test_a_parent_whose_last_look_is_older_than_two_intervals_says_nothing_any_more() -> None:
    edge = NOW + timedelta(seconds=2 * GATEWAY.every_seconds)
    assert bar([(GATEWAY, standing(UP))], edge) is None
    late = bar([(GATEWAY, standing(UP))], edge + timedelta(seconds=1))
    assert late is not None
    assert (late.reason, late.detail) == (CommonReason.DEPENDENCY_UNKNOWN, "gateway was not looked at lately")
    assert is_stale(GATEWAY, standing(DOWN), edge + timedelta(seconds=1))


def test_a_parent_that_is_down_is_named_before_one_of_which_nothing_is_known() -> None:
    barred = bar([(a_check("dns"), CheckState()), (GATEWAY, standing(DOWN))], NOW)
    assert barred is not None
    assert barred.detail == "gateway is unhealthy"


def test_a_parent_that_begins_to_fail_excuses_its_child_before_it_falls() -> None:
    assert excuse([(GATEWAY, standing(UP))]) is None
    begun = excuse([(GATEWAY, standing(UP, DOWN))])
    assert begun is not None
    assert begun.reason is CommonReason.DEPENDENCY_DOWN


def test_only_looks_that_a_parent_kept_from_being_made_are_barred() -> None:
    assert not is_barred(None)
    assert not is_barred(observation(BLIND))
    assert is_barred(replace(observation(BLIND), reason="dependency_down"))


@pytest.mark.parametrize(
    ("parents", "cycle"),
    [
        ({}, 0),
        ({"a": ["b"], "c": ["b", "a"]}, 0),
        ({"a": ["a"]}, 2),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, 4),
        ({f"n{n}": [f"n{n + 1}"] for n in range(5000)}, 0),
    ],
)
def test_a_cycle_is_found_and_a_long_chain_is_none(parents: Mapping[str, list[str]], cycle: int) -> None:
    found = find_cycle(parents)
    assert len(found) == cycle
    if found:
        assert found[0] == found[-1]


@given(st.permutations(range(6)), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_parents_are_looked_at_first(order: list[int], edges: set[tuple[int, int]]) -> None:
    checks = [
        replace(a_check(f"n{n}"), depends_on=tuple(f"n{up}" for low, up in sorted(edges) if low == n and up < n))
        for n in order
    ]
    ordered = parents_first(checks)
    assert sorted(check.name for check in ordered) == sorted(check.name for check in checks)
    seen: set[str] = set()
    for check in ordered:
        assert set(check.depends_on) <= seen
        seen.add(check.name)


def test_a_check_is_looked_at_faster_only_while_it_does_not_stand_healthy() -> None:
    check = replace(GATEWAY, recheck_every_seconds=15.0)
    paces = [
        pace_seconds(check, state) for state in (standing(UP), standing(UP, DOWN), standing(DOWN), standing(BLIND))
    ]
    assert paces == [60.0, 15.0, 15.0, 15.0]
    assert pace_seconds(check, standing(DOWN, UP)) == 15.0
    assert pace_seconds(GATEWAY, standing(DOWN)) == 60.0
    assert pace_seconds(replace(GATEWAY, recheck_every_seconds=300.0), standing(DOWN)) == 60.0
