"""A look by a check ends in an observation, whatever the probe does."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest

from sidecar.domain.check import Check, CheckState, Observation, Verdict
from sidecar.domain.event import CheckObserved, FaultCaught
from sidecar.engine.watch import Watch
from sidecar.errors import TargetUnreachable, Unreached
from sidecar.ports import State
from tests.domain.cast import a_check, observation
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


class Named:
    """Answers for each check by its name, and keeps the order in which it was asked."""

    def __init__(self, verdicts: dict[str, Verdict]) -> None:
        self.verdicts = verdicts
        self.asked: list[str] = []

    async def __call__(self, check: Check) -> Observation:
        self.asked.append(check.name)
        await asyncio.sleep(0)
        verdict = self.verdicts[check.name]
        return replace(observation(verdict), check=check.name, taken_at=START)


GATEWAY = a_check("gateway", fail_after=2)
CHILD = replace(a_check("models"), depends_on=("gateway",))
UP, DOWN, BLIND = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.UNKNOWN


def family(state: State, clock: FakeClock, **verdicts: Verdict) -> tuple[Watch, Named, RecordingReporter]:
    probe, reporter = Named(verdicts), RecordingReporter()
    watch = Watch(state=state, reporter=reporter, clock=clock)
    watch.follow({"service_key": probe}, [GATEWAY, CHILD])
    return watch, probe, reporter


async def test_a_child_of_a_parent_that_is_down_is_unknown_and_is_not_looked_at(state: State, clock: FakeClock) -> None:
    watch, probe, _ = family(state, clock, gateway=DOWN, models=DOWN)
    seen = await watch.look(CHILD)

    assert (seen.verdict, seen.reason, seen.detail) == (BLIND, "dependency_down", "gateway is unhealthy")
    assert probe.asked == ["gateway"], "of a parent nothing was known, so it was asked first"
    assert watch.stands("models").verdict is BLIND
    probe.verdicts["gateway"] = UP
    await watch.look(GATEWAY)
    assert (await watch.look(CHILD)).verdict is DOWN


async def test_a_parent_that_begins_to_fail_takes_its_childs_failure_upon_itself(
    state: State, clock: FakeClock
) -> None:
    watch, probe, _ = family(state, clock, gateway=UP, models=UP)
    assert (await watch.look(CHILD)).verdict is UP
    probe.verdicts |= {"gateway": DOWN, "models": DOWN}
    await watch.look(GATEWAY)
    seen = await watch.look(CHILD)

    assert watch.stands("gateway").verdict is UP, "one failure is not enough for it"
    assert (seen.verdict, seen.reason, seen.notes) == (BLIND, "dependency_down", ("key_expired",))
    probe.verdicts["models"] = UP
    assert (await watch.look(CHILD)).verdict is UP, "what is seen to be well is told"


async def test_a_stale_parent_leaves_its_child_unknown(state: State, clock: FakeClock) -> None:
    watch, probe, _ = family(state, clock, gateway=UP, models=UP)
    await watch.look(GATEWAY)
    clock.advance(121)
    assert (await watch.look(CHILD)).reason == "dependency_unknown"
    assert probe.asked == ["gateway"]
    assert (await watch.look(CHILD, alone=True)).verdict is UP, "a person asked for this very check"


async def test_a_check_never_looks_twice_at_once(state: State, clock: FakeClock) -> None:
    inside, most = 0, 0

    class Counting:
        async def __call__(self, check: Check) -> Observation:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            return replace(observation(UP), check=check.name)

    watch = Watch({"service_key": Counting()}, state=state, reporter=RecordingReporter(), clock=clock)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(watch.look(a_check()))
    assert most == 1


class Trying:
    """Takes its time for each try, and keeps how long it was given."""

    def __init__(self, clock: FakeClock, *answers: Verdict, takes_seconds: float = 1.0) -> None:
        self.given: list[float] = []
        self.retry_after_seconds: float | None = None
        self._clock, self._answers, self._takes_seconds = clock, list(answers), takes_seconds

    async def __call__(self, check: Check) -> Observation:
        self.given.append(check.timeout_seconds)
        await asyncio.sleep(0)
        self._clock.advance(min(self._takes_seconds, check.timeout_seconds))
        seen = observation(self._answers.pop(0))
        return replace(seen, check=check.name, retry_after_seconds=self.retry_after_seconds)


RETRIED = replace(a_check(), retries=2, retry_wait_seconds=0.5)


async def tried(state: State, clock: FakeClock, probe: Trying, check: Check = RETRIED) -> Observation:
    return await Watch({"service_key": probe}, state=state, reporter=RecordingReporter(), clock=clock).look(check)


async def test_a_look_that_passes_at_the_second_try_is_healthy_and_says_so(state: State, clock: FakeClock) -> None:
    seen = await tried(state, clock, Trying(clock, DOWN, UP))

    assert (seen.verdict, seen.notes, seen.duration_seconds) == (UP, ("passed_on_retry",), 2.5)
    assert (seen.facts["attempts"], seen.facts["failed_attempts"]) == (2, ["key_expired"])


async def test_without_the_key_a_failure_is_not_tried_again(state: State, clock: FakeClock) -> None:
    probe = Trying(clock, DOWN, UP)
    assert (await tried(state, clock, probe, a_check())).verdict is DOWN
    assert len(probe.given) == 1


async def test_all_tries_together_stay_within_the_one_deadline(state: State, clock: FakeClock) -> None:
    probe = Trying(clock, DOWN, DOWN, DOWN, takes_seconds=99)
    seen = await tried(state, clock, probe)

    assert (seen.verdict, len(probe.given)) == (DOWN, 3)
    assert seen.duration_seconds == pytest.approx(RETRIED.timeout_seconds)
    assert probe.given == pytest.approx([3.0, 3.0, 3.0])


async def test_a_target_that_asks_to_be_left_alone_is_not_tried_again(state: State, clock: FakeClock) -> None:
    probe = Trying(clock, DOWN, UP)
    probe.retry_after_seconds = 30.0
    seen = await tried(state, clock, probe)
    assert (seen.verdict, seen.facts["attempts"]) == (DOWN, 1)


class Net:
    def __init__(self, *, up: bool) -> None:
        self.up, self.asked = up, 0

    async def connected(self) -> bool:
        self.asked += 1
        return self.up


async def seen_with(
    state: State, clock: FakeClock, net: Net, verdict: Verdict, check: Check | None = None
) -> Observation:
    watch = Watch(state=state, reporter=RecordingReporter(), clock=clock)
    watch.follow({"service_key": FakeProbe(verdict)}, [a_check()], None, net)
    return await watch.look(check or a_check())


async def test_without_a_network_of_our_own_a_failure_is_not_the_targets(state: State, clock: FakeClock) -> None:
    seen = await seen_with(state, clock, Net(up=False), DOWN)
    assert (seen.verdict, seen.reason, seen.notes) == (BLIND, "no_connectivity", ("because_unhealthy",))


async def test_with_a_network_a_failure_stays_one_and_success_asks_nobody(state: State, clock: FakeClock) -> None:
    up, down = Net(up=True), Net(up=False)
    assert (await seen_with(state, clock, up, DOWN)).verdict is DOWN
    assert (await seen_with(state, clock, down, UP)).verdict is UP
    assert (up.asked, down.asked) == (1, 0)


async def test_a_target_that_answered_or_stands_beside_us_is_judged_as_seen(state: State, clock: FakeClock) -> None:
    down = Net(up=False)
    assert (await seen_with(state, clock, down, DOWN, replace(a_check(), outside=False))).verdict is DOWN
    watch = Watch(state=state, reporter=RecordingReporter(), clock=clock)

    async def answered(check: Check) -> Observation:
        return replace(observation(DOWN), check=check.name, facts={"status": 500})

    watch.follow({"service_key": answered}, [a_check()], None, down)
    assert (await watch.look(a_check())).verdict is DOWN
    assert down.asked == 0


@pytest.mark.parametrize(
    ("reason", "is_shown"),
    [("signature_seen", True), ("balance_differs", True), ("connect_failed", False), ("cleanup_failed", False)],
)
async def test_what_only_an_answer_or_a_file_beside_us_shows_needs_no_network(
    reason: str, *, is_shown: bool, state: State, clock: FakeClock
) -> None:
    async def seeing(check: Check) -> Observation:
        return replace(observation(DOWN), check=check.name, reason=reason)

    watch = Watch(state=state, reporter=RecordingReporter(), clock=clock)
    watch.follow({"service_key": seeing}, [a_check()], None, down := Net(up=False))
    assert ((await watch.look(a_check())).reason == reason) is is_shown
    assert down.asked == (not is_shown)


async def test_a_bug_in_what_surrounds_a_probe_blinds_that_check_alone(state: State, clock: FakeClock) -> None:
    class Broken(Net):
        async def connected(self) -> bool:
            raise RuntimeError("a bug")

    watch = Watch(state=state, reporter=(reporter := RecordingReporter()), clock=clock)
    other = replace(a_check("other"), outside=False)
    watch.follow({"service_key": FakeProbe(DOWN)}, [a_check(), other], None, Broken(up=True))
    assert (await watch.look(a_check())).reason == "probe_failed"
    assert (await watch.look(other)).verdict is DOWN
    assert [fault.where for fault in reporter.told(FaultCaught)] == ["check service-key"]
