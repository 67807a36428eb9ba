"""A run that nobody works on any more is finished by the next holder, or ended with every row accounted for."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from sidecar.batches import Batch
from sidecar.domain.decide import GuardName
from sidecar.domain.event import RunStarted
from sidecar.domain.pace import FIRST_ROWS
from sidecar.domain.plan import PlanStatus
from sidecar.domain.rule import Constant, Mode
from sidecar.domain.run import Outcome, RowResult, Run, RunStatus, Settled
from sidecar.engine.lease import RENEWALS_PER_TTL, TTL_SECONDS
from sidecar.errors import LeaseLost, PlanInvalid, TargetUnreachable, Unreached
from sidecar.ports import State
from sidecar.state.open import open_state
from sidecar.state.rows import OpenBatch
from tests.domain.cast import REPAIR, RULE
from tests.engine.cast import ROOMY, TABLE, Stage, a_world, approve, auto, harm, keys_of
from tests.fakes import After, FakeClock

CUT = TargetUnreachable(Unreached.CUT_OFF, "half an answer")
INSERTED = (RowResult.INSERTED, "")


CANARY = "canary"


class Killed(BaseException):
    """Stands for kill -9: nothing of the process runs after it."""


async def killed_after_the_insert(stage: Stage, count: int = 3) -> list[str]:
    """Let a process die between announcing its second batch and settling it, with the rows written; return their keys.

    The first batch is one row, the canary; it is settled and verified by then.
    """
    keys = keys_of(count)
    harm(stage.data, CANARY, *keys)
    stage.data.script["insert"].extend([None, After(error=Killed())])
    with pytest.raises(Killed):
        await stage.repair.tick(auto())
    return keys


async def only_run(stage: Stage) -> Run:
    (run,) = await stage.state.runs()
    return run


async def test_rows_written_by_a_process_that_died_before_settling_them_are_counted_once(stage: Stage) -> None:
    keys = await killed_after_the_insert(stage)
    dead = await only_run(stage)
    assert [row.in_flight for row in await stage.state.rows(dead.id)] == [False, True, True, True]
    second = stage.beside("second")
    stage.data.calls.clear()
    cycle = await second.repair.tick(auto())

    assert (cycle.outcome, cycle.run_id) == (Outcome.REPAIRED, dead.id)
    assert [name for name, _ in stage.data.calls] == ["sight", "read_rows", "read_rows", "ledger"]
    assert await second.rows(cycle) == dict.fromkeys([CANARY, *keys], INSERTED)
    assert stage.data.inserted == [CANARY, *keys]
    assert cycle.verified is not None
    assert cycle.verified.rows == 4
    assert [e.resumed for e in second.reporter.told(RunStarted)] == [True]
    assert (await second.repair.tick(auto())).outcome is Outcome.NOTHING_TO_DO


async def test_rows_in_flight_that_never_landed_are_written_by_the_next_holder(stage: Stage) -> None:
    keys = keys_of(3)
    harm(stage.data, *keys)
    stage.data.script["insert"].append(Killed())
    with pytest.raises(Killed):
        await stage.repair.tick(auto())
    cycle = await stage.beside("second").repair.tick(auto())

    assert (cycle.outcome, stage.data.inserted) == (Outcome.REPAIRED, keys)


async def test_a_row_in_flight_that_somebody_else_wrote_is_told_from_ours_by_the_mark(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    stage.data.rows["user-0001"]["metadata"] = {"plan": "of another run"}
    cycle = await stage.beside("second").repair.tick(auto())

    assert await stage.rows(cycle) == {
        CANARY: INSERTED,
        "user-0000": INSERTED,
        "user-0001": (RowResult.RACED, "row_exists"),
        "user-0002": INSERTED,
    }


async def test_a_row_in_flight_whose_rule_writes_no_mark_is_undetermined_and_counts_against_the_day(
    stage: Stage,
) -> None:
    unmarked = {**REPAIR.values, "metadata": Constant(value={"restored_by": "sidecar"})}
    rule = auto(repair=replace(REPAIR, values=unmarked))
    harm(stage.data, "alice")
    stage.data.script["insert"].append(After(error=Killed()))
    with pytest.raises(Killed):
        await stage.repair.tick(rule)
    cycle = await stage.beside("second").repair.tick(rule)

    assert await stage.rows(cycle) == {"alice": (RowResult.UNDETERMINED, "rows_carry_no_mark")}
    assert await stage.state.rows_since(TABLE, stage.clock.now()) == 1


@pytest.mark.parametrize(
    ("what", "guard"),
    [
        ("expired", GuardName.PLAN_EXPIRED),
        ("rule", GuardName.PLAN_STALE),
        ("schema", GuardName.PLAN_STALE),
    ],
)
async def test_a_run_whose_plan_no_longer_holds_is_abandoned_with_its_rows_accounted_for(
    stage: Stage, what: str, guard: GuardName
) -> None:
    keys = keys_of(FIRST_ROWS + 2)
    harm(stage.data, *keys)
    stage.data.script["insert"].append(After(error=Killed()))
    with pytest.raises(Killed):
        await stage.repair.tick(auto())
    rule = auto()
    if what == "expired":
        stage.clock.advance(24 * 3600)
    elif what == "rule":
        rule = auto(digest="rule-digest-2")
    else:
        stage.data.catalogue_seen = replace(stage.data.catalogue_seen, fingerprint="schema-2")
    cycle = await stage.beside("second").repair.tick(rule)

    assert cycle.outcome is Outcome.ABANDONED
    assert cycle.detail.startswith(f"{guard}: ")
    assert cycle.results == {RowResult.INSERTED: FIRST_ROWS, RowResult.PLANNED: 2}
    run = await only_run(stage)
    assert (run.status, run.outcome, run.detail) == (RunStatus.FINISHED, Outcome.ABANDONED, cycle.detail)
    assert await stage.rows(cycle) == {
        **dict.fromkeys(keys[:FIRST_ROWS], INSERTED),
        **dict.fromkeys(keys[FIRST_ROWS:], (RowResult.PLANNED, "")),
    }
    assert len(stage.data.made("insert")) == 1


async def test_a_stale_run_whose_rows_cannot_be_read_back_is_left_for_the_next_look(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    stage.clock.advance(24 * 3600)
    stage.data.script["read_rows"].append(CUT)
    blind = await stage.beside("second").repair.tick(auto())

    run = await only_run(stage)
    assert (blind.outcome, blind.run_id, run.status) == (Outcome.UNKNOWN, run.id, RunStatus.INTERRUPTED)
    assert [row.in_flight for row in await stage.state.rows(run.id)] == [False, True, True, True]
    cycle = await stage.beside("third").repair.tick(auto())
    assert (cycle.outcome, cycle.results) == (Outcome.ABANDONED, {RowResult.INSERTED: 4})


async def test_refused_rows_of_an_abandoned_run_are_held_too(stage: Stage) -> None:
    harm(stage.data, *keys_of(FIRST_ROWS + 1))
    stage.data.poison["user-0000"] = "23505"
    stage.is_stopping = lambda: bool(stage.data.inserted)
    await stage.repair.tick(auto())
    stage.clock.advance(24 * 3600)
    stage.is_stopping = lambda: False
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.ABANDONED
    held = await stage.state.held(RULE.name, stage.clock.now())
    assert [(row.key, row.reason) for row in held if row.source == "run"] == [("user-0000", "conflict:23505")]


async def test_a_frozen_rule_resumes_nothing(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    await stage.state.freeze(RULE.name, "olga", "audit", stage.clock.now())
    cycle = await stage.beside("second").repair.tick(auto())

    assert cycle.refusal is not None
    assert cycle.refusal.guard is GuardName.FROZEN
    assert cycle.run_id == (await only_run(stage)).id
    assert stage.data.made("read_rows") == [(CANARY,)], "by the process that died"


async def test_a_rule_that_only_observes_by_now_accounts_for_the_run_and_writes_no_more(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    written = len(stage.data.inserted)
    cycle = await stage.beside("second").repair.tick(auto(mode=Mode.OBSERVE))

    assert (cycle.outcome, cycle.detail) == (Outcome.ABANDONED, "mode: observe")
    assert len(stage.data.inserted) == written
    assert not [row for row in await stage.state.rows(cycle.run_id or "") if row.in_flight]


async def test_an_automatic_run_does_not_go_on_once_a_person_must_approve(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    written = len(stage.data.inserted)
    cycle = await stage.beside("second").repair.tick(auto(mode=Mode.APPROVE))

    assert cycle.outcome is Outcome.ABANDONED
    assert cycle.detail.startswith("plan_not_approved")
    assert len(stage.data.inserted) == written


async def test_a_blind_look_resumes_nothing(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    stage.data.script["sight"].append(CUT)
    cycle = await stage.beside("second").repair.tick(auto())

    assert (cycle.outcome, cycle.run_id) == (Outcome.UNKNOWN, None)


async def test_what_others_wrote_meanwhile_counts_against_what_is_left_of_a_run(stage: Stage) -> None:
    keys = keys_of(FIRST_ROWS + 5)
    rule = auto(guard=replace(ROOMY, max_rows_per_day=FIRST_ROWS + 7))
    harm(stage.data, *keys)
    stage.is_stopping = lambda: len(stage.data.inserted) >= FIRST_ROWS
    first = await stage.repair.tick(rule)
    stage.is_stopping = lambda: False
    harm(stage.data, "other-1", "other-2", "other-3")
    other = replace(rule, name="another_rule_of_this_table", digest="rule-digest-9")
    stage.data.young = keys
    assert (await stage.repair.tick(other)).results == {RowResult.INSERTED: 3}
    stage.data.young = []
    refused = await stage.repair.tick(rule)

    assert refused.refusal is not None
    assert (refused.refusal.guard, refused.run_id) == (GuardName.MAX_ROWS_PER_DAY, first.run_id)
    assert refused.refusal.value == "5 rows on top of 4 in 24 hours"
    stage.clock.advance(24 * 3600 - 1)
    assert (await stage.repair.tick(rule)).outcome is Outcome.REFUSED
    assert len(stage.data.inserted) == FIRST_ROWS + 3


async def test_rows_in_flight_are_not_counted_twice_when_their_run_is_resumed(stage: Stage) -> None:
    rule = auto(guard=replace(ROOMY, max_rows_per_day=3))
    harm(stage.data, *keys_of(3))
    stage.data.script["insert"].append(After(error=Killed()))
    with pytest.raises(Killed):
        await stage.repair.tick(rule)

    assert (await stage.beside("second").repair.tick(rule)).outcome is Outcome.REPAIRED


async def test_the_older_of_two_interrupted_runs_is_taken_up_first(stage: Stage) -> None:
    harm(stage.data, "alice", "bob")
    rehearsed = (await stage.repair.rehearse(auto())).plan
    assert rehearsed is not None
    epoch = await stage.state.acquire(TABLE, "dead", TTL_SECONDS, stage.clock.now())
    assert epoch is not None
    for row in rehearsed.rows:
        stage.clock.advance(1)
        now = stage.clock.now()
        plan = replace(rehearsed, id=f"plan of {row.key}", rows=(row,))
        run = Run(
            id=f"run of {row.key}",
            rule=RULE.name,
            plan_id=plan.id,
            status=RunStatus.APPLYING,
            outcome=None,
            actor="olga",
            epoch=epoch,
            started_at=now,
            heartbeat_at=now,
        )
        await stage.state.save_plan(plan, PlanStatus.APPROVED, "olga")
        assert await stage.state.start_run(run, plan, TABLE, [row.key])
    taken = [(await stage.repair.tick(auto())).run_id for _ in range(2)]

    assert taken == ["run of alice", "run of bob"]


async def test_a_person_who_applies_a_plan_first_gets_the_interrupted_run_finished(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(approve())
    stage.data.script["insert"].append(After(error=Killed()))
    stored = await stage.approve_newest()
    with pytest.raises(Killed):
        await stage.repair.apply(approve(), stored, "olga")
    again = await stage.beside("second").repair.apply(approve(), stored, "olga")

    assert (again.outcome, stage.data.inserted) == (Outcome.REPAIRED, ["alice"])


async def test_a_cancelled_run_leaves_word_at_once(stage: Stage) -> None:
    harm(stage.data, *keys_of(3))
    waiting = asyncio.Event()

    async def wait_forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    stage.data.script["insert"].append(wait_forever)
    task = asyncio.create_task(stage.repair.tick(auto()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    run = await only_run(stage)
    assert (run.status, run.detail) == (RunStatus.INTERRUPTED, "cancelled")
    assert (await stage.repair.tick(auto())).results == {RowResult.INSERTED: 3}


async def test_a_holder_that_lost_its_lease_does_not_touch_the_run_that_another_took_up(stage: Stage) -> None:
    """A zombie, cancelled because its lease is gone, once marked the new holder's run as interrupted."""
    keys = keys_of(3)
    harm(stage.data, *keys)
    zombie_waits, new_holder_works = asyncio.Event(), asyncio.Event()

    async def stall() -> None:
        zombie_waits.set()
        await asyncio.Event().wait()

    async def let_the_zombie_wake() -> None:
        await stage.clock.let_renew(TTL_SECONDS / RENEWALS_PER_TTL)
        with contextlib.suppress(LeaseLost):
            await zombie
        new_holder_works.set()

    stage.data.script["insert"].extend([stall, let_the_zombie_wake])
    zombie = asyncio.create_task(stage.repair.tick(auto()))
    await zombie_waits.wait()
    await stage.state.release(TABLE, 1)  # as if its time had run out while the process stood still
    cycle = await stage.beside("second").repair.tick(auto())

    assert new_holder_works.is_set()
    assert isinstance(zombie.exception(), LeaseLost)
    assert (cycle.outcome, cycle.results) == (Outcome.REPAIRED, {RowResult.INSERTED: 3})
    assert stage.data.inserted == keys


