"""A look by a check ends in an observation, whatever the probe does."""

from collections.abc import Mapping
from typing import cast

import pytest

from sidecar.domain.check import CheckState, Verdict
from sidecar.domain.event import CheckObserved, FaultCaught
from sidecar.engine.watch import Watch
from sidecar.errors import TargetUnreachable, Unreached
from sidecar.ports import State
from tests.domain.cast import a_check
from tests.fakes import START, FakeClock, FakeProbe, RecordingReporter


def watching(state: State, clock: FakeClock, probe: FakeProbe) -> tuple[Watch, RecordingReporter]:
    reporter = RecordingReporter()
    return Watch({"service_key": probe}, state=state, reporter=reporter, clock=clock), reporter


async def test_a_look_is_told_folded_and_remembered_for_the_next_process(state: State, clock: FakeClock) -> None:
    watch, reporter = watching(state, clock, FakeProbe(Verdict.HEALTHY, Verdict.UNHEALTHY))
    check = a_check(fail_after=2)
    await watch.look(check)
    seen = await watch.look(check)
    standing = watch.standing["service-key"]

    assert (seen.verdict, standing.verdict, standing.streak) == (Verdict.UNHEALTHY, Verdict.HEALTHY, 1)
    told = reporter.told(CheckObserved)
    assert [(event.observation.verdict, event.flip is None) for event in told] == [
        (Verdict.HEALTHY, False),
        (Verdict.UNHEALTHY, True),
    ]
    assert reporter.spans == ["check service-key"] * 2
    later, heard = watching(state, clock, FakeProbe(Verdict.UNHEALTHY))
    await later.remember()
    assert later.standing["service-key"] == CheckState(
        verdict=Verdict.HEALTHY, since=START, pending=Verdict.UNHEALTHY, streak=1
    )
    await later.look(check)
    assert [event.flip.after for event in heard.told(CheckObserved) if event.flip] == [Verdict.UNHEALTHY]


class Counting:
    """A memory that counts what it is given."""

    def __init__(self, inner: State) -> None:
        self.inner = inner
        self.saved: list[CheckState] = []

    async def save_check(self, check: str, state: CheckState) -> None:
        self.saved.append(state)
        await self.inner.save_check(check, state)

    async def check_states(self) -> Mapping[str, CheckState]:
        return await self.inner.check_states()


async def test_looks_that_agree_are_remembered_once_and_every_change_is(state: State, clock: FakeClock) -> None:
    counting = Counting(state)
    verdicts = [Verdict.HEALTHY] * 9 + [Verdict.UNHEALTHY] * 9 + [Verdict.HEALTHY]
    watch, _ = watching(cast("State", counting), clock, FakeProbe(*verdicts))
    check = a_check(fail_after=3, pass_after=2)
    for _ in verdicts:
        await watch.look(check)
    told = [(kept.verdict, kept.pending, kept.streak) for kept in counting.saved]
    assert told == [
        (Verdict.HEALTHY, Verdict.HEALTHY, 1),
        (Verdict.HEALTHY, Verdict.HEALTHY, 2),
        (Verdict.HEALTHY, Verdict.HEALTHY, 3),
        (Verdict.HEALTHY, Verdict.UNHEALTHY, 1),
        (Verdict.HEALTHY, Verdict.UNHEALTHY, 2),
        (Verdict.UNHEALTHY, Verdict.UNHEALTHY, 3),
        (Verdict.UNHEALTHY, Verdict.HEALTHY, 1),
    ]
    later, _ = watching(cast("State", counting), clock, FakeProbe(Verdict.UNHEALTHY))
    await later.remember()
    assert later.standing["service-key"] == counting.saved[-1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("eyJ-a-token in a text"),
        TargetUnreachable(Unreached.TIMED_OUT, "late"),
        ExceptionGroup("g", [KeyError("k")]),
    ],
)
async def test_a_bug_in_a_probe_is_an_unknown_look_and_its_text_goes_nowhere(
    state: State, clock: FakeClock, error: Exception
) -> None:
    watch, reporter = watching(state, clock, FakeProbe(error))
    seen = await watch.look(a_check())

    assert (seen.verdict, seen.reason, seen.detail) == (Verdict.UNKNOWN, "probe_failed", type(error).__name__)
    assert reporter.told(FaultCaught) == [
        FaultCaught(where="check service-key", error_type=type(error).__name__, detail="probe failed")
    ]
    assert "token" not in repr(reporter.events)
    assert watch.standing["service-key"].verdict is Verdict.UNKNOWN


async def test_a_check_of_a_kind_without_probe_is_unknown_and_blinds_no_other(state: State, clock: FakeClock) -> None:
    reporter = RecordingReporter()
    watch = Watch({}, state=state, reporter=reporter, clock=clock)

    assert (await watch.look(a_check())).reason == "probe_failed"


async def test_what_ends_the_process_is_not_taken_for_a_bug_of_the_probe(state: State, clock: FakeClock) -> None:
    class Ending:
        async def __call__(self, _check: object) -> object:
            raise KeyboardInterrupt

    watch = Watch({"service_key": Ending()}, state=state, reporter=RecordingReporter(), clock=clock)  # type: ignore[dict-item]  # never answers
    with pytest.raises(KeyboardInterrupt):
        await watch.look(a_check())
