"""A whole engine over the real SQLite memory and fakes of the world, and users to repair."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from sidecar.afterwards import Direct
from sidecar.assembly import Assembly
from sidecar.domain.breaker import Breaker, Tried
from sidecar.domain.check import Verdict
from sidecar.domain.event import CycleFinished
from sidecar.domain.look import Subject, Unproven
from sidecar.domain.plan import PlanStatus
from sidecar.domain.rule import Mode, Rule
from sidecar.domain.run import RowResult
from sidecar.domain.survey import Survey, Surveyed
from sidecar.engine.cycle import Cycle
from sidecar.engine.lease import Leases
from sidecar.engine.watch import Watch
from sidecar.ports import FreezeSwitch, Probe, Signals, State, StoredPlan
from tests.domain.cast import CATALOGUE, DETECT, GUARD, a_check, chain, rule_with, subject
from tests.fakes import FakeClock, FakeData, FakeProbe, FakeSignals, FakeSwitch, RecordingReporter

TABLE = "public.users"
BATCH = 100  # rows at most, over REST
RAMP = (1, 4, 16, 64)  # rows of the first batches while nothing is slow; then BATCH
RAMPED = sum(RAMP)
ROOMY = replace(GUARD, max_percent=Decimal(100))
ONE_LOOK = replace(DETECT, confirmations=1)


def auto(**changes: object) -> Rule:
    """The rule as the demo runs it: automatic, one confirming look, caps that do not bind."""
    rule = rule_with(mode=Mode.AUTO, guard=ROOMY, detect=ONE_LOOK)
    return replace(rule, **changes)  # type: ignore[arg-type]  # the test names its own fields


def approve(**changes: object) -> Rule:
    return replace(auto(mode=Mode.APPROVE), **changes)  # type: ignore[arg-type]  # likewise


def keys_of(count: int) -> list[str]:
    return [f"user-{number:04}" for number in range(count)]


def harm(data: FakeData, *keys: str) -> None:
    """Give users 1200 credits, and no profile."""
    for key in keys:
        data.ledger_rows[key] = chain(1000, 200)
        data.subjects[key] = known(key)


def known(key: str) -> Subject:
    return subject(key)


class NoSurveys:
    """No rule of this cast only reports."""

    async def survey(self, survey: Survey) -> Surveyed | Unproven:
        raise AssertionError(survey.name)


@dataclass
class Stage:
    """One process: the engine, and the world that it shares with others on the same `data` and `state`."""

    state: State
    clock: FakeClock
    data: FakeData
    holder: str = "daemon"
    probe: Probe = field(default_factory=FakeProbe)
    switch: FreezeSwitch = field(default_factory=FakeSwitch)
    signals: Signals = field(default_factory=FakeSignals)
    direct: Direct | None = None
    is_stopping: Callable[[], bool] = lambda: False
    reporter: RecordingReporter = field(default_factory=RecordingReporter)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)

        def new_id() -> str:
            return f"{self.holder}-{next(numbers)}"

        self.watch = Watch({"service_key": self.probe}, state=self.state, reporter=self.reporter, clock=self.clock)
        parts = Assembly(
            checks={"service-key": a_check()},
            clock=self.clock,
            state=self.state,
            data=self.data,
            surveys=NoSurveys(),
            direct=self.direct,
            switch=self.switch,
            signals=self.signals,
            watch=self.watch,
            leases=Leases(state=self.state, reporter=self.reporter, clock=self.clock, holder=self.holder),
            reporter=self.reporter,
            stopping=self._asked_to_stop,
            holder=self.holder,
            new_id=new_id,
        )
        self.looker, self.verifier, self.breakers = parts.looker, parts.verifier, parts.breakers
        self.applier, self.runner, self.ender = parts.applier, parts.runner, parts.ender
        self.leases, self.steering = parts.leases, parts.steering
        self.repair, self.reverifier, self.undo = parts.repair, parts.reverifier, parts.undo

    def _asked_to_stop(self) -> bool:
        return self.is_stopping()

    def beside(self, holder: str, **changes: object) -> "Stage":
        """Another process on the same world."""
        return Stage(state=self.state, clock=self.clock, data=self.data, holder=holder, **changes)  # type: ignore[arg-type]  # the test names its own fields

    async def rows(self, cycle: Cycle) -> Mapping[str, tuple[RowResult, str]]:
        assert cycle.run_id is not None
        stored = await self.state.rows(cycle.run_id)
        assert not [row.key for row in stored if row.in_flight]
        return {row.key: (row.settled.result, row.settled.reason) for row in stored}

    async def approve_newest(self, actor: str = "olga") -> StoredPlan:
        plan_id = (await self.newest_plan()).plan.id
        moved = await self.state.move_plan(plan_id, PlanStatus.WAITING, PlanStatus.APPROVED, actor, self.clock.now())
        assert moved
        stored = await self.state.plan(plan_id)
        assert stored is not None
        return stored

    async def apply_newest(self, rule: Rule) -> Cycle:
        """Approve the newest plan as a person, and apply it."""
        return await self.repair.apply(rule, await self.approve_newest(), "olga")

    async def newest_plan(self) -> StoredPlan:
        return (await self.state.plans())[0]

    async def season(self) -> None:
        """Let the table look back on twenty good batches, so that one refused row is no alarm."""
        epoch = await self.state.acquire(TABLE, "history", 10.0, self.clock.now())
        assert epoch is not None
        past = Breaker(window=(Tried(rows=BATCH, failed=0),) * 20)
        await self.state.save_breaker(TABLE, epoch, past, self.clock.now())
        await self.state.release(TABLE, epoch)

    def ended(self) -> list[str]:
        return [str(event.outcome) for event in self.reporter.told(CycleFinished)]


def a_world(clock: FakeClock) -> FakeData:
    return FakeData(clock=clock, catalogue_seen=CATALOGUE)


def blind_probe() -> FakeProbe:
    return FakeProbe(Verdict.UNKNOWN, reason="rate_limited")