async def test_a_run_that_somebody_moved_meanwhile_is_not_carried_on(stage: Stage) -> None:
    harm(stage.data, "alice")

    async def abort() -> None:
        run = await only_run(stage)
        assert await stage.state.move_run(
            run.id, RunStatus.APPLYING, RunStatus.FINISHED, stage.clock.now(), outcome=Outcome.CANCELLED
        )

    stage.data.script["insert"].append(abort)
    with pytest.raises(LeaseLost, match="is not applying any more"):
        await stage.repair.tick(auto())

    assert (await only_run(stage)).outcome is Outcome.CANCELLED
    assert await stage.state.trusted(RULE.name) is not None
    assert stage.data.made("ledger") == []


@pytest.mark.parametrize("found", [None, PlanInvalid("edited in memory")], ids=["gone", "edited"])
async def test_a_run_without_its_plan_is_abandoned_with_every_row_accounted_for(
    stage: Stage, found: PlanInvalid | None
) -> None:
    keys = await killed_after_the_insert(stage)
    forgetful = stage.beside("second")

    class NoPlans(Mortal):
        async def plan(self, _plan_id: str) -> None:
            if found is not None:
                raise found

    forgetful.runner._state = cast("State", NoPlans(stage.state, deadline=10**9))
    cycle = await forgetful.repair.tick(auto())

    assert (cycle.outcome, cycle.detail) == (Outcome.ABANDONED, "its plan is gone")
    assert await forgetful.rows(cycle) == dict.fromkeys([CANARY, *keys], INSERTED)
    assert (await only_run(stage)).status is RunStatus.FINISHED


