"""How single looks become a standing verdict."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.check import CheckState, Flip, Observation, Verdict, fold, seen_from, worth_keeping
from tests.domain.cast import NOW, a_check, observation

UP, DOWN, BLIND = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.UNKNOWN


def verdicts(*seen: Verdict, fail_after: int = 1, pass_after: int = 1) -> list[Verdict]:
    check, state, told = a_check(fail_after=fail_after, pass_after=pass_after), CheckState(), []
    for verdict in seen:
        state, _ = fold(check, state, observation(verdict))
        told.append(state.verdict)
    return told


def test_a_first_verdict_needs_no_run_up() -> None:
    assert verdicts(UP, pass_after=3) == [UP]
    assert verdicts(DOWN, fail_after=3) == [DOWN]


def test_a_verdict_falls_at_the_nth_failure_in_a_row_and_not_before() -> None:
    assert verdicts(UP, DOWN, DOWN, UP, DOWN, DOWN, DOWN, fail_after=3) == [UP, UP, UP, UP, UP, UP, DOWN]


def test_a_verdict_rises_at_the_nth_success_in_a_row_and_not_before() -> None:
    assert verdicts(DOWN, UP, DOWN, UP, UP, pass_after=2) == [DOWN, DOWN, DOWN, DOWN, UP]


def test_a_look_that_saw_nothing_shows_at_once() -> None:
    assert verdicts(UP, BLIND, fail_after=9, pass_after=9) == [UP, BLIND]
    assert verdicts(DOWN, BLIND, fail_after=9, pass_after=9) == [DOWN, BLIND]


def test_a_flip_names_what_it_was_what_it_is_and_since_when() -> None:
    check = a_check()
    state, first = fold(check, CheckState(), observation(UP))
    same, none = fold(check, state, replace(observation(UP), taken_at=NOW + timedelta(minutes=1)))
    later = replace(observation(DOWN), taken_at=NOW + timedelta(minutes=2))
    fallen, second = fold(check, same, later)

    assert first == Flip(check="service-key", before=BLIND, after=UP, at=NOW)
    assert (none, same.since, same.streak) == (None, NOW, 2)
    assert second == Flip(check="service-key", before=UP, after=DOWN, at=later.taken_at)
    assert fallen == CheckState(verdict=DOWN, since=later.taken_at, pending=DOWN, streak=1, last=later)


def test_an_unknown_start_that_stays_unknown_is_no_flip_and_has_an_instant() -> None:
    state, flip = fold(a_check(), CheckState(), observation(BLIND))

    assert (state.verdict, state.since, flip) == (BLIND, NOW, None)


@given(st.lists(st.sampled_from(Verdict), min_size=1), st.integers(1, 4), st.integers(1, 4))
def test_nothing_is_told_that_was_not_seen(seen: list[Verdict], fail_after: int, pass_after: int) -> None:
    check, state = a_check(fail_after=fail_after, pass_after=pass_after), CheckState()
    for place, verdict in enumerate(seen):
        before = state
        state, flip = fold(check, state, observation(verdict))

        assert (flip is None) == (state.verdict is before.verdict)
        assert (state.verdict is BLIND) == (verdict is BLIND)
        assert state.verdict in seen[: place + 1]
        assert state.pending is verdict
        assert state.last is not None
        assert state.last.verdict is verdict
        run = next((n for n, old in enumerate(reversed(seen[: place + 1])) if old is not verdict), place + 1)
        assert state.streak == run
        if flip is not None and BLIND not in (flip.before, flip.after):
            assert run >= (fail_after if flip.after is DOWN else pass_after)


@given(
    st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=30),
    st.integers(0, 29),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_what_is_kept_decides_as_what_was_seen(
    seen: list[Verdict], restart_at: int, fail_after: int, pass_after: int
) -> None:
    check = a_check(fail_after=fail_after, pass_after=pass_after)
    whole = kept = CheckState()
    for number, verdict in enumerate(seen):
        if number == restart_at:
            kept = worth_keeping(check, kept)
        looked = observation(verdict)
        whole, told = fold(check, whole, looked)
        kept, told_after_restart = fold(check, kept, looked)
        assert (kept.verdict, kept.since, told_after_restart) == (whole.verdict, whole.since, told)


@pytest.mark.parametrize(("verdict", "reason"), [(UP, "rate_limited"), (DOWN, "ok"), (BLIND, "ok")])
def test_an_observation_is_ok_exactly_when_it_is_healthy(verdict: Verdict, reason: str) -> None:
    with pytest.raises(ValueError, match=f"service-key: verdict {verdict} with reason '{reason}'"):
        Observation(
            check="service-key",
            kind="service_key",
            verdict=verdict,
            reason=reason,
            taken_at=NOW,
            duration_seconds=0.0,
        )


def test_what_was_seen_too_long_ago_is_unknown_whatever_it_was() -> None:
    check = a_check()
    state, _ = fold(check, CheckState(), observation(UP))
    edge = NOW + timedelta(seconds=2 * check.every_seconds)

    assert seen_from(check, state, edge) == state
    stale = seen_from(check, state, edge + timedelta(seconds=1))
    assert (stale.verdict, stale.last) == (BLIND, state.last)
    assert seen_from(check, CheckState(verdict=UP, since=NOW), NOW).verdict is BLIND, "of an earlier process"
