"""A whole engine over the real SQLite memory and fakes of the world, and users to repair."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from sidecar.afterwards import Direct
from sidecar.domain.breaker import Breaker, Tried
from sidecar.domain.check import Verdict
from sidecar.domain.event import CycleFinished
from sidecar.domain.look import Subject
from sidecar.domain.plan import PlanStatus
from sidecar.domain.rule import Mode, Rule
from sidecar.domain.run import RowResult
from sidecar.engine.apply import Applier
from sidecar.engine.bounds import Bounds
from sidecar.engine.breaker import Breakers
from sidecar.engine.cycle import Cycle
from sidecar.engine.ending import Ender
from sidecar.engine.lease import Leases
from sidecar.engine.look import Looker
from sidecar.engine.planning import Planner
from sidecar.engine.repair import Repair
from sidecar.engine.reverify import Reverifier
from sidecar.engine.running import Runner
from sidecar.engine.steering import Steering
from sidecar.engine.throttle import Throttle
from sidecar.engine.undo import Undo
from sidecar.engine.verify import Verifier
from sidecar.engine.watch import Watch
from sidecar.engine.writing import Writer
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
        self.looker = Looker(
            checks={"service-key": a_check()},
            watch=self.watch,
            data=self.data,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
        )
        self.verifier = Verifier(
            data=self.data,
            state=self.state,
            switch=self.switch,
            reporter=self.reporter,
            clock=self.clock,
            direct=self.direct,
        )
        self.breakers = Breakers(state=self.state, reporter=self.reporter, clock=self.clock)
        bounds = Bounds(
            state=self.state, switch=self.switch, breakers=self.breakers, reporter=self.reporter, clock=self.clock
        )
        self.applier = Applier(
            looker=self.looker,
            writer=Writer(data=self.data, state=self.state, switch=self.switch, clock=self.clock),
            verifier=self.verifier,
            breakers=self.breakers,
            throttle=Throttle(
                signals=self.signals,
                state=self.state,
                reporter=self.reporter,
                clock=self.clock,
                stopping=self._asked_to_stop,
            ),
            data=self.data,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            stopping=self._asked_to_stop,
        )
        self.ender = Ender(data=self.data, state=self.state, clock=self.clock)
        self.runner = Runner(
            applier=self.applier,
            verifier=self.verifier,
            ender=self.ender,
            bounds=bounds,
            breakers=self.breakers,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            new_id=new_id,
        )
        self.leases = Leases(state=self.state, reporter=self.reporter, clock=self.clock, holder=self.holder)
        self.steering = Steering(leases=self.leases, ender=self.ender, state=self.state, clock=self.clock)
        self.repair = Repair(
            looker=self.looker,
            planner=Planner(bounds=bounds, state=self.state, reporter=self.reporter, clock=self.clock),
            runner=self.runner,
            leases=self.leases,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            new_id=new_id,
        )

        self.reverifier = Reverifier(
            looker=self.looker,
            verifier=self.verifier,
            breakers=self.breakers,
            leases=self.leases,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
        )
        self.undo = Undo(
            looker=self.looker,
            bounds=bounds,
            switch=self.switch,
            leases=self.leases,
            direct=self.direct,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            new_id=new_id,
        )

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
