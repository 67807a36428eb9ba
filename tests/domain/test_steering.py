"""Why a run does not move: the first reason speaks, and each names a way out."""

from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.domain.breaker import Breaker, BreakerStatus
from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.run import Outcome, Run, RunStatus
from sidecar.domain.steering import Freeze, Holder, Why, abort_of, pause_of, standing_of
from tests.domain.cast import NOW, TABLE

RUN = Run(
    id="run-1",
    rule="credits_without_profile",
    plan_id="plan-1",
    status=RunStatus.APPLYING,
    outcome=None,
    actor="olga",
    epoch=7,
    started_at=NOW - timedelta(minutes=5),
    heartbeat_at=NOW - timedelta(seconds=40),
    lease=TABLE,
)
IDLE = replace(RUN, status=RunStatus.INTERRUPTED, detail="lost sight: 503")
MINE = Holder(name="host:1", epoch=7, expires_at=NOW + timedelta(seconds=8))
OTHER = Holder(name="host:2", epoch=8, expires_at=NOW + timedelta(seconds=8))
DEAD = Holder(name="host:1", epoch=7, expires_at=NOW - timedelta(seconds=30))
FREE = Holder(name=None, epoch=7, expires_at=NOW + timedelta(seconds=8))
OPEN = Breaker(status=BreakerStatus.OPEN, reason="3 batches failed in a row", rule=RUN.rule)
NEEDY = replace(OPEN, failed_probes=2)


def stop(scope: str, reason: str = "numbers") -> Freeze:
    return Freeze(scope=scope, actor="anna", reason=reason, at=NOW - timedelta(minutes=3))


STOPS = [stop("*"), stop(RUN.rule), stop(pause_of(RUN.id)), stop(abort_of(RUN.id))]


@pytest.mark.parametrize(
    ("run", "freezes", "breaker", "holder", "rule_known", "why", "detail", "way"),
    [
        (RUN, [], Breaker(), MINE, True, Why.MOVING, "host:1 works on it, last sign 40 s ago", "nothing"),
        (replace(RUN, detail="lag 9 s"), [], Breaker(), MINE, True, Why.HOLDING, "lag 9 s", "when that passes"),
        (RUN, [], Breaker(), DEAD, True, Why.HOLDER_DIED, "process is gone, last sign 40 s", "sidecar backfill"),
        (RUN, [], Breaker(), OTHER, True, Why.LEASE_HELD, "host:2 holds the lease on public.users", "wait"),
        (IDLE, [], Breaker(), OTHER, True, Why.LEASE_HELD, "host:2 holds the lease", "wait"),
        (IDLE, [], Breaker(), FREE, True, Why.WAITING, "lost sight: 503", "sidecar backfill"),
        (IDLE, [], Breaker(), None, True, Why.WAITING, "lost sight: 503", "sidecar backfill"),
        (IDLE, [], Breaker(), FREE, False, Why.RULE_REMOVED, "is not configured", "sidecar abort run-1"),
        (IDLE, [], OPEN, FREE, True, Why.BREAKER_OPEN, "3 batches failed", "by itself"),
        (IDLE, [], NEEDY, FREE, True, Why.BREAKER_OPEN, "3 batches failed", f"sidecar unfreeze {RUN.rule}"),
        (RUN, STOPS, OPEN, MINE, True, Why.ABORTED, "by anna 3 min ago: numbers", "sidecar abort run-1"),
        (RUN, STOPS[:3], OPEN, MINE, True, Why.PAUSED, "by anna 3 min ago: numbers", "sidecar resume run-1"),
        (IDLE, STOPS[:2], OPEN, FREE, False, Why.FROZEN, "by anna", "sidecar unfreeze"),
        (IDLE, STOPS[1:2], OPEN, FREE, False, Why.FROZEN, "by anna", f"sidecar unfreeze {RUN.rule}"),
    ],
)
def test_the_first_reason_speaks(
    run: Run,
    freezes: list[Freeze],
    breaker: Breaker,
    holder: Holder | None,
    *,
    rule_known: bool,
    why: Why,
    detail: str,
    way: str,
) -> None:
    told = standing_of(
        run, freezes=freezes, switch=None, breaker=breaker, holder=holder, rule_known=rule_known, now=NOW
    )

    assert (told.why, detail in told.detail, way in told.next_action) == (why, True, True), told


def test_stops_of_others_hold_nothing_up() -> None:
    others = [stop("another_rule"), stop(pause_of("run-2")), stop(abort_of("run-2"))]
    told = standing_of(RUN, freezes=others, switch=None, breaker=Breaker(), holder=MINE, rule_known=True, now=NOW)

    assert told.why is Why.MOVING


def test_a_freeze_file_is_a_reason_like_any_other() -> None:
    switch = Refuse(guard=GuardName.FROZEN, value="the file /x froze everything", limit="", hint="remove /x")
    told = standing_of(IDLE, freezes=[], switch=switch, breaker=OPEN, holder=FREE, rule_known=True, now=NOW)

    assert (told.why, told.detail, told.next_action) == (Why.FROZEN, "the file /x froze everything", "remove /x")


def test_a_finished_run_says_how_it_ended_whatever_stands() -> None:
    run = replace(RUN, status=RunStatus.FINISHED, outcome=Outcome.REPAIRED)
    told = standing_of(run, freezes=STOPS, switch=None, breaker=OPEN, holder=None, rule_known=False, now=NOW)

    assert (told.why, told.detail) == (Why.FINISHED, "ended: repaired")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (86400 * 2, "2 d"), (-5, "0 s")]
)
def test_ages_are_told_in_a_unit_that_fits(seconds: int, said: str) -> None:
    run = replace(RUN, heartbeat_at=NOW - timedelta(seconds=seconds))
    told = standing_of(run, freezes=[], switch=None, breaker=Breaker(), holder=MINE, rule_known=True, now=NOW)

    assert told.detail == f"host:1 works on it, last sign {said} ago"
