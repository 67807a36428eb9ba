"""Among replicas one has a rule's turn; a silent run gives a turn out of turn, once."""

from pathlib import Path

from sidecar.engine.reaper import Reaper
from sidecar.state.open import open_state
from tests.fakes import FakeClock
from tests.state.cast import RULE, started, take


async def test_one_replica_has_the_turn_and_a_silent_run_gives_another(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_state(f"sqlite:///{tmp_path}/state.db") as state:
        one, other = (Reaper(state=state, clock=clock, holder=name) for name in ("one", "other"))
        assert await one.takes(RULE, 300)
        assert not await other.takes(RULE, 300)

        await started(state, await take(state, at=clock.now(), ttl_seconds=10))
        assert await other.find_silent() == []
        clock.advance(11)
        assert await other.find_silent() == [RULE]
        assert await other.takes(RULE, 300)
        assert not await other.takes(RULE, 300)