async def test_a_run_that_another_took_up_in_the_same_moment_is_left_to_it(stage: Stage) -> None:
    await killed_after_the_insert(stage)
    late = stage.beside("second")

    class Slow(Mortal):
        async def adopt_run(self, *_: object) -> bool:
            return False

    late.runner._state = cast("State", Slow(stage.state, deadline=10**9))

    assert (await late.repair.tick(auto())).run_id is None


@dataclass
class Mortal:
    """The real memory in a process that dies at a half-step: just before (odd) or just after (even) one of its uses."""

    state: State
    deadline: int
    uses: int = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the memory has
        method: Callable[..., Awaitable[object]] = getattr(self.state, name)

        async def use(*args: object, **kwargs: object) -> object:
            self.uses += 1
            if 2 * self.uses - 1 >= self.deadline:
                raise Killed
            found = await method(*args, **kwargs)
            if 2 * self.uses >= self.deadline:
                raise Killed
            return found

        return use

    @contextlib.asynccontextmanager
    async def batch(
        self, run_id: str, lease: str, epoch: int, keys: Sequence[str], now: datetime
    ) -> AsyncIterator[Batch]:
        """As the real one: two uses of the memory."""

        async def settle(results: Mapping[str, Settled], at: datetime) -> None:
            await self.settle(run_id, lease, epoch, results, at)

        frozen = await self.intend(run_id, lease, epoch, keys, now)
        yield OpenBatch(frozen=frozen, transaction=None, apart=settle)


