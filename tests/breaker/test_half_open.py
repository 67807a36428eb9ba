"""After the cool-down: one row, verified, before any other; and after two failures, a person."""

from pathlib import Path

from sidecar.domain.breaker import COOL_DOWN, Breaker, BreakerStatus, Tried
from sidecar.domain.decide import GuardName
from sidecar.domain.event import BreakerMoved
from sidecar.domain.run import Outcome, RowResult
from sidecar.errors import TargetUnreachable, Unreached
from tests.breaker.test_opening import breaker_of, opened, refused_by
from tests.domain.cast import RULE
from tests.engine.cast import Stage, approve, auto, harm, keys_of
from tests.state.audit_reading import trail

CUT = TargetUnreachable(Unreached.CUT_OFF, "half an answer")


async def half_opened(stage: Stage, rows: int) -> list[str]:
    """Let a table with damage have a breaker that has cooled down."""
    keys = keys_of(rows)
    harm(stage.data, *keys)
    await opened(stage)
    stage.clock.advance(COOL_DOWN.total_seconds())
    return keys


async def test_its_one_row_is_verified_before_any_other_and_then_it_closes(stage: Stage) -> None:
    keys = await half_opened(stage, 5)
    cycle = await stage.repair.backfill(auto(), "olga")

    assert (cycle.outcome, stage.data.inserted) == (Outcome.REPAIRED, keys)
    done = [(name, len(rows)) for name, rows in stage.data.calls if name in ("insert", "read_rows")]
    assert done[:3] == [("insert", 1), ("read_rows", 1), ("insert", 4)]
    assert await breaker_of(stage) == Breaker(window=(Tried(rows=4, failed=0),)), "the past is forgotten"
    moved = [event.after for event in stage.reporter.told(BreakerMoved)]
    assert moved == [BreakerStatus.HALF_OPEN, BreakerStatus.CLOSED]


async def test_a_single_row_closes_it_once_its_run_is_verified(stage: Stage) -> None:
    await half_opened(stage, 1)
    assert (await stage.repair.backfill(auto(), "olga")).outcome is Outcome.REPAIRED
    assert await breaker_of(stage) == Breaker()


async def test_a_row_that_somebody_else_wrote_proves_nothing_so_the_next_one_is_alone_as_well(stage: Stage) -> None:
    keys = await half_opened(stage, 6)
    stage.data.script["insert"].append(lambda: stage.data.rows.update({keys[0]: {"id": keys[0], "metadata": None}}))
    cycle = await stage.repair.backfill(auto(), "olga")

    assert cycle.results == {RowResult.RACED: 1, RowResult.INSERTED: 5}
    assert [len(batch) for batch in stage.data.made("insert")] == [1, 1, 4]


async def test_its_one_row_refused_opens_it_again_and_nothing_else_is_tried(stage: Stage) -> None:
    keys = await half_opened(stage, 5)
    stage.data.poison[keys[0]] = "23505"
    cycle = await stage.repair.backfill(auto(), "olga")

    assert refused_by(cycle) is GuardName.BREAKER_OPEN
    assert stage.data.made("insert") == [(keys[0],)]
    assert ((await breaker_of(stage)).status, (await breaker_of(stage)).failed_probes) == (BreakerStatus.OPEN, 1)


async def test_its_one_row_that_does_not_verify_opens_it_again(stage: Stage) -> None:
    keys = await half_opened(stage, 5)
    stage.data.altering = {"credits_balance": 50}
    cycle = await stage.repair.backfill(auto(), "olga")

    assert (cycle.outcome, stage.data.inserted) == (Outcome.VERIFY_FAILED, keys[:1])
    assert (await breaker_of(stage)).failed_probes == 1


async def test_its_one_row_that_could_not_be_verified_is_verified_before_a_second_is_written(stage: Stage) -> None:
    keys = await half_opened(stage, 3)
    stage.data.script["read_rows"].append(CUT)
    first = await stage.repair.backfill(auto(), "olga")
    assert (first.outcome, stage.data.inserted) == (Outcome.UNKNOWN, keys[:1])
    stage.data.rows[keys[0]]["credits_balance"] = 7
    again = await stage.repair.tick(auto())

    assert (again.run_id, again.outcome, stage.data.inserted) == (first.run_id, Outcome.VERIFY_FAILED, keys[:1])
    assert (await breaker_of(stage)).status is BreakerStatus.OPEN


async def two_failures(stage: Stage) -> list[str]:
    keys = await half_opened(stage, 4)
    stage.data.poison.update(dict.fromkeys(keys[:2], "23505"))
    for _ in range(2):
        await stage.repair.backfill(approve(), "olga")
        stage.clock.advance(COOL_DOWN.total_seconds())
    return keys


async def test_two_failures_in_a_row_freeze_the_rule_for_a_person_and_no_time_lifts_that(stage: Stage) -> None:
    await two_failures(stage)
    frozen = await stage.state.frozen(RULE.name)

    assert frozen == f"breaker froze {RULE.name}: the one row of the half-open breaker failed"
    stage.clock.advance(20 * 3600)
    cycle = await stage.repair.backfill(approve(), "olga")
    assert (refused_by(cycle), stage.data.inserted) == (GuardName.FROZEN, [])


async def test_a_person_who_unfreezes_the_rule_gives_it_one_row_again_and_is_in_the_audit(
    stage: Stage, tmp_path: Path
) -> None:
    keys = await two_failures(stage)
    assert await stage.state.unfreeze(RULE.name, "olga", stage.clock.now())
    cycle = await stage.repair.backfill(approve(), "olga")

    assert (cycle.outcome, stage.data.inserted) == (Outcome.PARTLY_REPAIRED, keys[2:])
    assert (await breaker_of(stage)).status is BreakerStatus.CLOSED
    told = [(row["actor"], row["verb"]) for row in trail(tmp_path / "sidecar.db")]
    assert [(actor, verb) for actor, verb in told if str(verb).startswith("freeze")] == [
        ("breaker", "freeze.set"),
        ("olga", "freeze.lifted"),
    ]
    verbs = [verb for _, verb in told if str(verb).startswith("breaker")]
    assert verbs == [f"breaker.{verb}" for verb in ("open", *["half_open", "open"] * 2, "half_open", "closed")]


async def test_the_freeze_of_one_rule_holds_every_rule_of_its_table_until_it_is_lifted(stage: Stage) -> None:
    await two_failures(stage)
    other = approve(name="another_rule_of_this_table", digest="another-digest")
    cycle = await stage.repair.backfill(other, "olga")

    assert cycle.refusal is not None
    assert (cycle.refusal.guard, stage.data.inserted) == (GuardName.BREAKER_OPEN, [])
    assert f"sidecar unfreeze {RULE.name}" in cycle.refusal.hint


async def test_a_failure_after_a_person_said_yes_asks_for_a_person_again(stage: Stage) -> None:
    keys = await two_failures(stage)
    stage.data.poison[keys[2]] = "23505"
    await stage.state.unfreeze(RULE.name, "olga", stage.clock.now())
    assert refused_by(await stage.repair.backfill(approve(), "olga")) is GuardName.BREAKER_OPEN

    assert await stage.state.frozen(RULE.name) is not None
