from collections.abc import Callable
from dataclasses import replace

import pytest

from sidecar.domain.plan import PlanStatus
from sidecar.errors import PlanInvalid
from sidecar.ports import State
from sidecar.state.plans import packed, unpacked
from tests.state.cast import KEYS, NOW, RULE, TABLE, a_plan, a_run, later, take


async def status(state: State, plan_id: str) -> PlanStatus | None:
    stored = await state.plan(plan_id)
    return stored.status if stored else None


async def test_a_plan_comes_back_whole(state: State) -> None:
    await state.save_plan(a_plan(), PlanStatus.WAITING, "olga")
    stored = await state.plan("plan-1")
    assert stored is not None
    assert stored.plan == a_plan()
    assert stored.plan.hash == a_plan().hash
    assert stored.approver is None
    assert await state.plan("plan-9") is None


async def test_a_new_plan_overtakes_the_rules_waiting_ones(state: State) -> None:
    await state.save_plan(a_plan("plan-1"), PlanStatus.WAITING, "olga")
    await state.save_plan(a_plan("other-1", rule="other"), PlanStatus.WAITING, "olga")
    await state.save_plan(a_plan("plan-2"), PlanStatus.APPROVED, "olga")
    await state.save_plan(a_plan("plan-3"), PlanStatus.WAITING, "olga")
    found = {stored.plan.id: stored.status for stored in await state.plans()}
    assert found == {
        "plan-1": PlanStatus.REJECTED,
        "other-1": PlanStatus.WAITING,
        "plan-2": PlanStatus.APPROVED,
        "plan-3": PlanStatus.WAITING,
    }


async def test_a_plan_is_stored_once(state: State) -> None:
    await state.save_plan(a_plan(), PlanStatus.WAITING, "olga")
    with pytest.raises(ValueError, match="plan-1 is stored already"):
        await state.save_plan(a_plan(keys=["mallory"]), PlanStatus.APPROVED, "mallory")
    assert await status(state, "plan-1") is PlanStatus.WAITING


async def test_plans_are_listed_newest_first_by_rule_and_status(state: State) -> None:
    for number in range(3):
        await state.save_plan(a_plan(f"plan-{number}", made_at=later(number)), PlanStatus.WAITING, "olga")
    await state.save_plan(a_plan("other-1", rule="other", made_at=later(9)), PlanStatus.WAITING, "olga")
    assert [stored.plan.id for stored in await state.plans()] == ["other-1", "plan-2", "plan-1", "plan-0"]
    assert [stored.plan.id for stored in await state.plans(RULE)] == ["plan-2", "plan-1", "plan-0"]
    assert [stored.plan.id for stored in await state.plans(RULE, PlanStatus.WAITING)] == ["plan-2"]


async def test_only_the_first_of_two_people_moves_a_plan(state: State) -> None:
    await state.save_plan(a_plan(), PlanStatus.WAITING, "sidecar")
    assert await state.move_plan("plan-1", PlanStatus.WAITING, PlanStatus.APPROVED, "olga", later(1))
    assert not await state.move_plan("plan-1", PlanStatus.WAITING, PlanStatus.REJECTED, "peter", later(2))
    stored = await state.plan("plan-1")
    assert stored is not None
    assert (stored.status, stored.approver) == (PlanStatus.APPROVED, "olga")


async def test_the_guards_approval_names_who_gave_it(state: State) -> None:
    await state.save_plan(a_plan(), PlanStatus.APPROVED, "sidecar")
    stored = await state.plan("plan-1")
    assert stored is not None
    assert stored.approver == "sidecar"


async def test_a_plan_is_applied_at_most_once(state: State) -> None:
    epoch = await take(state)
    plan = a_plan()
    await state.save_plan(plan, PlanStatus.APPROVED, "olga")
    assert await state.start_run(a_run(plan, epoch, "run-1"), plan, TABLE, KEYS)
    assert not await state.start_run(a_run(plan, epoch, "run-2"), plan, TABLE, KEYS)
    assert await status(state, "plan-1") is PlanStatus.APPLIED
    assert await state.run("run-2") is None


@pytest.mark.parametrize("standing", [PlanStatus.WAITING, PlanStatus.REJECTED])
async def test_a_plan_that_nobody_approved_does_not_start(state: State, standing: PlanStatus) -> None:
    epoch = await take(state)
    await state.save_plan(a_plan(), standing, "sidecar")
    assert not await state.start_run(a_run(a_plan(), epoch), a_plan(), TABLE, KEYS)
    assert await state.run("run-1") is None


async def test_a_plan_that_differs_from_the_approved_one_does_not_start(state: State) -> None:
    epoch = await take(state)
    plan = a_plan()
    await state.save_plan(plan, PlanStatus.APPROVED, "olga")
    edited = replace(plan, rows=(replace(plan.rows[0], values={"id": "alice", "credits_balance": 10**6}),))
    assert not await state.start_run(a_run(edited, epoch), edited, TABLE, ["alice"])
    assert await status(state, "plan-1") is PlanStatus.APPROVED


async def test_a_run_has_no_row_that_its_plan_does_not_have(state: State) -> None:
    epoch = await take(state)
    await state.save_plan(a_plan(), PlanStatus.APPROVED, "olga")
    with pytest.raises(ValueError, match="has no row for one of the keys"):
        await state.start_run(a_run(a_plan(), epoch), a_plan(), TABLE, ["alice", "mallory"])
    assert await status(state, "plan-1") is PlanStatus.APPROVED
    assert await state.runs() == []


async def test_when_two_start_the_same_plan_one_run_is_stored(state: State) -> None:
    plan = a_plan()
    await state.save_plan(plan, PlanStatus.APPROVED, "olga")
    epoch = await take(state)
    starts = [
        await state.start_run(a_run(plan, epoch, f"run-{number}", at=NOW), plan, TABLE, KEYS) for number in range(4)
    ]
    assert starts == [True, False, False, False]
    assert [run.id for run in await state.runs()] == ["run-0"]


async def test_a_long_plan_comes_back_whole(state: State) -> None:
    """It is kept compressed: its text would take seconds of a write transaction."""
    long = a_plan(keys=[f"{number:036}" for number in range(1000)])
    await state.save_plan(long, PlanStatus.WAITING, "olga")
    stored = await state.plan(long.id)
    assert stored is not None
    assert (stored.plan, stored.plan.hash) == (long, long.hash)


@pytest.mark.parametrize("harm", [lambda body: body[:-8], lambda body: body[:5] + "%" + body[6:], lambda _: "zlib:"])
def test_a_long_plan_that_was_damaged_is_none(harm: Callable[[str], str]) -> None:
    body = packed(a_plan(keys=[f"{number:036}" for number in range(1000)]))
    assert body.startswith("zlib:")
    assert len(body) < len(unpacked(body)) / 5
    with pytest.raises(PlanInvalid):
        unpacked(harm(body))
