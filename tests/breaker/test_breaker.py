"""The breaker as a value: every edge, every trigger, and nothing beside them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.breaker import (
    COOL_DOWN,
    EDGES,
    Breaker,
    BreakerStatus,
    Tried,
    admit,
    after_batch,
    after_verification,
    judge_breaker,
)
from sidecar.domain.decide import GuardName

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
GOOD = Tried(rows=100, failed=0)
CLOSED, OPEN, HALF_OPEN = BreakerStatus.CLOSED, BreakerStatus.OPEN, BreakerStatus.HALF_OPEN
PROBING = Breaker(status=HALF_OPEN, opened_at=NOW, reason="3 batches in a row failed", rule="r")


def fed(*batches: Tried) -> Breaker:
    breaker = Breaker()
    for batch in batches:
        breaker = after_batch(breaker, batch, "r", NOW)
    return breaker


def verified(breaker: Breaker, *, rows: int = 1, holds: bool = True, drifted: bool = False) -> Breaker:
    return after_verification(breaker, rows=rows, holds=holds, drifted=drifted, rule="r", now=NOW)


def test_three_failed_batches_in_a_row_open_it_and_two_do_not() -> None:
    slightly = Tried(rows=1000, failed=1)
    assert fed(GOOD, slightly, slightly).status is CLOSED
    opened = fed(GOOD, slightly, slightly, slightly)

    assert (opened.status, opened.reason, opened.opened_at) == (OPEN, "3 batches in a row failed", NOW)


def test_a_good_batch_in_between_begins_the_count_anew() -> None:
    slightly = Tried(rows=1000, failed=1)
    assert fed(slightly, slightly, GOOD, slightly, slightly).status is CLOSED


def test_a_batch_that_nobody_could_carry_out_counts_as_failed() -> None:
    lost = Tried(rows=0, failed=0, carried_out=False)
    assert fed(lost, lost).status is CLOSED
    assert fed(lost, lost, lost).status is OPEN


@pytest.mark.parametrize(
    ("batches", "status"),
    [
        ([Tried(rows=1, failed=1)], OPEN),
        ([Tried(rows=20, failed=1)], CLOSED),
        ([Tried(rows=19, failed=1)], OPEN),
        ([GOOD, Tried(rows=100, failed=10)], CLOSED),
        ([GOOD, Tried(rows=100, failed=11)], OPEN),
        ([*[GOOD] * 19, Tried(rows=100, failed=100)], CLOSED),
        ([*[GOOD] * 18, Tried(rows=100, failed=100), Tried(rows=100, failed=1)], OPEN),
    ],
)
def test_more_than_five_percent_of_the_last_twenty_batches_open_it_however_few_there_were(
    batches: list[Tried], status: BreakerStatus
) -> None:
    assert fed(*batches).status is status


def test_batches_older_than_the_last_twenty_speak_no_more() -> None:
    assert fed(Tried(rows=10_000, failed=0), *[Tried(rows=1, failed=0)] * 18, Tried(rows=2, failed=2)).status is CLOSED
    assert fed(Tried(rows=10_000, failed=0), *[Tried(rows=1, failed=0)] * 19, Tried(rows=2, failed=2)).status is OPEN


def test_a_batch_whose_rows_others_wrote_first_speaks_neither_for_nor_against() -> None:
    slightly = Tried(rows=1000, failed=1)
    raced = Tried(rows=0, failed=0)
    assert fed(GOOD, slightly, raced, slightly, raced, slightly).status is OPEN
    assert after_batch(PROBING, raced, "r", NOW) == PROBING


@pytest.mark.parametrize(
    ("holds", "drifted", "reason"), [(False, False, "a verification failed"), (True, True, "credits drifted")]
)
def test_one_failed_verification_and_any_drift_open_it(holds: bool, drifted: bool, reason: str) -> None:  # noqa: FBT001  # given by name
    opened = verified(Breaker(), rows=100, holds=holds, drifted=drifted)
    assert (opened.status, opened.reason) == (OPEN, reason)


def test_it_cools_down_for_ten_minutes_and_is_then_half_open() -> None:
    opened = verified(Breaker(), holds=False)
    early = admit(opened, NOW + COOL_DOWN - timedelta(microseconds=1), frozen=False)
    assert (early, timedelta(minutes=10)) == (opened, COOL_DOWN)
    assert admit(opened, NOW + COOL_DOWN, frozen=False).status is HALF_OPEN


def test_half_open_it_closes_on_one_verified_row_and_forgets_the_past() -> None:
    landed = after_batch(PROBING, Tried(rows=1, failed=0), "r", NOW)
    assert landed.status is HALF_OPEN, "a row that landed is not verified yet"
    assert verified(landed) == Breaker()
    assert verified(PROBING, rows=0).status is HALF_OPEN, "nothing was verified"


@pytest.mark.parametrize("how", ["refused", "lost", "not verified"])
def test_half_open_it_opens_again_on_one_failure(how: str) -> None:
    ways = {
        "refused": after_batch(PROBING, Tried(rows=1, failed=1), "r", NOW),
        "lost": after_batch(PROBING, Tried(rows=0, failed=0, carried_out=False), "r", NOW),
        "not verified": verified(PROBING, holds=False),
    }
    assert (ways[how].status, ways[how].failed_probes, ways[how].needs_person) == (OPEN, 1, False)


def test_two_half_open_failures_in_a_row_need_a_person_however_long_it_cools() -> None:
    once = after_batch(PROBING, Tried(rows=1, failed=1), "r", NOW)
    again = admit(once, NOW + COOL_DOWN, frozen=True)
    assert again.status is HALF_OPEN, "one failure needs nobody, whoever froze what"
    twice = after_batch(again, Tried(rows=1, failed=1), "r", NOW)

    assert twice.needs_person
    assert admit(twice, NOW + timedelta(days=365), frozen=True).status is OPEN
    assert admit(twice, NOW, frozen=False).status is HALF_OPEN, "a person has lifted the freeze"
    refusal = judge_breaker(twice)
    assert refusal is not None
    assert "sidecar unfreeze r" in refusal.hint


def test_only_an_open_one_refuses_and_it_says_why_and_until_when() -> None:
    assert judge_breaker(Breaker()) is None
    assert judge_breaker(PROBING) is None
    refusal = judge_breaker(verified(Breaker(), holds=False))

    assert refusal is not None
    assert (refusal.guard, refusal.value) == (GuardName.BREAKER_OPEN, "the breaker opened: a verification failed")
    assert "2026-11-20 12:10:00 UTC" in refusal.hint


tried = st.builds(
    lambda rows, failed, carried_out: Tried(rows=rows, failed=min(rows, failed), carried_out=carried_out),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.booleans(),
)
steps = st.lists(
    st.one_of(
        tried.map(lambda batch: lambda breaker, now: after_batch(breaker, batch, "r", now)),
        st.tuples(st.integers(0, 3), st.booleans(), st.booleans()).map(
            lambda seen: (
                lambda breaker, now: after_verification(
                    breaker, rows=seen[0], holds=seen[1], drifted=seen[2], rule="r", now=now
                )
            )
        ),
        st.booleans().map(lambda frozen: lambda breaker, now: admit(breaker, now, frozen=frozen)),
    ),
    max_size=60,
)


@given(steps, st.integers(0, 20))
def test_whatever_happens_it_moves_along_its_listed_edges_alone(steps: list, minutes: int) -> None:  # type: ignore[type-arg]  # steps are functions
    breaker, now = Breaker(), NOW
    for step in steps:
        before, now = breaker, now + timedelta(minutes=minutes)
        breaker = step(before, now)
        assert breaker.status is before.status or breaker.status in EDGES[before.status]
        assert len(breaker.window) <= 20
        assert before.status is not OPEN or breaker.status in (OPEN, HALF_OPEN)
