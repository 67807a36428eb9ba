"""The life of a run: only listed edges, one end, and a way to it from everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.run import ACTIVE, TRANSITIONS, Outcome, RowResult, RunStatus, outcome_of

EDGES = {
    ("applying", "verifying"),
    ("applying", "interrupted"),
    ("applying", "finished"),
    ("verifying", "interrupted"),
    ("verifying", "finished"),
    ("interrupted", "applying"),
    ("interrupted", "finished"),
}


def test_the_listed_edges_are_the_only_ones() -> None:
    assert {(str(before), str(after)) for before, ends in TRANSITIONS.items() for after in ends} == EDGES
    assert set(TRANSITIONS) == set(RunStatus)


def test_finished_is_the_only_end_and_reachable_from_everywhere() -> None:
    assert [status for status in RunStatus if not TRANSITIONS[status]] == [RunStatus.FINISHED]
    for status in RunStatus:
        reached = {status}
        while more := {after for before in reached for after in TRANSITIONS[before]} - reached:
            reached |= more
        assert RunStatus.FINISHED in reached


def test_a_run_that_stands_still_is_not_active() -> None:
    assert {RunStatus.APPLYING, RunStatus.VERIFYING} == ACTIVE


@pytest.mark.parametrize(
    ("results", "verified", "outcome"),
    [
        ({RowResult.INSERTED: 3}, True, Outcome.REPAIRED),
        ({RowResult.INSERTED: 2, RowResult.RACED: 1}, True, Outcome.REPAIRED),
        ({RowResult.RACED: 1}, True, Outcome.REPAIRED),
        ({RowResult.INSERTED: 2, RowResult.CONFLICT: 1}, True, Outcome.PARTLY_REPAIRED),
        ({RowResult.INSERTED: 2, RowResult.FAILED: 1}, True, Outcome.PARTLY_REPAIRED),
        ({RowResult.INSERTED: 2, RowResult.QUARANTINED: 1}, True, Outcome.PARTLY_REPAIRED),
        ({RowResult.INSERTED: 2, RowResult.DEFERRED: 1}, True, Outcome.PARTLY_REPAIRED),
        ({RowResult.INSERTED: 2, RowResult.UNDETERMINED: 1}, True, Outcome.PARTLY_REPAIRED),
        ({RowResult.FAILED: 1}, True, Outcome.PARTLY_REPAIRED),
        ({RowResult.INSERTED: 2, RowResult.PLANNED: 1}, True, Outcome.ABANDONED),
        ({RowResult.INSERTED: 3}, False, Outcome.VERIFY_FAILED),
        ({RowResult.INSERTED: 2, RowResult.PLANNED: 1}, False, Outcome.VERIFY_FAILED),
    ],
)
def test_the_outcome_is_named_after_what_became_of_the_rows(
    results: dict[RowResult, int], *, verified: bool, outcome: Outcome
) -> None:
    assert outcome_of(results, verified=verified) is outcome


@given(results=st.dictionaries(st.sampled_from(RowResult), st.integers(0, 5)), verified=st.booleans())
def test_repaired_is_never_said_while_a_row_is_left_or_the_source_disagrees(
    results: dict[RowResult, int], *, verified: bool
) -> None:
    outcome = outcome_of(results, verified=verified)
    left = sum(count for result, count in results.items() if result not in (RowResult.INSERTED, RowResult.RACED))

    assert (outcome is Outcome.REPAIRED) == (verified and left == 0)
    assert (outcome is Outcome.VERIFY_FAILED) == (not verified)
