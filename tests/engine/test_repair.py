"""One cycle of a rule, start to outcome, in every mode and under every guard."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from sidecar.domain.decide import GuardName
from sidecar.domain.event import CapMeasured, CycleFinished, FreezeRead, PlanMade
from sidecar.domain.look import Catalogue
from sidecar.domain.plan import Plan, PlanStatus
from sidecar.domain.rule import Mode, Rule
from sidecar.domain.run import Outcome, RowResult
from sidecar.engine.cycle import Cycle
from sidecar.engine.lease import TTL_SECONDS
from sidecar.engine.trust import trust_digest
from sidecar.errors import TargetUnreachable, Unreached
from sidecar.ports import StoredPlan
from tests.domain.cast import CATALOGUE, GUARD, RULE, subject
from tests.engine.cast import ROOMY, TABLE, Stage, approve, auto, harm, keys_of

CUT = TargetUnreachable(Unreached.CUT_OFF, "half an answer")


def guard_of(cycle: Cycle) -> GuardName | None:
    assert (cycle.outcome is Outcome.REFUSED) == (cycle.refusal is not None)
    return cycle.refusal.guard if cycle.refusal else None


async def nothing_was_written(stage: Stage) -> None:
    assert stage.data.made("insert") == []
    assert await stage.state.runs() == []


# Modes


async def test_auto_repairs_and_tells_plan_and_end(stage: Stage) -> None:
    harm(stage.data, "alice")
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.REPAIRED
    assert stage.data.rows["alice"]["metadata"] == {
        "restored_by": "sidecar",
        "plan": cycle.plan.id if cycle.plan else 0,
    }
    assert [(e.rows, e.waiting) for e in stage.reporter.told(PlanMade)] == [(1, False)]
    assert [(e.outcome, e.run_id) for e in stage.reporter.told(CycleFinished)] == [(Outcome.REPAIRED, cycle.run_id)]
    assert stage.reporter.spans[0] == f"run {RULE.name}"
    stored = await stage.newest_plan()
    assert (stored.status, stored.approver) == (PlanStatus.APPLIED, "sidecar")


async def test_nothing_found_is_nothing_to_do_and_nothing_written(stage: Stage) -> None:
    for cycle in [await stage.repair.tick(auto()), await stage.repair.backfill(auto(), "olga")]:
        assert cycle.outcome is Outcome.NOTHING_TO_DO
    await nothing_was_written(stage)


@pytest.mark.parametrize("verb", ["tick", "once", "backfill", "detect", "plan", "rehearse"])
async def test_a_rule_that_observes_never_writes_whatever_is_asked(stage: Stage, verb: str) -> None:
    harm(stage.data, "alice")
    rule = auto(mode=Mode.OBSERVE)
    verbs = {
        "tick": lambda: stage.repair.tick(rule),
        "once": lambda: stage.repair.once(rule, "olga"),
        "backfill": lambda: stage.repair.backfill(rule, "olga"),
        "detect": lambda: stage.repair.detect(rule),
        "plan": lambda: stage.repair.plan(rule, "olga"),
        "rehearse": lambda: stage.repair.rehearse(rule),
    }
    cycle = await verbs[verb]()

    asked_to_write = verb in ("backfill", "plan", "rehearse")
    assert guard_of(cycle) is (GuardName.MODE if asked_to_write else None)
    assert cycle.outcome is (Outcome.REFUSED if asked_to_write else Outcome.OBSERVED)
    assert await stage.state.plans() == []
    await nothing_was_written(stage)


async def test_a_plan_of_a_rule_that_only_observes_by_now_is_not_applied(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(approve())

    assert guard_of(await stage.apply_newest(approve(mode=Mode.OBSERVE))) is GuardName.MODE
    await nothing_was_written(stage)


async def test_approve_makes_one_plan_that_waits_and_does_not_pile_up_equal_ones(stage: Stage) -> None:
    harm(stage.data, "alice")
    first = await stage.repair.tick(approve())
    stage.clock.advance(300)
    second = await stage.repair.tick(approve())

    assert first.outcome is second.outcome is Outcome.PLANNED
    assert first.plan is not None
    assert second.plan is not None
    assert first.plan.id == second.plan.id
    assert [p.status for p in await stage.state.plans()] == [PlanStatus.WAITING]
    assert [e.waiting for e in stage.reporter.told(PlanMade)] == [True]
    await nothing_was_written(stage)


async def plan_after(stage: Stage) -> tuple[Plan, Plan]:
    first, second = [stored.plan for stored in reversed(await stage.state.plans())]
    return first, second


async def test_a_plan_that_was_overtaken_by_more_damage_is_rejected(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(approve())
    harm(stage.data, "bob")
    stage.clock.advance(1)
    await stage.repair.tick(approve())

    newest, older = await stage.state.plans()
    assert ([row.key for row in newest.plan.rows], newest.status) == (["alice", "bob"], PlanStatus.WAITING)
    assert older.status is PlanStatus.REJECTED


@pytest.mark.parametrize("what", ["expired", "evidence", "value", "rule", "schema"])
async def test_a_waiting_plan_that_would_do_something_else_by_now_is_made_anew(stage: Stage, what: str) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(approve())
    stage.clock.advance(60)
    rule = approve()
    if what == "expired":
        stage.clock.advance(24 * 3600)
    elif what == "evidence":
        stage.data.spend("alice", 1)
    elif what == "value":
        moved = {**subject("alice").fields, "email": "new@example.org"}
        stage.data.subjects["alice"] = subject("alice", fields=moved)
    elif what == "rule":
        rule = approve(digest="rule-digest-2")
    else:
        stage.data.catalogue_seen = replace(CATALOGUE, fingerprint="schema-2")
    cycle = await stage.repair.tick(rule)

    first, second = await plan_after(stage)
    assert cycle.plan == second
    assert first.id != second.id


async def test_a_typed_backfill_is_the_approval_whatever_the_trust(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.state.trust(RULE.name, "another digest", "olga", stage.clock.now())
    cycle = await stage.repair.backfill(approve(), "olga")

    assert cycle.outcome is Outcome.REPAIRED
    stored = await stage.newest_plan()
    assert (stored.plan.author, stored.approver) == ("olga", "olga")


async def test_detect_looks_and_plans_nothing(stage: Stage) -> None:
    harm(stage.data, "alice")
    cycle = await stage.repair.detect(auto())

    assert cycle.seen is not None
    assert (cycle.outcome, cycle.seen.classes, await stage.state.plans()) == (Outcome.OBSERVED, {"repairable": 1}, [])
    await nothing_was_written(stage)


async def test_a_person_who_asks_for_a_plan_gets_one_that_waits_even_in_auto(stage: Stage) -> None:
    harm(stage.data, "alice")
    cycle = await stage.repair.plan(auto(), "olga")

    assert cycle.outcome is Outcome.PLANNED
    stored = await stage.newest_plan()
    assert (stored.status, stored.plan.author, stored.approver) == (PlanStatus.WAITING, "olga", None)
    await nothing_was_written(stage)


async def test_a_rehearsal_shows_the_plan_and_stores_neither_it_nor_any_trust(stage: Stage) -> None:
    harm(stage.data, "alice")
    cycle = await stage.repair.rehearse(auto())

    assert cycle.plan is not None
    assert (cycle.outcome, [row.key for row in cycle.plan.rows]) == (Outcome.OBSERVED, ["alice"])
    assert await stage.state.plans() == []
    assert await stage.state.trusted(RULE.name) is None
    await nothing_was_written(stage)


async def test_a_rehearsal_is_refused_where_a_backfill_would_be(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    rule = auto(guard=replace(ROOMY, max_rows=1))

    assert guard_of(await stage.repair.rehearse(rule)) is guard_of(await stage.repair.backfill(rule, "olga"))
    assert (await stage.repair.rehearse(auto())).outcome is Outcome.OBSERVED
    stage.data.rows.update({key: {"id": key} for key in keys_of(2)})
    assert (await stage.repair.rehearse(auto())).outcome is Outcome.NOTHING_TO_DO


@pytest.mark.parametrize("verb", ["tick", "once", "backfill", "detect", "plan", "rehearse", "apply"])
async def test_a_look_that_proves_nothing_ends_every_verb_as_unknown(stage: Stage, verb: str) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(approve())
    stored = await stage.approve_newest()
    stage.data.script["sight"].append(CUT)
    verbs = {
        "tick": lambda: stage.repair.tick(auto()),
        "once": lambda: stage.repair.once(auto(), "olga"),
        "backfill": lambda: stage.repair.backfill(auto(), "olga"),
        "detect": lambda: stage.repair.detect(auto()),
        "plan": lambda: stage.repair.plan(auto(), "olga"),
        "rehearse": lambda: stage.repair.rehearse(auto()),
        "apply": lambda: stage.repair.apply(auto(), stored, "olga"),
    }
    cycle = await verbs[verb]()

    assert (cycle.outcome, cycle.detail) == (Outcome.UNKNOWN, f"unreachable: {CUT}")
    await nothing_was_written(stage)


# Guards of a decision, as a whole cycle meets them


@pytest.mark.parametrize(
    ("rule", "guard"),
    [
        (auto(guard=replace(ROOMY, max_rows=2)), GuardName.MAX_ROWS),
        (auto(guard=replace(GUARD, max_percent=Decimal("0.2"))), GuardName.MAX_PERCENT),
        (auto(guard=replace(ROOMY, max_rows_per_day=2)), GuardName.MAX_ROWS_PER_DAY),
    ],
)
async def test_a_cap_refuses_the_whole_cycle_and_nothing_is_written(stage: Stage, rule: Rule, guard: GuardName) -> None:
    harm(stage.data, *keys_of(3))

    assert guard_of(await stage.repair.tick(rule)) is guard
    assert guard_of(await stage.repair.backfill(rule, "olga")) is guard
    await nothing_was_written(stage)


async def test_rows_written_in_the_last_day_count_and_older_ones_do_not(stage: Stage) -> None:
    rule = auto(guard=replace(ROOMY, max_rows_per_day=3))
    harm(stage.data, "a", "b")
    await stage.repair.tick(rule)
    harm(stage.data, "c", "d")

    assert guard_of(await stage.repair.tick(rule)) is GuardName.MAX_ROWS_PER_DAY
    stage.clock.advance(24 * 3600 - 1)
    assert guard_of(await stage.repair.tick(rule)) is GuardName.MAX_ROWS_PER_DAY
    stage.clock.advance(2)
    assert (await stage.repair.tick(rule)).outcome is Outcome.REPAIRED


@pytest.mark.parametrize("scope", ["*", RULE.name])
async def test_a_freeze_refuses_and_is_told(stage: Stage, scope: str) -> None:
    harm(stage.data, "alice")
    await stage.state.freeze(scope, "olga", "audit", stage.clock.now())

    assert guard_of(await stage.repair.backfill(auto(), "olga")) is GuardName.FROZEN
    assert stage.reporter.told(FreezeRead)[-1].frozen
    await nothing_was_written(stage)


async def test_a_freeze_of_another_rule_is_no_freeze_of_this(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.state.freeze("another", "olga", "audit", stage.clock.now())

    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


async def test_without_a_visible_catalogue_auto_refuses_and_approve_names_what_was_not_seen(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.catalogue_seen = Catalogue(visible=False)

    assert guard_of(await stage.repair.tick(auto())) is GuardName.CATALOGUE_NOT_VISIBLE
    await stage.repair.tick(approve())
    plan = (await stage.newest_plan()).plan
    assert plan.not_visible == ("triggers", "foreign keys", "defaults", "ledger privileges")
    assert plan.rows[0].origins["credits_balance"] == "balance:ledger, forgeable"
    typed = await stage.repair.backfill(approve(), "olga")
    assert guard_of(typed) is GuardName.LEDGER_FORGEABLE
    assert typed.refusal is not None
    assert "somebody not visible from here" in typed.refusal.value
    await nothing_was_written(stage)


async def test_a_trigger_that_nobody_reviewed_refuses(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.catalogue_seen = replace(CATALOGUE, triggers=("bonus",))

    assert guard_of(await stage.repair.tick(auto())) is GuardName.TRIGGERS_REVIEWED
    assert guard_of(await stage.repair.tick(approve())) is GuardName.TRIGGERS_REVIEWED


async def test_a_forgeable_ledger_is_for_a_person_only(stage: Stage) -> None:
    harm(stage.data, "alice", "bob")
    await stage.state.attest(TABLE, "bob", 5, "ticket 7", "olga", stage.clock.now())
    stage.data.catalogue_seen = replace(CATALOGUE, ledger_writers=("authenticated",))
    automatic = await stage.repair.tick(auto())

    assert (automatic.outcome, stage.data.inserted) == (Outcome.REPAIRED, ["bob"])
    assert guard_of(await stage.repair.tick(auto())) is GuardName.LEDGER_FORGEABLE
    assert guard_of(await stage.repair.backfill(approve(), "olga")) is GuardName.LEDGER_FORGEABLE
    assert (await stage.repair.plan(auto(), "olga")).outcome is Outcome.PLANNED


async def test_how_much_of_each_cap_would_be_used_is_told_be_it_more_than_all(stage: Stage) -> None:
    harm(stage.data, *keys_of(3))
    rule = auto(guard=replace(GUARD, max_rows=2, max_rows_per_day=10, max_percent=Decimal(1)))
    await stage.repair.tick(rule)

    assert [(e.window, e.ratio) for e in stage.reporter.told(CapMeasured)] == [("run", 1.5), ("day", 0.3)]


async def test_a_mass_that_nobody_examined_shows_in_the_use_of_the_cap(stage: Stage) -> None:
    harm(stage.data, *keys_of(21))
    await stage.repair.tick(auto(guard=replace(ROOMY, max_rows=1)))

    assert stage.reporter.told(CapMeasured)[0].ratio == 21.0


# A stored plan


async def planned(stage: Stage, rule: Rule) -> StoredPlan:
    harm(stage.data, "alice")
    await stage.repair.tick(rule)
    return await stage.newest_plan()


async def test_an_approved_plan_is_applied_once(stage: Stage) -> None:
    await planned(stage, approve())
    stored = await stage.approve_newest()
    first = await stage.repair.apply(approve(), stored, "olga")
    again = await stage.repair.apply(approve(), stored, "olga")
    fresh = await stage.state.plan(stored.plan.id)
    assert fresh is not None

    assert (first.outcome, first.results) == (Outcome.REPAIRED, {RowResult.INSERTED: 1})
    assert guard_of(again) is GuardName.PLAN_TAKEN
    assert guard_of(await stage.repair.apply(approve(), fresh, "olga")) is GuardName.PLAN_TAKEN
    assert stage.data.inserted == ["alice"]


async def test_two_processes_that_apply_one_plan_at_once_write_once(stage: Stage) -> None:
    await planned(stage, approve())
    stored = await stage.approve_newest()
    other = stage.beside("other")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(s.repair.apply(approve(), stored, "olga")) for s in (stage, other)]
    outcomes = sorted(str(task.result().outcome) for task in tasks)

    assert outcomes == ["refused", "repaired"]
    assert {guard_of(task.result()) for task in tasks} <= {None, GuardName.PLAN_TAKEN, GuardName.RULE_BUSY}
    assert stage.data.inserted == ["alice"]


@pytest.mark.parametrize("status", [PlanStatus.WAITING, PlanStatus.REJECTED])
async def test_a_plan_that_nobody_approved_is_not_applied(stage: Stage, status: PlanStatus) -> None:
    stored = await planned(stage, approve())
    if status is PlanStatus.REJECTED:
        await stage.state.move_plan(stored.plan.id, PlanStatus.WAITING, status, "olga", stage.clock.now())
    found = await stage.state.plan(stored.plan.id)
    assert found is not None

    assert guard_of(await stage.repair.apply(approve(), found, "olga")) is GuardName.PLAN_NOT_APPROVED
    await nothing_was_written(stage)


async def test_a_caller_who_only_claims_that_a_plan_is_approved_gets_nothing_written(stage: Stage) -> None:
    stored = await planned(stage, approve())
    claimed = replace(stored, status=PlanStatus.APPROVED)

    assert guard_of(await stage.repair.apply(approve(), claimed, "olga")) is GuardName.PLAN_TAKEN
    await nothing_was_written(stage)


async def test_an_approved_plan_whose_rows_were_exchanged_is_not_applied(stage: Stage) -> None:
    harm(stage.data, "bob")
    await planned(stage, approve())
    stored = await stage.approve_newest()
    forged = replace(stored, plan=replace(stored.plan, rows=stored.plan.rows[:1]))

    assert guard_of(await stage.repair.apply(approve(), forged, "olga")) is GuardName.PLAN_TAKEN
    await nothing_was_written(stage)


@pytest.mark.parametrize("what", ["rule", "schema", "expiry", "frozen", "trigger", "rows", "percent", "day"])
async def test_an_approved_plan_is_put_before_every_guard_again(stage: Stage, what: str) -> None:
    await planned(stage, approve())
    stored = await stage.approve_newest()
    rule, expected = approve(), GuardName.PLAN_STALE
    if what == "rule":
        rule = approve(digest="rule-digest-2")
    elif what == "schema":
        stage.data.catalogue_seen = replace(CATALOGUE, fingerprint="schema-2")
    elif what == "expiry":
        stage.clock.advance(24 * 3600)
        expected = GuardName.PLAN_EXPIRED
    elif what == "frozen":
        await stage.state.freeze("*", "olga", "audit", stage.clock.now())
        expected = GuardName.FROZEN
    elif what == "trigger":
        stage.data.catalogue_seen = replace(CATALOGUE, triggers=("bonus",))
        expected = GuardName.TRIGGERS_REVIEWED
    else:
        caps = {"rows": {"max_rows": 0}, "percent": {"max_percent": Decimal(0)}, "day": {"max_rows_per_day": 0}}
        rule = approve(guard=replace(ROOMY, **caps[what]))  # type: ignore[arg-type]  # the guard's own fields
        expected = {"rows": GuardName.MAX_ROWS, "percent": None, "day": GuardName.MAX_ROWS_PER_DAY}[what]  # type: ignore[assignment]  # one subject is never too many
    cycle = await stage.repair.apply(rule, stored, "olga")

    assert guard_of(cycle) is expected
    assert (stage.data.inserted == []) == (expected is not None)
    assert (await stage.state.runs() == []) == (expected is not None)


async def test_a_plan_made_on_another_database_is_stale(stage: Stage) -> None:
    stored = await planned(stage, approve())
    elsewhere = replace(stored.plan, id="elsewhere", database="db-0")
    await stage.state.save_plan(elsewhere, PlanStatus.APPROVED, "olga")
    found = await stage.state.plan("elsewhere")
    assert found is not None

    assert guard_of(await stage.repair.apply(approve(), found, "olga")) is GuardName.PLAN_STALE
    await nothing_was_written(stage)


async def test_a_plan_of_another_rule_of_equal_content_is_stale(stage: Stage) -> None:
    await planned(stage, approve())
    stored = await stage.approve_newest()

    assert guard_of(await stage.repair.apply(approve(name="a_copy"), stored, "olga")) is GuardName.PLAN_STALE


async def test_an_approved_plan_waits_for_no_second_confirmation_and_sees_required_checks_again(stage: Stage) -> None:
    await planned(stage, approve())
    stored = await stage.approve_newest()
    rule = approve(guard=replace(ROOMY, require_checks=("gone",)))

    assert (await stage.repair.apply(rule, stored, "olga")).outcome is Outcome.UNKNOWN
    await nothing_was_written(stage)


# Trust


async def test_an_auto_rule_with_a_changed_digest_waits_for_a_person_and_is_trusted_again_once_verified(
    stage: Stage,
) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(auto())
    edited = auto(digest="rule-digest-2")
    harm(stage.data, "bob")
    waiting = await stage.repair.tick(edited)

    assert (waiting.outcome, stage.data.inserted) == (Outcome.PLANNED, ["alice"])
    assert (await stage.apply_newest(edited)).outcome is Outcome.REPAIRED
    harm(stage.data, "carol")
    assert (await stage.repair.tick(edited)).outcome is Outcome.REPAIRED
    assert stage.data.inserted == ["alice", "bob", "carol"]
    harm(stage.data, "dave")
    assert (await stage.repair.tick(auto())).outcome is Outcome.PLANNED


async def test_a_changed_schema_of_the_target_takes_trust_away_too(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(auto())
    harm(stage.data, "bob")
    stage.data.catalogue_seen = replace(CATALOGUE, fingerprint="schema-2")

    assert (await stage.repair.tick(auto())).outcome is Outcome.PLANNED


async def test_a_plan_of_which_nothing_landed_earns_no_trust(stage: Stage) -> None:
    await stage.state.trust(RULE.name, "another digest", "olga", stage.clock.now())
    await stage.season()
    harm(stage.data, "alice")
    await stage.repair.tick(auto())
    stage.data.poison["alice"] = "23505"
    cycle = await stage.apply_newest(auto())

    assert (cycle.outcome, cycle.results) == (Outcome.PARTLY_REPAIRED, {RowResult.CONFLICT: 1})
    assert await stage.state.trusted(RULE.name) == "another digest"


async def test_the_first_sight_of_a_rule_is_what_later_ones_are_compared_with(stage: Stage) -> None:
    await stage.repair.tick(auto())

    assert await stage.state.trusted(RULE.name) == trust_digest(auto(), CATALOGUE)


# The lease


async def test_a_cycle_that_cannot_have_the_lease_of_its_table_is_refused_and_touches_nothing(stage: Stage) -> None:
    harm(stage.data, "alice")
    far = stage.clock.now() + timedelta(hours=1)
    await stage.state.acquire(TABLE, "other", TTL_SECONDS, far)
    cycle = await stage.repair.tick(auto())

    assert guard_of(cycle) is GuardName.RULE_BUSY
    assert cycle.refusal is not None
    assert cycle.refusal.value == f"another process works on {TABLE}"
    assert stage.data.calls == []
    assert stage.ended() == ["refused"]


async def test_the_lease_of_a_holder_that_died_is_waited_for(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.state.acquire(TABLE, "dead", TTL_SECONDS, stage.clock.now())

    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


async def test_two_rules_of_one_table_never_work_at_once(stage: Stage) -> None:
    inside = 0

    async def alone() -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0)
        inside -= 1

    stage.data.script["sight"].extend([alone] * 2)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stage.repair.tick(rule)) for rule in (auto(), auto(name="another"))]

    assert [task.result().outcome for task in tasks] == [Outcome.NOTHING_TO_DO] * 2
