"""A run waits while a signal says so, tells why, and makes room after a while."""

from collections import deque
from dataclasses import replace
from decimal import Decimal

import pytest

from sidecar.domain.decide import GuardName
from sidecar.domain.event import RunHeld
from sidecar.domain.pace import Reading, Signal
from sidecar.domain.run import Outcome, RunStatus
from sidecar.engine.throttle import ASK_SECONDS, HOLD_SECONDS_AT_MOST
from tests.engine.cast import ROOMY, Stage, auto, harm, keys_of
from tests.fakes import FakeSignals

LOAD = Signal(name="load", query="sum(rate(x[1m]))", at_most=Decimal("0.5"))
LAG = Signal(name="lag", query="max(lag)", at_most=Decimal(2))
WATCHED = auto(guard=replace(ROOMY, signals=(LOAD, LAG)))
FINE, HIGH, DOWN = (Reading(value=Decimal(0)), Reading(value=Decimal(3)), Reading(value=None, trouble="timed_out"))


@pytest.fixture
def signals(stage: Stage) -> FakeSignals:
    assert isinstance(stage.signals, FakeSignals)
    return stage.signals


async def test_without_signals_nobody_is_asked(stage: Stage, signals: FakeSignals) -> None:
    harm(stage.data, *keys_of(9))
    await stage.repair.tick(auto())
    assert (signals.asked, stage.clock.slept) == ([], [])


async def test_signals_are_asked_before_the_first_batch_and_not_more_often_than_every_ten_seconds(
    stage: Stage, signals: FakeSignals
) -> None:
    harm(stage.data, *keys_of(1 + 4 + 16 + 1))
    steps = [lambda: stage.clock.advance(4.9)] * 4
    stage.data.script["insert"].extend(steps)
    asked_by: list[int] = []
    stage.data.script["facts"].extend([None, *[lambda: asked_by.append(len(signals.asked))] * 6])
    cycle = await stage.repair.tick(WATCHED)

    assert cycle.outcome is Outcome.REPAIRED
    assert asked_by[:4] == [2, 2, 2, 4], "asked at 0 s, again at 14.7 s, where the answer was older than 10 s"


@pytest.mark.parametrize("bad", [HIGH, DOWN])
async def test_a_run_waits_until_the_signal_allows_it_and_says_why_meanwhile(
    stage: Stage, signals: FakeSignals, bad: Reading
) -> None:
    harm(stage.data, "alice")
    signals.readings["load"] = deque([bad, bad, FINE])
    signals.readings["lag"] = deque([HIGH, FINE])
    details: list[str] = []
    look = signals.read

    async def look_at_the_run(signal: Signal) -> Reading:
        details.extend([run.detail for run in await stage.state.runs() if run.status is RunStatus.APPLYING])
        return await look(signal)

    signals.read = look_at_the_run  # type: ignore[method-assign]  # looks on while the run waits
    cycle = await stage.repair.tick(WATCHED)

    assert (cycle.outcome, stage.data.inserted) == (Outcome.REPAIRED, ["alice"])
    assert sum(stage.clock.slept) == 3 * ASK_SECONDS, "two for the load, one for the lag"
    [told] = stage.reporter.told(RunHeld)
    assert (told.run_id, details[0]) == (cycle.run_id, "")
    assert details[1] == f"held: {told.reason}"
    first = "signal load is 3, at most 0.5" if bad is HIGH else "signal load cannot be read: timed_out"
    assert told.reason == first
    run = (await stage.state.runs())[0]
    assert run.detail == ""


async def test_a_hold_that_lasts_too_long_interrupts_the_run_with_the_reason_and_a_later_tick_goes_on(
    stage: Stage, signals: FakeSignals
) -> None:
    harm(stage.data, "alice")
    signals.readings["lag"] = deque([HIGH])
    cycle = await stage.repair.tick(WATCHED)

    assert sum(stage.clock.slept) == HOLD_SECONDS_AT_MOST
    assert cycle.refusal is not None
    assert (cycle.outcome, cycle.refusal.guard) == (Outcome.REFUSED, GuardName.SIGNALS)
    assert cycle.detail == "held: signal lag is 3, at most 2"
    run = (await stage.state.runs())[0]
    assert (run.status, run.detail, stage.data.inserted) == (RunStatus.INTERRUPTED, cycle.detail, [])
    signals.readings.clear()
    assert (await stage.repair.tick(WATCHED)).outcome is Outcome.REPAIRED


async def test_a_drain_ends_a_hold_at_once(stage: Stage, signals: FakeSignals) -> None:
    harm(stage.data, "alice")
    signals.readings["load"] = deque([HIGH])
    stage.is_stopping = lambda: len(stage.clock.slept) >= 3
    cycle = await stage.repair.tick(WATCHED)

    assert (cycle.outcome, stage.clock.slept, stage.data.inserted) == (Outcome.CANCELLED, [1.0] * 3, [])


async def test_a_signal_that_rises_under_way_holds_before_the_next_batch(stage: Stage, signals: FakeSignals) -> None:
    harm(stage.data, *keys_of(5))
    stage.data.script["insert"].append(lambda: stage.clock.advance(ASK_SECONDS))
    signals.readings["load"] = deque([FINE, HIGH])
    cycle = await stage.repair.tick(WATCHED)

    assert (cycle.outcome, len(stage.data.inserted)) == (Outcome.REFUSED, 1)
