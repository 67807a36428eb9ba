"""A run is verified again when its time has come, whatever process is there by then."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.domain.breaker import BreakerStatus
from sidecar.domain.event import VerificationMade, VerifyFailed
from sidecar.domain.look import ProofFailure, Unproven
from sidecar.domain.run import Outcome, RunStatus
from sidecar.domain.verification import Verification, VerifyResult
from sidecar.engine.trust import LOST
from sidecar.ports import State
from sidecar.state.open import open_state
from tests.domain.cast import ledger_row
from tests.engine.cast import TABLE, Stage, a_world, auto, harm, keys_of
from tests.fakes import FakeClock


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    async with open_state(f"sqlite:///{tmp_path / 'sidecar.db'}") as memory:
        yield memory


@pytest.fixture
def stage(state: State) -> Stage:
    clock = FakeClock()
    return Stage(state=state, clock=clock, data=a_world(clock))


async def repaired(stage: Stage, count: int = 2) -> str:
    """Repair some users and return the run's id."""
    harm(stage.data, *keys_of(count))
    cycle = await stage.repair.tick(auto())
    assert cycle.outcome is Outcome.REPAIRED, cycle
    return cycle.run_id or ""


async def told(stage: Stage, run_id: str) -> list[tuple[int, str]]:
    return [(made.number, str(made.result)) for made in await stage.state.verifications(run_id)]


async def test_the_end_of_a_run_makes_its_further_verifications_due(stage: Stage) -> None:
    run_id = await repaired(stage)
    made = await stage.state.verifications(run_id)
    run = await stage.state.run(run_id)

    assert run is not None
    assert run.finished_at is not None
    assert [(one.number, one.result, one.rows) for one in made] == [
        (0, VerifyResult.HELD, 2),
        (1, VerifyResult.DUE, 0),
        (2, VerifyResult.DUE, 0),
    ]
    assert [one.due_at - run.finished_at for one in made[1:]] == [timedelta(minutes=1), timedelta(minutes=10)]


async def test_nothing_is_verified_before_its_time_and_each_only_once(stage: Stage) -> None:
    run_id = await repaired(stage)
    looks = len(stage.data.made("sight"))
    assert await stage.reverifier.due(auto()) == []
    assert len(stage.data.made("sight")) == looks  # not even a look
    stage.clock.advance(61)
    first = await stage.reverifier.due(auto())
    assert await stage.reverifier.due(auto()) == []
    stage.clock.advance(600)
    second = await stage.reverifier.due(auto())

    assert [(one.number, one.result, one.rows) for one in (*first, *second)] == [
        (1, VerifyResult.HELD, 2),
        (2, VerifyResult.HELD, 2),
    ]
    assert await told(stage, run_id) == [(0, "held"), (1, "held"), (2, "held")]


async def test_what_is_due_survives_a_restart(tmp_path: Path) -> None:
    clock, url = FakeClock(), f"sqlite:///{tmp_path / 'restart.db'}"
    data = a_world(clock)
    async with open_state(url) as state:
        run_id = await repaired(Stage(state=state, clock=clock, data=data))
    clock.advance(700)
    async with open_state(url) as state:
        again = Stage(state=state, clock=clock, data=data, holder="after")
        assert [one.number for one in await again.reverifier.due(auto())] == [1, 2]
        assert await told(again, run_id) == [(0, "held"), (1, "held"), (2, "held")]


async def test_a_row_that_is_gone_later_is_an_alarm_that_takes_auto_away(stage: Stage) -> None:
    run_id = await repaired(stage)
    stage.data.rows.pop("user-0000")
    stage.clock.advance(61)
    [made] = await stage.reverifier.due(auto())

    assert (made.result, made.broken, made.drift) == (VerifyResult.FAILED, {"row_missing": 1}, -1200)
    assert [e.invariant for e in stage.reporter.told(VerifyFailed)] == ["row_missing"]
    assert [(e.holds, e.drift) for e in stage.reporter.told(VerificationMade)] == [(False, -1200.0)]
    assert await stage.state.trusted(auto().name) == LOST
    assert (await stage.state.breaker(TABLE)).status is BreakerStatus.OPEN
    run = await stage.state.run(run_id)
    assert run is not None
    assert (run.status, run.outcome) == (RunStatus.FINISHED, Outcome.REPAIRED)  # history stays what it was


