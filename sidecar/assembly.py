"""How the parts of the engine are joined. Each part is built once, when it is first asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sidecar.config.settings import Config
from sidecar.domain.check import Check
from sidecar.engine.apply import Applier
from sidecar.engine.bounds import Bounds
from sidecar.engine.breaker import Breakers
from sidecar.engine.ending import Ender
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
from sidecar.freeze_file import FreezeFile
from sidecar.paths import Path
from sidecar.ports import Clock, Reporter, Signals, State


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """The engine over adapters that are open. `holder` is this process's own name; `new_id` makes ids."""

    config: Config
    clock: Clock
    state: State
    path: Path
    signals: Signals
    watch: Watch
    reporter: Reporter
    stopping: Callable[[], bool]
    holder: str
    new_id: Callable[[], str]
    lease_seconds: float

    @cached_property
    def _checks(self) -> dict[str, Check]:
        return {check.name: check for check in self.config.checks}

    @cached_property
    def _switch(self) -> FreezeFile:
        return FreezeFile(self.config.freeze_file)

    @cached_property
    def leases(self) -> Leases:
        """Leases of this process."""
        return Leases(
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            holder=self.holder,
            ttl_seconds=self.lease_seconds,
        )

    @cached_property
    def looker(self) -> Looker:
        """What looks at rules."""
        return Looker(
            checks=self._checks,
            watch=self.watch,
            data=self.path.data,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
        )

    @cached_property
    def _verifier(self) -> Verifier:
        return Verifier(
            data=self.path.data,
            state=self.state,
            switch=self._switch,
            reporter=self.reporter,
            clock=self.clock,
            direct=self.path.direct,
        )

    @cached_property
    def _breakers(self) -> Breakers:
        return Breakers(state=self.state, reporter=self.reporter, clock=self.clock)

    @cached_property
    def _bounds(self) -> Bounds:
        return Bounds(
            state=self.state,
            switch=self._switch,
            breakers=self._breakers,
            reporter=self.reporter,
            clock=self.clock,
        )

    @cached_property
    def _ender(self) -> Ender:
        return Ender(data=self.path.data, state=self.state, clock=self.clock)

    @cached_property
    def _applier(self) -> Applier:
        return Applier(
            looker=self.looker,
            writer=Writer(data=self.path.data, state=self.state, switch=self._switch, clock=self.clock),
            verifier=self._verifier,
            breakers=self._breakers,
            throttle=Throttle(
                signals=self.signals,
                state=self.state,
                reporter=self.reporter,
                clock=self.clock,
                stopping=self.stopping,
            ),
            data=self.path.data,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            stopping=self.stopping,
        )

    @cached_property
    def _runner(self) -> Runner:
        return Runner(
            applier=self._applier,
            verifier=self._verifier,
            ender=self._ender,
            bounds=self._bounds,
            breakers=self._breakers,
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
            runner=self._runner,
            leases=self.leases,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def steering(self) -> Steering:
        """What pauses, resumes and aborts runs."""
        return Steering(leases=self.leases, ender=self._ender, state=self.state, clock=self.clock)

    @cached_property
    def surveyor(self) -> Surveyor:
        """What looks at rules that only report."""
        return Surveyor(
            checks=self._checks,
            watch=self.watch,
            surveys=self.path.surveys,
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
            verifier=self._verifier,
            breakers=self._breakers,
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
            switch=self._switch,
            leases=self.leases,
            direct=self.path.direct,
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
            new_id=self.new_id,
        )
