"""What bounds a repair now: caps used, freezes, the breaker."""

from datetime import timedelta

from sidecar.domain.decide import Situation
from sidecar.domain.event import FreezeRead
from sidecar.domain.look import ReadProof
from sidecar.domain.rule import Rule
from sidecar.engine.breaker import Breakers
from sidecar.ports import Clock, FreezeSwitch, Reporter, State


class Bounds:
    """Reads what a decision rests on beside the findings."""

    def __init__(
        self, *, state: State, switch: FreezeSwitch, breakers: Breakers, reporter: Reporter, clock: Clock
    ) -> None:
        """`switch` freezes everything from outside of `state`."""
        self._state = state
        self._switch = switch
        self._breakers = breakers
        self._reporter = reporter
        self._clock = clock

    async def read(self, rule: Rule, proof: ReadProof, *, typed: bool, trusted: bool) -> Situation:
        """Read it, and tell. A rule whose table has a breaker that is not closed is never trusted with `auto`."""
        refusal, is_closed = await self._breakers.judge(rule)
        table = str(rule.detect.expects.table)
        situation = Situation(
            catalogue=proof.catalogue,
            subjects=proof.counts.subjects,
            rows_today=await self._state.rows_since(table, self._clock.now() - timedelta(hours=24)),
            frozen=await self._state.frozen(rule.name),
            trusted=trusted and is_closed,
            typed=typed,
            switch=await self._switch.thrown(),
            breaker=refusal,
        )
        self._reporter.emit(FreezeRead(rule=rule.name, frozen=situation.stopped is not None))
        return situation
