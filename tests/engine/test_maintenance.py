"""Windows hold verdicts, and those that freeze keep rules from writing."""

from datetime import datetime, timedelta

from sidecar.domain.check import Verdict
from sidecar.domain.decide import GuardName
from sidecar.domain.event import CheckObserved
from sidecar.domain.maintenance import Calendar, Once, Window
from sidecar.domain.run import Outcome
from sidecar.engine.watch import Watch
from sidecar.freezes import FreezeCalendar, Switches
from sidecar.ports import State
from tests.domain.cast import a_check
from tests.engine.cast import Stage, auto, harm
from tests.fakes import START, FakeClock, FakeData, FakeProbe, FakeSwitch, RecordingReporter


def a_window(*, freeze: bool = False) -> Window:
    return Window(name="move", span=Once(starts_at=START, ends_at=START + timedelta(hours=1)), freeze=freeze)


async def test_looks_go_on_within_a_window_and_what_lasts_is_told_after_it(state: State, clock: FakeClock) -> None:
    reporter, check = RecordingReporter(), a_check()
    watch = Watch(state=state, reporter=reporter, clock=clock)
    watch.follow({"service_key": FakeProbe(Verdict.UNHEALTHY)}, [check], Calendar((a_window(),)))
    for _ in range(3):
        await watch.look(check)
    assert (watch.stands(check.name).verdict, watch.stands(check.name).maintenance) == (Verdict.UNKNOWN, "move")
    clock.advance(3600)
    await watch.look(check)
    assert [event.flip is not None for event in reporter.told(CheckObserved)] == [False, False, False, True]


async def test_a_freezing_window_refuses_a_repair_and_its_end_lets_it_go_on(
    state: State, clock: FakeClock, data: FakeData
) -> None:
    harm(data, "user-1")
    switch = Switches(FakeSwitch(), FreezeCalendar(Calendar((a_window(freeze=True),)), clock))
    stage = Stage(state=state, clock=clock, data=data, switch=switch)
    refused = await stage.repair.tick(auto())
    assert refused.refusal is not None
    assert (refused.outcome, refused.refusal.guard) == (Outcome.REFUSED, GuardName.FROZEN)
    assert "move" in refused.refusal.value
    clock.advance(3601)
    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


class _Broken(FakeClock):
    def now(self) -> datetime:
        raise OverflowError


async def test_windows_that_cannot_be_judged_freeze() -> None:
    thrown = await FreezeCalendar(Calendar((a_window(freeze=True),)), _Broken()).thrown()
    assert thrown is not None
    assert thrown.guard is GuardName.FREEZE_UNREADABLE


async def test_a_window_that_does_not_say_so_freezes_nothing(clock: FakeClock) -> None:
    assert await FreezeCalendar(Calendar((a_window(),)), clock).thrown() is None
