"""What a browser would be told, and what of it is wrong."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.cors import Cors, CorsAnswer, CorsStep, judge_cors
from sidecar.domain.reasons import HttpReason

OURS, THEIRS = "https://app.example.com", "https://evil.example"
CORS = Cors(allowed_origin=OURS, foreign_origin=THEIRS, methods=("GET", "DELETE"))
GOOD = (
    CorsAnswer(step=CorsStep.ALLOWED, status=200, headers={"access-control-allow-origin": OURS}, method="GET"),
    CorsAnswer(
        step=CorsStep.ALLOWED,
        status=204,
        headers={"access-control-allow-origin": OURS, "access-control-allow-methods": "GET, delete"},
        method="DELETE",
    ),
    CorsAnswer(step=CorsStep.FOREIGN, status=400, headers={}, method="GET"),
    CorsAnswer(step=CorsStep.ERROR, status=401, headers={}, method="GET"),
    CorsAnswer(step=CorsStep.NO_ORIGIN, status=401, headers={}, method="GET"),
)


def with_answer(place: int, status: int, headers: Mapping[str, str]) -> list[CorsAnswer]:
    answers = list(GOOD)
    answers[place] = replace(answers[place], status=status, headers=headers)
    return answers


def test_a_server_that_opens_to_its_own_page_alone_is_fine() -> None:
    assert judge_cors(CORS, GOOD) is None


@pytest.mark.parametrize(
    ("place", "status", "opened_to", "reason"),
    [
        (0, 200, "", "cors_refused"),
        (0, 400, OURS, "cors_refused"),
        (0, 200, "*", "cors_refused"),
        (0, 200, THEIRS, "cors_refused"),
        (1, 200, OURS, "cors_refused"),
        (2, 200, THEIRS, "cors_reflects_foreign_origin"),
        (2, 200, "*", "cors_reflects_foreign_origin"),
        (3, 401, THEIRS, "cors_reflects_foreign_origin"),
        (3, 401, "null", "cors_reflects_foreign_origin"),
        (3, 200, "", "cors_error_unseen"),
        (4, 401, "*", "cors_reflects_foreign_origin"),
    ],
)
def test_each_fault_has_its_reason(place: int, status: int, opened_to: str, reason: str) -> None:
    """The second preflight lacks its method here."""
    fault = judge_cors(CORS, with_answer(place, status, {"access-control-allow-origin": opened_to}))
    assert fault is not None
    assert fault.reason == reason
    assert OURS not in fault.detail
    assert THEIRS not in fault.detail


def test_opening_up_is_worse_than_shutting_out() -> None:
    answers = with_answer(0, 500, {})
    answers[3] = replace(answers[3], headers={"access-control-allow-origin": THEIRS})
    fault = judge_cors(CORS, answers)
    assert fault is not None
    assert fault.reason is HttpReason.CORS_REFLECTS_FOREIGN_ORIGIN


@given(
    place=st.integers(0, 4),
    status=st.integers(100, 599),
    opened_to=st.sampled_from(["", OURS, THEIRS, "*", "null", "https://third.example"]),
)
def test_nothing_that_opens_to_a_foreign_page_is_ever_fine(place: int, status: int, opened_to: str) -> None:
    fault = judge_cors(CORS, with_answer(place, status, {"access-control-allow-origin": opened_to}))
    if place >= 2 and opened_to in (THEIRS, "*", "null"):
        assert fault is not None
        assert fault.reason is HttpReason.CORS_REFLECTS_FOREIGN_ORIGIN
    if place == 0 and (opened_to != OURS or not 200 <= status < 300):
        assert fault is not None
