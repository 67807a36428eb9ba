"""How far, how fast, how long still, and what the caps leave; what was not measured is not guessed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.domain.pacing import CapsLeft, caps_left, pace_of
from sidecar.domain.run import Outcome, RowResult, RunStatus
from tests.domain.cast import NOW, RULE
from tests.domain.test_steering import RUN

HALF = {RowResult.INSERTED: 30, RowResult.RACED: 10, RowResult.PLANNED: 60}
MOVING = replace(RUN, started_at=NOW - timedelta(seconds=20), heartbeat_at=NOW, results=HALF)


def test_a_run_under_way_is_measured_and_told_how_long_it_still_takes() -> None:
    pace = pace_of(MOVING)

    assert (pace.done, pace.total, pace.rate, pace.left_seconds) == (40, 100, 2.0, 30.0)


def test_a_run_that_nobody_works_on_has_no_end_in_sight() -> None:
    assert pace_of(replace(MOVING, status=RunStatus.INTERRUPTED)).left_seconds is None


def test_a_finished_run_is_measured_by_its_end() -> None:
    ended = replace(
        MOVING, status=RunStatus.FINISHED, outcome=Outcome.REPAIRED, finished_at=NOW + timedelta(seconds=20)
    )

    assert (pace_of(ended).rate, pace_of(ended).left_seconds) == (1.0, None)


@pytest.mark.parametrize("results", [{}, {RowResult.PLANNED: 3}])
def test_nothing_is_guessed_before_anything_was_done(results: dict[RowResult, int]) -> None:
    pace = pace_of(replace(MOVING, results=results))

    assert (pace.rate, pace.left_seconds) == (None, None)


def test_a_run_that_took_no_time_has_no_rate() -> None:
    assert pace_of(replace(MOVING, heartbeat_at=MOVING.started_at)).rate is None


@pytest.mark.parametrize(
    ("rows", "subjects", "today", "left"),
    [
        (4, 1000, 100, CapsLeft(run=496, percent=1, day=4900)),
        (5, 1000, 5000, CapsLeft(run=495, percent=0, day=0)),
        (600, 1000, 9000, CapsLeft(run=0, percent=0, day=0)),
        (0, None, 0, CapsLeft(run=500, percent=None, day=5000)),
    ],
)
def test_what_the_caps_leave_is_never_negative_and_unknown_without_a_denominator(
    rows: int, subjects: int | None, today: int, left: CapsLeft
) -> None:
    assert caps_left(RULE, rows=rows, subjects=subjects, rows_today=today) == left
