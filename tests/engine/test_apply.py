"""Every row of a batch is accounted for, whatever befalls it between plan and database."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from sidecar.domain.comparing import differing, same
from sidecar.domain.decide import GuardName
from sidecar.domain.event import BatchSettled
from sidecar.domain.rule import Constant, Value
from sidecar.domain.run import Outcome, RowResult, RunStatus
from sidecar.engine.writing import TRIES_PER_INSERT
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    RateLimited,
    SchemaMismatch,
    SidecarError,
    StateUnavailable,
    TargetUnreachable,
    Unreached,
)
from tests.domain.cast import REPAIR, chain, ledger_row, subject
from tests.engine.cast import BATCH, RAMP, RAMPED, Stage, approve, auto, harm, keys_of
from tests.fakes import After

INSERTED = (RowResult.INSERTED, "")
CUT = TargetUnreachable(Unreached.CUT_OFF, "half an answer")


async def test_every_row_lands_in_batches_each_announced_and_settled(stage: Stage) -> None:
    keys = keys_of(RAMPED + BATCH + 1)
    harm(stage.data, *keys)
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.results) == (Outcome.REPAIRED, {RowResult.INSERTED: len(keys)})
    assert [len(batch) for batch in stage.data.made("insert")] == [*RAMP, BATCH, 1]
    assert stage.data.inserted == keys
    told = stage.reporter.told(BatchSettled)
    assert [(e.done, e.total, dict(e.results)) for e in told[-3:]] == [
        (85, 186, {RowResult.INSERTED: 64}),
        (185, 186, {RowResult.INSERTED: 100}),
        (186, 186, {RowResult.INSERTED: 1}),
    ]
    assert all(row["credits_balance"] == 1200 for row in stage.data.rows.values())


@pytest.mark.parametrize("place", [0, 1, 49, 50, 74, 99])
async def test_one_poisoned_row_in_a_hundred_is_isolated_by_halving_and_the_others_land(
    stage: Stage, place: int
) -> None:
    keys = keys_of(RAMPED + BATCH)
    await stage.season()
    harm(stage.data, *keys)
    stage.data.poison[keys[RAMPED + place]] = "23505"
    cycle = await stage.repair.tick(auto())
    rows = await stage.rows(cycle)

    assert cycle.outcome is Outcome.PARTLY_REPAIRED
    assert rows == {k: (RowResult.CONFLICT, "23505") if k == keys[RAMPED + place] else INSERTED for k in keys}
    assert len(stage.data.made("insert")) - len(RAMP) - 1 <= 2 * math.ceil(math.log2(100))
    assert sorted(stage.data.inserted) == sorted(set(keys) - {keys[RAMPED + place]})


async def test_a_refused_row_is_held_for_a_day_so_that_it_is_not_tried_in_every_cycle(stage: Stage) -> None:
    harm(stage.data, *keys_of(3))
    await stage.season()
    stage.data.poison["user-0001"] = "23514"
    await stage.repair.tick(auto())
    stage.data.calls.clear()
    second = await stage.repair.tick(auto())

    assert (second.outcome, stage.data.made("insert")) == (Outcome.NOTHING_TO_DO, [])
    assert second.seen is not None
    assert second.seen.classes == {"write_rejected": 1}
    held = await stage.state.held(None, stage.clock.now())
    assert {(row.key, row.reason, row.source) for row in held} == {
        ("user-0001", "conflict:23514", "run"),
        ("user-0001", "write_rejected", "look"),
    }


@pytest.mark.parametrize(
    ("code", "result"),
    [("23505", RowResult.CONFLICT), ("23503", RowResult.CONFLICT), ("22P02", RowResult.FAILED), ("", RowResult.FAILED)],
)
async def test_a_refusal_is_classified_by_its_sqlstate(stage: Stage, code: str, result: RowResult) -> None:
    harm(stage.data, "alice")
    stage.data.poison["alice"] = code
    cycle = await stage.repair.tick(auto())

    assert await stage.rows(cycle) == {"alice": (result, code)}


async def test_an_answer_that_got_lost_after_the_rows_landed_counts_them_as_inserted_once(stage: Stage) -> None:
    keys = keys_of(3)
    harm(stage.data, *keys)
    stage.data.script["insert"].extend([None, After(error=CUT)])
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.results) == (Outcome.REPAIRED, {RowResult.INSERTED: 3})
    assert (stage.data.inserted, len(stage.data.made("insert"))) == (keys, 3)
    assert stage.clock.slept == [1.0]


async def test_a_lost_answer_where_rows_carry_no_mark_leaves_them_undetermined(stage: Stage) -> None:
    unmarked = {**REPAIR.values, "metadata": Constant(value={"restored_by": "sidecar"})}
    harm(stage.data, "alice")
    stage.data.script["insert"].append(After(error=CUT))
    cycle = await stage.repair.tick(auto(repair=replace(REPAIR, values=unmarked)))

    assert cycle.outcome is Outcome.PARTLY_REPAIRED
    assert await stage.rows(cycle) == {"alice": (RowResult.UNDETERMINED, "rows_carry_no_mark")}


async def test_an_insert_is_tried_so_often_and_then_the_run_stands_still_until_it_can_be_resumed(stage: Stage) -> None:
    harm(stage.data, *keys_of(3))
    stage.data.script["insert"].extend([CUT] * TRIES_PER_INSERT)
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.detail) == (Outcome.UNKNOWN, f"lost sight: {CUT}")
    assert len(stage.data.made("insert")) == TRIES_PER_INSERT
    assert cycle.run_id is not None
    run = await stage.state.run(cycle.run_id)
    assert run is not None
    assert run.status is RunStatus.INTERRUPTED
    again = await stage.repair.tick(auto())
    assert (again.run_id, again.outcome, again.results) == (run.id, Outcome.REPAIRED, {RowResult.INSERTED: 3})


@pytest.mark.parametrize(("asked", "slept"), [(None, [1.0]), (3.0, [3.0])])
async def test_a_short_wait_that_was_asked_for_is_waited(stage: Stage, asked: float | None, slept: list[float]) -> None:
    harm(stage.data, "alice")
    stage.data.script["insert"].append(RateLimited("429", asked))
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, stage.clock.slept) == (Outcome.REPAIRED, slept)


async def test_a_long_wait_that_was_asked_for_ends_the_try_and_is_handed_on(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.script["insert"].append(RateLimited("429", 60.0))
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.retry_after_seconds, stage.clock.slept) == (Outcome.UNKNOWN, 60.0, [])


@pytest.mark.parametrize("method", ["facts", "insert", "read_rows"])
@pytest.mark.parametrize(
    "error", [CUT, AccessDenied("401"), AnswerMalformed("HTML with status 200"), SchemaMismatch("no such column")]
)
async def test_sight_lost_in_the_middle_of_a_run_stops_it_where_it_is_and_it_is_finished_later(
    stage: Stage, method: str, error: SidecarError
) -> None:
    keys = keys_of(1 + 4 + 2)
    harm(stage.data, *keys)
    # examine reads facts once, the run once for each batch; the third batch meets the fault.
    spared = {"facts": 3, "insert": 2, "read_rows": 1}[method]
    stage.data.script[method].extend([None] * spared + [error] * TRIES_PER_INSERT)
    if method == "read_rows":
        stage.data.swallowed.add(keys[-1])
    cycle = await stage.repair.tick(auto())
    stage.data.swallowed.clear()
    stage.data.script.clear()

    assert (cycle.outcome, cycle.detail) == (Outcome.UNKNOWN, f"lost sight: {error}")
    again = await stage.repair.tick(auto())
    assert (again.run_id, again.outcome) == (cycle.run_id, Outcome.REPAIRED)
    assert await stage.rows(again) == dict.fromkeys(keys, INSERTED)
    assert sorted(stage.data.inserted) == keys


async def test_memory_that_fails_in_the_middle_of_a_run_is_not_taken_for_blindness(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.script["facts"].extend([None, StateUnavailable("disk full")])
    with pytest.raises(StateUnavailable):
        await stage.repair.tick(auto())

    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


async def test_a_row_that_a_trigger_swallowed_is_not_taken_for_inserted(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    await stage.season()
    stage.data.swallowed.add("user-0000")
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.PARTLY_REPAIRED
    assert await stage.rows(cycle) == {"user-0000": (RowResult.FAILED, "not_landed"), "user-0001": INSERTED}


async def test_a_profile_that_came_first_is_left_as_it_is(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    theirs: dict[str, Value] = {"id": "user-0000", "credits_balance": 5, "metadata": None}
    stage.data.script["insert"].append(lambda: stage.data.rows.update({"user-0000": dict(theirs)}))
    cycle = await stage.repair.tick(auto())

    assert await stage.rows(cycle) == {"user-0000": (RowResult.RACED, "row_exists"), "user-0001": INSERTED}
    assert stage.data.rows["user-0000"] == theirs


def at_the_second_reading(stage: Stage, change: Callable[[], object]) -> None:
    """Let something happen between the plan and the reading just before the write."""
    stage.data.script["facts"].extend([None, change])


async def test_a_profile_that_came_between_plan_and_batch_is_not_even_tried(stage: Stage) -> None:
    harm(stage.data, "alice")
    at_the_second_reading(stage, lambda: stage.data.rows.update(alice={"id": "alice", "metadata": {"plan": "other"}}))
    cycle = await stage.repair.tick(auto())

    assert await stage.rows(cycle) == {"alice": (RowResult.RACED, "row_exists")}
    assert stage.data.made("insert") == []


async def test_evidence_that_moved_since_the_plan_leaves_the_row_alone(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    at_the_second_reading(stage, lambda: stage.data.spend("user-0000", 100))
    cycle = await stage.repair.tick(auto())

    assert await stage.rows(cycle) == {"user-0000": (RowResult.RACED, "evidence_moved"), "user-0001": INSERTED}
    second = await stage.repair.tick(auto())
    assert second.outcome is Outcome.REPAIRED
    assert stage.data.rows["user-0000"]["credits_balance"] == 1100


async def test_a_value_that_moved_since_the_plan_leaves_the_row_alone(stage: Stage) -> None:
    harm(stage.data, "alice")
    fields = {**subject("alice").fields, "email": "new@example.org"}
    renamed = subject("alice", fields=fields)
    at_the_second_reading(stage, lambda: stage.data.subjects.update(alice=renamed))
    cycle = await stage.repair.tick(auto())

    assert await stage.rows(cycle) == {"alice": (RowResult.RACED, "evidence_moved")}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda stage: stage.data.subjects.pop("alice"), "subject_gone"),
        (lambda stage: stage.data.subjects.update(alice=subject("alice", banned=True)), "subject_banned"),
        (lambda stage: stage.data.emails_taken.add("alice"), "email_taken"),
        (lambda stage: stage.data.ledger_rows.update(alice=(*chain(1000, 200), ledger_row(9, 1, 9))), "chain_broken"),
        (lambda stage: stage.data.ledger_rows.pop("alice"), "no_evidence"),
    ],
)
async def test_what_bars_a_row_by_now_keeps_it_from_being_written(
    stage: Stage, change: Callable[[Stage], object], reason: str
) -> None:
    harm(stage.data, "alice", "bob")
    at_the_second_reading(stage, lambda: change(stage))
    cycle = await stage.repair.tick(auto())

    assert await stage.rows(cycle) == {"alice": (RowResult.QUARANTINED, reason), "bob": INSERTED}
    assert cycle.outcome is Outcome.PARTLY_REPAIRED


async def test_a_ledger_that_users_may_write_since_the_plan_stops_an_automatic_row_of_a_resumed_run(
    stage: Stage,
) -> None:
    harm(stage.data, "alice")
    stage.data.script["insert"].extend([CUT] * TRIES_PER_INSERT)
    await stage.repair.tick(auto())
    stage.data.catalogue_seen = replace(stage.data.catalogue_seen, ledger_writers=("authenticated",))
    cycle = await stage.repair.tick(auto())

    assert await stage.rows(cycle) == {"alice": (RowResult.RACED, "evidence_moved")}
    assert stage.data.inserted == []


async def test_a_freeze_between_two_batches_stops_the_run_and_its_lifting_lets_it_go_on(stage: Stage) -> None:
    keys = keys_of(1 + 4)
    harm(stage.data, *keys)
    stage.data.script["facts"].extend([None, None, lambda: stage.state.freeze("*", "olga", "audit", stage.clock.now())])
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.REFUSED
    assert cycle.refusal is not None
    assert (cycle.refusal.guard, cycle.refusal.value) == (GuardName.FROZEN, "olga froze everything: audit")
    assert stage.data.inserted == keys[:1]
    still = await stage.repair.tick(auto())
    assert (still.outcome, still.run_id, len(stage.data.inserted)) == (Outcome.REFUSED, cycle.run_id, 1)
    assert still.refusal is not None
    assert still.refusal.guard is GuardName.FROZEN
    await stage.state.unfreeze("*", "olga", stage.clock.now())
    done = await stage.repair.tick(auto())
    assert (done.outcome, done.run_id) == (Outcome.REPAIRED, cycle.run_id)
    assert stage.data.inserted == keys


async def test_a_drain_between_two_batches_cancels_the_cycle_and_the_next_process_goes_on(stage: Stage) -> None:
    keys = keys_of(1 + 4 + 3)
    harm(stage.data, *keys)
    stage.is_stopping = lambda: len(stage.data.inserted) >= 5
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.CANCELLED
    assert (cycle.results, stage.data.inserted) == (
        {RowResult.INSERTED: 5, RowResult.PLANNED: 3},
        keys[:5],
    )
    later = stage.beside("later")
    done = await later.repair.tick(auto())
    assert (done.outcome, done.run_id) == (Outcome.REPAIRED, cycle.run_id)
    assert stage.data.inserted == keys
    assert [e.done for e in later.reporter.told(BatchSettled)] == [6, 8]


async def test_a_default_that_the_database_put_in_place_of_a_value_fails_the_verification(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.altering = {"credits_balance": 50}
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.VERIFY_FAILED
    assert await stage.rows(cycle) == {"alice": (RowResult.INSERTED, "altered:credits_balance")}


async def test_an_approved_row_that_rests_on_a_forgeable_ledger_is_written_after_a_person_saw_it(stage: Stage) -> None:
    stage.data.catalogue_seen = replace(stage.data.catalogue_seen, ledger_writers=("anon",))
    harm(stage.data, "alice")
    planned = await stage.repair.tick(approve())

    assert planned.plan is not None
    assert planned.plan.rows[0].origins["credits_balance"] == "balance:ledger, forgeable"
    assert (await stage.apply_newest(approve())).outcome is Outcome.REPAIRED


@pytest.mark.parametrize(
    ("written", "found", "equal"),
    [
        (12, 12.0, False),
        (True, 1, False),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, 0, False),
        ("a", "a", True),
        ("1", 1, False),
        ({"a": [1]}, {"a": [1]}, True),
        ({"a": 1}, None, False),
    ],
)
def test_values_are_compared_by_value_and_kind(written: object, found: object, *, equal: bool) -> None:
    assert same(written, found) is equal  # type: ignore[arg-type]  # also what no column holds


def test_columns_that_the_database_changed_are_named_in_order() -> None:
    assert differing({"b": 1, "a": 2, "c": 3}, {"b": 9, "c": 3}) == ["a", "b"]
