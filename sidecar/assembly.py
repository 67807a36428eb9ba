"""How the parts of the engine are joined. Each part is built once, when it is first asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from sidecar.afterwards import Direct
from sidecar.domain.check import Check
from sidecar.engine.apply import Applier
from sidecar.engine.bounds import Bounds
from sidecar.engine.breaker import Breakers
from sidecar.engine.ending import Ender
from sidecar.engine.freshness import Freshness
from sidecar.engine.lease import Leases
from sidecar.engine.look import Looker
from sidecar.engine.planning import Planner
from sidecar.engine.repair import Repair
from sidecar.engine.reverify import Reverifier
from sidecar.engine.running import Runner
from sidecar.engine.steering import Steering
from sidecar.engine.survey import Surveyor
from sidecar.engine.throttle import Throttle
from sidecar.engine.undo import Undo
from sidecar.engine.verify import Verifier
from sidecar.engine.watch import Watch
from sidecar.engine.writing import Writer
from sidecar.ports import Clock, Data, FreezeSwitch, Reporter, Signals, State, Surveys


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """The engine over what it needs of the world. `holder` is this process's own name; `new_id` makes ids.

    `checks` are by name; `direct` is None over REST.
    """

    checks: Mapping[str, Check]
    clock: Clock
    state: State
    data: Data
    surveys: Surveys
    direct: Direct | None
    switch: FreezeSwitch
    signals: Signals
    watch: Watch
    leases: Leases
    reporter: Reporter
    stopping: Callable[[], bool]
    holder: str
    new_id: Callable[[], str]

    @cached_property
    def looker(self) -> Looker:
        """What looks at rules."""
        return Looker(
            checks=self.checks,
            watch=self.watch,
            data=self.data,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
        )

    @cached_property
    def verifier(self) -> Verifier:
        """What reads the source again."""
        return Verifier(
            data=self.data,
            state=self.state,
            switch=self.switch,
            reporter=self.reporter,
            clock=self.clock,
            direct=self.direct,
        )

    @cached_property
    def breakers(self) -> Breakers:
        """The breakers of target tables."""
        return Breakers(state=self.state, reporter=self.reporter, clock=self.clock)

    @cached_property
    def _bounds(self) -> Bounds:
        return Bounds(
            state=self.state,
            switch=self.switch,
            breakers=self.breakers,
            reporter=self.reporter,
            clock=self.clock,
        )

    @cached_property
    def ender(self) -> Ender:
        """What ends a run that is not carried on."""
        return Ender(data=self.data, state=self.state, clock=self.clock)

    @cached_property
    def applier(self) -> Applier:
        """What writes the rows of runs."""
        return Applier(
            freshness=Freshness(looker=self.looker, data=self.data, state=self.state),
            writer=Writer(data=self.data, state=self.state, switch=self.switch, clock=self.clock),
            verifier=self.verifier,
            breakers=self.breakers,
            throttle=Throttle(
                signals=self.signals,
                state=self.state,
                reporter=self.reporter,
                clock=self.clock,
                stopping=self.stopping,
            ),
            data=self.data,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            stopping=self.stopping,
        )

    @cached_property
    def runner(self) -> Runner:
        """What carries runs to their outcome."""
        return Runner(
            applier=self.applier,
            verifier=self.verifier,
            ender=self.ender,
            bounds=self._bounds,
            breakers=self.breakers,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def repair(self) -> Repair:
        """What runs the cycles of repairing rules."""
        return Repair(
            looker=self.looker,
            planner=Planner(bounds=self._bounds, state=self.state, reporter=self.reporter, clock=self.clock),
            runner=self.runner,
            leases=self.leases,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def steering(self) -> Steering:
        """What pauses, resumes and aborts runs."""
        return Steering(leases=self.leases, ender=self.ender, state=self.state, clock=self.clock)

    @cached_property
    def surveyor(self) -> Surveyor:
        """What looks at rules that only report."""
        return Surveyor(
            checks=self.checks,
            watch=self.watch,
            surveys=self.surveys,
            leases=self.leases,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
        )

    @cached_property
    def reverifier(self) -> Reverifier:
        """What verifies finished runs again."""
        return Reverifier(
            looker=self.looker,
            verifier=self.verifier,
            breakers=self.breakers,
            leases=self.leases,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
        )

    @cached_property
    def undo(self) -> Undo:
        """What takes runs back."""
        return Undo(
            looker=self.looker,
            bounds=self._bounds,
            switch=self.switch,
            leases=self.leases,
            direct=self.direct,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            new_id=self.new_id,
        )