async def test_a_user_who_spent_since_is_no_alarm(stage: Stage) -> None:
    await repaired(stage)
    stage.clock.advance(30)
    stage.data.spend("user-0000", 300)
    stage.clock.advance(31)
    [made] = await stage.reverifier.due(auto())

    assert (made.result, made.drift) == (VerifyResult.HELD, 0)
    assert await stage.state.trusted(auto().name) not in (None, LOST)


async def test_credits_that_moved_without_a_word_in_the_ledger_are_an_alarm(stage: Stage) -> None:
    await repaired(stage)
    stage.data.rows["user-0001"]["credits_balance"] = 5000
    stage.clock.advance(61)
    [made] = await stage.reverifier.due(auto())

    assert (made.result, made.broken, made.drift) == (VerifyResult.FAILED, {"value_differs": 1}, 3800)


async def repaired_from_a_snapshot(stage: Stage) -> None:
    """Let a look see 700 credits, lose the row, and restore it from what was seen."""
    harm(stage.data, "alice")
    stage.data.ledger_rows["alice"] = (ledger_row(0, 700, 700),)
    stage.data.rows["alice"] = {"id": "alice", "email": "alice@example.org", "credits_balance": 700}
    stage.data.snapshots = [("alice", 700)]
    await stage.looker.sight(auto(), looks=1)
    stage.data.snapshots = []
    stage.data.rows.pop("alice")
    stage.clock.advance(3600)
    cycle = await stage.repair.tick(auto())
    assert cycle.plan is not None
    assert cycle.plan.rows[0].origins["credits_balance"] == "balance:snapshot"
    stage.data.snapshots = [("alice", 700)]  # from now on looks see the row that Sidecar itself wrote


async def test_a_balance_planned_from_a_snapshot_is_followed_from_it_later(stage: Stage) -> None:
    await repaired_from_a_snapshot(stage)
    stage.clock.advance(61)
    await stage.looker.sight(auto(), looks=1)
    [made] = await stage.reverifier.due(auto())

    assert made.result is VerifyResult.HELD


async def test_what_sidecar_saw_of_its_own_row_is_no_evidence_for_it(stage: Stage) -> None:
    """The ledger moves, the row does not, and an hour later a look notes the row's balance: none vouches for itself."""
    await repaired_from_a_snapshot(stage)
    at = stage.clock.now()
    moved = replace(ledger_row(0, -200, 500), created_at=at, order=(at, "moved"))
    stage.data.ledger_rows["alice"] = (*stage.data.ledger_rows["alice"], moved)
    stage.clock.advance(3600)
    await stage.looker.sight(auto(), looks=1)
    made = await stage.reverifier.due(auto())

    assert [(one.broken, one.drift) for one in made] == [({"ledger_changed": 1}, 200)] * 2


async def test_a_look_that_proves_nothing_leaves_it_due(stage: Stage) -> None:
    run_id = await repaired(stage)
    stage.clock.advance(61)
    stage.data.unproven.append(Unproven(failure=ProofFailure.COUNT_MISMATCH, detail="moved"))

    assert await stage.reverifier.due(auto()) == []
    assert await told(stage, run_id) == [(0, "held"), (1, "due"), (2, "due")]
    assert len(await stage.reverifier.due(auto())) == 1


async def test_another_holder_of_the_lease_leaves_it_due(stage: Stage) -> None:
    run_id = await repaired(stage)
    stage.clock.advance(61)
    before = len(stage.data.made("sight"))
    epoch = await stage.state.acquire(TABLE, "elsewhere", 1000.0, stage.clock.now())
    assert epoch is not None
    assert await stage.reverifier.due(auto()) == []
    assert len(stage.data.made("sight")) == before
    assert await told(stage, run_id) == [(0, "held"), (1, "due"), (2, "due")]


async def test_an_edited_rule_ends_what_is_due_of_its_old_self(stage: Stage) -> None:
    run_id = await repaired(stage)
    stage.clock.advance(61)
    await stage.reverifier.due(auto(digest="edited"))

    assert await told(stage, run_id) == [(0, "held"), (1, "skipped"), (2, "due")]
    made = await stage.state.verifications(run_id)
    assert isinstance(made[1], Verification)
    assert made[1].done_at is not None
