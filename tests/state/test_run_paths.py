"""Whatever two processes try, in whatever order: a run walks along the edges of the table, and no row lands twice."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.domain.run import TRANSITIONS, Outcome, RowResult, RunStatus, Settled
from sidecar.errors import LeaseLost
from sidecar.ports import State
from sidecar.state.open import open_state
from tests.state.audit_reading import first_broken, trail
from tests.state.cast import KEYS, TABLE, later, started

INSERTED = Settled(result=RowResult.INSERTED)
HOLDERS = st.integers(min_value=0, max_value=1)
VERBS = ["take", "interrupt", "adopt", "intend", "settle", *(f"move:{a}:{b}" for a in RunStatus for b in RunStatus)]
STEPS = st.lists(st.tuples(HOLDERS, st.sampled_from(VERBS), st.sampled_from(KEYS)), max_size=30)


class TwoHolders:
    """Two processes that each believe in the epoch they took last."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._epochs = {0: 1, 1: 0}
        self._clock = 0
        self.announced: list[str] = []

    async def step(self, who: int, verb: str, key: str) -> None:
        self._clock += 20  # longer than a lease lasts: whoever asks gets it
        now, epoch = later(self._clock), self._epochs[who]
        word, *statuses = verb.split(":")
        try:
            match word:
                case "take":
                    self._epochs[who] = await self._state.acquire(TABLE, f"holder-{who}", 10, now) or epoch
                case "interrupt":
                    await self._state.interrupt_silent(TABLE, epoch, now)
                case "adopt":
                    await self._state.adopt_run("run-1", TABLE, epoch, now)
                case "intend":
                    await self._state.intend("run-1", TABLE, epoch, [key], now)
                    self.announced.append(key)
                case "settle":
                    await self._state.settle("run-1", TABLE, epoch, {key: INSERTED}, now)
                case _:
                    before, after = (RunStatus(status) for status in statuses)
                    outcome = Outcome.FAILED if after is RunStatus.FINISHED else None
                    await self._state.move_run("run-1", before, after, now, outcome=outcome)
        except LeaseLost:
            assert epoch < max(self._epochs.values()) or word == "intend"
        except ValueError as error:
            assert "cannot go" in str(error) or "not planned" in str(error)  # noqa: PT017  # both are allowed


async def walk(path: Path, steps: list[tuple[int, str, str]]) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        assert await state.acquire(TABLE, "holder-0", 10, later(0)) == 1
        await started(state, 1)
        holders = TwoHolders(state)
        for who, verb, key in steps:
            before, landed = await standing(state)
            await holders.step(who, verb, key)
            after, landed_now = await standing(state)
            assert after is before or after in TRANSITIONS[before]
            assert landed <= landed_now  # what landed stays landed
        assert first_broken(trail(path)) is None


async def standing(state: State) -> tuple[RunStatus, set[str]]:
    run = await state.run("run-1")
    assert run is not None
    assert (run.outcome is not None) == (run.status is RunStatus.FINISHED) == (run.finished_at is not None)
    return run.status, {row.key for row in await state.rows("run-1") if row.settled == INSERTED}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_runs_only_walk_along_allowed_edges(steps: list[tuple[int, str, str]]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(walk(Path(folder) / "sidecar.db", steps))