STRIDE = 5
SOAK = [pytest.param(place, marks=pytest.mark.soak) for place in (3, 4, 5)]


@pytest.mark.parametrize("first", [1, 2, *SOAK])
async def test_a_process_killed_at_any_use_of_its_memory_is_finished_by_the_next_with_no_row_lost_or_doubled(
    tmp_path: Path, first: int
) -> None:
    """Killed before or after each use in turn, until a process lives long enough to finish."""
    keys = keys_of(7)
    place, has_finished = first, False
    while not has_finished:
        clock = FakeClock()
        data = a_world(clock)
        harm(data, *keys)
        async with open_state(f"sqlite:///{tmp_path / f'{place}.db'}") as state:
            mortal = Stage(state=cast("State", Mortal(state, deadline=place)), clock=clock, data=data, holder="mortal")
            has_finished = True
            try:
                await mortal.repair.tick(auto())
            except Killed:
                has_finished = False
            heir = Stage(state=state, clock=clock, data=data, holder="heir")
            ends = [await heir.repair.tick(auto()) for _ in range(3)]
            runs = await state.runs()
            rows = [row for run in runs for row in await state.rows(run.id)]

        assert ends[-1].outcome is Outcome.NOTHING_TO_DO, place
        assert Counter(data.inserted) == Counter(keys), place
        assert {(run.status, run.outcome) for run in runs} == {(RunStatus.FINISHED, Outcome.REPAIRED)}, place
        assert Counter((row.settled.result, row.in_flight) for row in rows) == {
            (RowResult.INSERTED, False): len(keys)
        }, place
        place += STRIDE
    assert place > 40
