"""What some looks come to, as an exit code."""

from dataclasses import replace

import pytest

from sidecar.domain.check import Observation, Verdict
from sidecar.verbs.result import Exit, code_of_checks
from tests.domain.cast import observation

GOOD = observation(Verdict.HEALTHY)
BAD = observation(Verdict.UNHEALTHY)
BLIND = observation(Verdict.UNKNOWN)
WAITING = replace(BLIND, reason="dependency_down")
UNSURE = replace(BLIND, reason="dependency_unknown")


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        ([], Exit.CLEAN),
        ([GOOD], Exit.CLEAN),
        ([GOOD, BAD], Exit.VIOLATIONS),
        ([BAD, BLIND], Exit.UNKNOWN),
        ([BAD, WAITING, WAITING], Exit.VIOLATIONS),
        ([GOOD, WAITING], Exit.UNKNOWN),
        ([WAITING], Exit.UNKNOWN),
        ([BAD, UNSURE], Exit.UNKNOWN),
    ],
)
def test_the_worst_that_was_seen_counts_and_what_waits_adds_nothing_to_what_it_waits_for(
    seen: list[Observation], code: Exit
) -> None:
    assert code_of_checks(seen) is code
