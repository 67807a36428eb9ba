"""What a rule may conclude from looking, and that it looks at nothing while it cannot trust its sight."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from sidecar.domain.check import Verdict
from sidecar.domain.decide import GuardName
from sidecar.domain.event import LookFinished
from sidecar.domain.finding import FindingClass
from sidecar.domain.look import ProofFailure, Sighting, Unproven
from sidecar.domain.rule import Origin
from sidecar.domain.run import Outcome
from sidecar.engine.look import EXAMINED_PER_CAP, FACTS_AT_ONCE, Seen, blindness_of
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    LeaseLost,
    RateLimited,
    SchemaMismatch,
    SidecarError,
    StateUnavailable,
    TargetUnreachable,
    Unreached,
)
from tests.domain.cast import DETECT, GUARD, RULE, chain, rule_with
from tests.engine.cast import ROOMY, Stage, approve, auto, harm, keys_of
from tests.fakes import START, After, FakeProbe


def watched(stage: Stage, probe: FakeProbe) -> Stage:
    return stage.beside("watched", probe=probe)


async def test_a_required_check_that_saw_nothing_leaves_data_untouched_and_the_outcome_unknown(stage: Stage) -> None:
    harm(stage.data, "alice")
    probe = FakeProbe(Verdict.UNKNOWN, reason="rate_limited")
    probe.retry_after_seconds = 42.0
    blind = watched(stage, probe)
    cycle = await blind.repair.backfill(auto(), "olga")

    assert (cycle.outcome, cycle.detail) == (Outcome.UNKNOWN, "check_unknown: service-key: rate_limited")
    assert cycle.retry_after_seconds == 42.0
    assert stage.data.calls == []
    assert [(e.failure, e.violations, e.counts) for e in blind.reporter.told(LookFinished)] == [
        (ProofFailure.CHECK_UNKNOWN, None, None)
    ]


async def test_a_required_check_that_is_not_configured_leaves_data_untouched(stage: Stage) -> None:
    harm(stage.data, "alice")
    rule = auto(guard=replace(ROOMY, require_checks=("service-key", "no-such-check")))
    cycle = await stage.repair.tick(rule)

    assert (cycle.outcome, cycle.detail) == (Outcome.UNKNOWN, "check_unknown: no-such-check: not configured")
    assert stage.data.calls == []


async def test_an_unhealthy_required_check_refuses_and_leaves_data_untouched(stage: Stage) -> None:
    harm(stage.data, "alice")
    blind = watched(stage, FakeProbe(Verdict.UNHEALTHY, reason="key_expired"))
    cycle = await blind.repair.backfill(auto(), "olga")

    assert cycle.outcome is Outcome.REFUSED
    assert cycle.refusal is not None
    assert cycle.refusal.guard is GuardName.REQUIRE_CHECKS
    assert cycle.refusal.value == "service-key is unhealthy: key_expired"
    assert stage.data.calls == []
    assert [e.failure for e in blind.reporter.told(LookFinished)] == [ProofFailure.CHECK_UNHEALTHY]


async def test_a_check_is_asked_in_every_look_and_not_only_in_the_first(stage: Stage) -> None:
    harm(stage.data, "alice")
    fading = watched(stage, FakeProbe(Verdict.HEALTHY, Verdict.UNKNOWN))
    cycle = await fading.repair.backfill(rule_with(guard=ROOMY), "olga")

    assert cycle.outcome is Outcome.UNKNOWN
    assert stage.data.inserted == []


async def test_a_standing_verdict_of_the_past_does_not_stand_in_for_a_look_of_now(stage: Stage) -> None:
    probe = FakeProbe(Verdict.HEALTHY, Verdict.UNHEALTHY)
    later = watched(stage, probe)
    await later.repair.tick(auto())
    harm(stage.data, "alice")
    cycle = await later.repair.tick(auto())

    assert (cycle.outcome, probe.looks) == (Outcome.REFUSED, 2)


async def test_a_rule_without_required_checks_looks_all_the_same(stage: Stage) -> None:
    cycle = await stage.repair.tick(auto(guard=replace(ROOMY, require_checks=())))

    assert cycle.outcome is Outcome.NOTHING_TO_DO


@pytest.mark.parametrize(
    ("error", "failure", "wait_seconds"),
    [
        (TargetUnreachable(Unreached.CUT_OFF, "half a body"), ProofFailure.UNREACHABLE, None),
        (RateLimited("503", 7.0), ProofFailure.UNREACHABLE, 7.0),
        (AccessDenied("401"), ProofFailure.ACCESS_DENIED, None),
        (AnswerMalformed("HTML"), ProofFailure.ANSWER_MALFORMED, None),
    ],
)
@pytest.mark.parametrize("method", ["sight", "facts"])
async def test_what_data_raises_while_looking_leaves_the_rule_blind(
    stage: Stage, error: SidecarError, failure: ProofFailure, wait_seconds: float | None, method: str
) -> None:
    harm(stage.data, "alice")
    stage.data.script[method].append(error)
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.retry_after_seconds) == (Outcome.UNKNOWN, wait_seconds)
    assert cycle.detail.startswith(f"{failure}: ")
    assert stage.data.inserted == []
    assert [(e.failure, e.violations) for e in stage.reporter.told(LookFinished)] == [(failure, None)]


@pytest.mark.parametrize(
    ("text", "guard"),
    [
        ("public.users has no column credits_balance", GuardName.SCHEMA_MISMATCH),
        ("key_type_unsupported: over REST the key must be a uuid", GuardName.KEY_TYPE_UNSUPPORTED),
    ],
)
@pytest.mark.parametrize("method", ["sight", "facts"])
async def test_a_table_or_column_that_does_not_exist_is_refused_by_name(
    stage: Stage, text: str, guard: GuardName, method: str
) -> None:
    harm(stage.data, "alice")
    stage.data.script[method].append(SchemaMismatch(text))
    cycle = await stage.repair.tick(auto())

    assert cycle.refusal is not None
    assert (cycle.refusal.guard, cycle.refusal.value) == (guard, text)
    assert [e.failure for e in stage.reporter.told(LookFinished)] == [ProofFailure.SCHEMA_MISMATCH]


@pytest.mark.parametrize("error", [StateUnavailable("locked"), LeaseLost("gone")])
def test_what_is_not_about_sight_is_not_taken_for_blindness(error: SidecarError) -> None:
    with pytest.raises(type(error)):
        blindness_of(error)


async def test_a_read_that_proves_nothing_publishes_no_count_and_writes_nothing(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.unproven.append(Unproven(failure=ProofFailure.COUNT_MISMATCH, detail="99 of 100"))
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.seen) == (Outcome.UNKNOWN, None)
    assert [(e.violations, e.counts) for e in stage.reporter.told(LookFinished)] == [(None, None)]
    assert stage.data.inserted == []


async def test_a_read_that_shrank_too_much_is_not_believed_nor_is_it_the_next_baseline(stage: Stage) -> None:
    harm(stage.data, *keys_of(10))
    observe = auto(guard=replace(ROOMY, max_rows=1))
    await stage.repair.tick(observe)
    stage.data.extra_rows = 10
    first = await stage.repair.tick(auto())
    second = await stage.repair.tick(auto())

    assert {first.outcome, second.outcome} == {Outcome.UNKNOWN}
    assert first.detail.startswith("count_changed: public.users shrank from 990 to 10")
    assert stage.data.inserted == []
    await stage.state.drop_baseline(RULE.name, "olga", stage.clock.now())
    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


async def test_another_database_is_not_believed(stage: Stage) -> None:
    await stage.repair.tick(auto())
    harm(stage.data, "alice")
    stage.data.database = "restored copy"

    assert (await stage.repair.tick(auto())).detail.startswith("database_changed: ")


async def test_a_row_is_repaired_only_once_two_proven_looks_in_a_row_saw_it(stage: Stage) -> None:
    rule = rule_with(guard=ROOMY)
    harm(stage.data, "alice")
    first = await stage.repair.tick(rule)

    assert (first.outcome, first.seen and first.seen.classes) == (Outcome.NOTHING_TO_DO, {"unconfirmed": 1})
    assert first.seen is not None
    assert (first.seen.deferred, first.seen.held) == (1, {})
    stage.data.unproven.append(Unproven(failure=ProofFailure.CANARY_UNSEEN, detail="0 rows"))
    assert (await stage.repair.tick(rule)).outcome is Outcome.UNKNOWN
    harm(stage.data, "bob")
    second = await stage.repair.tick(rule)
    assert second.outcome is Outcome.REPAIRED
    assert stage.data.inserted == ["alice"]


async def test_a_row_that_was_well_in_between_starts_to_be_confirmed_anew(stage: Stage) -> None:
    rule = rule_with(guard=ROOMY)
    harm(stage.data, "alice")
    await stage.repair.tick(rule)
    stage.data.rows["alice"] = {"id": "alice"}
    await stage.repair.tick(rule)
    del stage.data.rows["alice"]

    assert (await stage.repair.tick(rule)).outcome is Outcome.NOTHING_TO_DO
    assert (await stage.repair.tick(rule)).outcome is Outcome.REPAIRED


async def test_a_person_who_waits_gets_the_confirming_looks_at_once(stage: Stage) -> None:
    harm(stage.data, "alice")
    cycle = await stage.repair.once(rule_with(guard=ROOMY), "olga")

    assert cycle.outcome is Outcome.REPAIRED
    assert cycle.seen is not None
    assert (cycle.seen.looks, len(stage.data.made("sight"))) == (2, 2)


async def test_young_evidence_is_seen_and_deferred(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.ledger_rows["alice"] = tuple(
        replace(row, created_at=START - timedelta(minutes=1)) for row in chain(1000, 200)
    )
    stage.data.young = ["alice"]
    cycle = await stage.repair.tick(auto())

    assert cycle.seen is not None
    assert (cycle.outcome, cycle.seen.classes) == (Outcome.NOTHING_TO_DO, {"too_young": 1})


async def test_rows_that_need_a_person_are_quarantined_with_their_reason_and_judged_anew_each_time(
    stage: Stage,
) -> None:
    harm(stage.data, *keys_of(4))
    del stage.data.subjects["user-0001"]
    stage.data.ledger_rows["user-0002"] = ()
    stage.data.emails_taken.add("user-0003")
    cycle = await stage.repair.detect(auto())

    assert cycle.seen is not None
    assert cycle.seen.held == {"email_taken": 1, "no_evidence": 1, "subject_gone": 1}
    held = {row.key: (row.reason, row.source) for row in await stage.state.held(RULE.name, stage.clock.now())}
    assert held == {
        "user-0001": ("subject_gone", "look"),
        "user-0002": ("no_evidence", "look"),
        "user-0003": ("email_taken", "look"),
    }
    stage.data.emails_taken.clear()
    await stage.repair.detect(auto())
    assert {row.key for row in await stage.state.held(RULE.name, stage.clock.now())} == {"user-0001", "user-0002"}


async def test_a_row_that_was_refused_in_a_run_is_held_until_its_time_and_counted(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    until = stage.clock.now() + timedelta(hours=24)
    await stage.state.hold(RULE.name, {"user-0000": "conflict:23505"}, "run", stage.clock.now(), until)
    first = await stage.repair.tick(auto())

    assert first.seen is not None
    assert first.seen.classes == {"repairable": 1, "write_rejected": 1}
    assert stage.data.inserted == ["user-0001"]
    stage.clock.advance(24 * 3600)
    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED
    assert stage.data.inserted == ["user-0001", "user-0000"]


async def test_a_held_row_that_is_not_repairable_anyway_keeps_its_own_reason(stage: Stage) -> None:
    harm(stage.data, "alice")
    del stage.data.subjects["alice"]
    await stage.state.hold(RULE.name, {"alice": "conflict:23505"}, "run", stage.clock.now(), None)
    cycle = await stage.repair.tick(auto())

    assert cycle.seen is not None
    assert cycle.seen.classes == {"subject_gone": 1}


async def test_a_row_held_by_another_rule_is_not_held_by_this_one(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.state.hold("another", {"alice": "conflict:23505"}, "run", stage.clock.now(), None)

    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


async def test_more_candidates_than_a_repair_may_ever_touch_are_counted_unread_and_refused(stage: Stage) -> None:
    rule = auto(guard=replace(ROOMY, max_rows=2))
    harm(stage.data, *keys_of(2 * EXAMINED_PER_CAP))
    assert (await stage.repair.detect(rule)).seen is not None
    assert stage.data.made("facts")
    stage.data.calls.clear()
    harm(stage.data, "one more")
    cycle = await stage.repair.backfill(rule, "olga")

    assert cycle.refusal is not None
    assert (cycle.refusal.guard, cycle.refusal.value) == (GuardName.MAX_ROWS, f"{2 * EXAMINED_PER_CAP + 1} rows")
    assert cycle.seen is not None
    assert cycle.seen.classes == {"unexamined": 2 * EXAMINED_PER_CAP + 1}
    assert stage.data.made("facts") == []


async def test_a_mass_that_nobody_read_leaves_the_quarantine_as_it_was(stage: Stage) -> None:
    """Judging one mass of 20,000 took the square of that in steps once: minutes."""
    harm(stage.data, "alice")
    del stage.data.subjects["alice"]
    await stage.repair.detect(auto())
    harm(stage.data, *keys_of(20_000))
    cycle = await stage.repair.tick(auto(guard=replace(ROOMY, max_rows=1)))

    assert cycle.refusal is not None
    assert cycle.refusal.guard is GuardName.MAX_ROWS
    assert [row.key for row in await stage.state.held(RULE.name, stage.clock.now())] == ["alice"]


async def test_values_that_rest_on_a_forgeable_ledger_are_counted_and_held_as_such(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.catalogue_seen = replace(stage.data.catalogue_seen, ledger_writers=("authenticated",))
    cycle = await stage.repair.tick(auto())

    assert cycle.refusal is not None
    assert cycle.refusal.guard is GuardName.LEDGER_FORGEABLE
    assert stage.reporter.told(LookFinished)[-1].violations == {"ledger_forgeable": 1}
    assert [row.reason for row in await stage.state.held(RULE.name, stage.clock.now())] == ["ledger_forgeable"]


async def test_a_forgeable_row_that_is_not_confirmed_yet_only_needs_time(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.catalogue_seen = replace(stage.data.catalogue_seen, ledger_writers=("authenticated",))
    cycle = await stage.repair.tick(rule_with(guard=ROOMY))

    assert cycle.seen is not None
    assert (cycle.outcome, cycle.seen.classes) == (Outcome.NOTHING_TO_DO, {"unconfirmed": 1})


async def test_facts_are_read_in_pieces(stage: Stage) -> None:
    harm(stage.data, *keys_of(FACTS_AT_ONCE + 1))
    await stage.repair.detect(auto())

    assert [len(keys) for keys in stage.data.made("facts")] == [FACTS_AT_ONCE, 1]


async def test_a_profile_that_comes_to_exist_while_looking_is_no_finding(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.script["facts"].append(lambda: stage.data.rows.update(alice={"id": "alice"}))
    cycle = await stage.repair.tick(auto())

    assert cycle.seen is not None
    assert (cycle.outcome, cycle.seen.classes) == (Outcome.NOTHING_TO_DO, {})


async def test_balances_seen_in_a_look_that_proved_nothing_are_no_evidence(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.ledger_rows["alice"] = chain(7)
    stage.data.snapshots = [("alice", 5000)]
    stage.data.script["sight"].append(After(error=TargetUnreachable(Unreached.CUT_OFF, "half")))
    assert (await stage.repair.tick(auto())).outcome is Outcome.UNKNOWN
    stage.data.snapshots = []
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.REPAIRED
    assert stage.data.rows["alice"]["credits_balance"] == 7


async def test_an_attestation_ranks_above_what_the_ledger_says(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.state.attest("public.users", "alice", Decimal("3.50"), "ticket 7", "olga", stage.clock.now())
    cycle = await stage.repair.tick(auto())

    assert cycle.plan is not None
    assert cycle.plan.rows[0].origins["credits_balance"] == f"balance:{Origin.ATTESTED}"
    assert stage.data.rows["alice"]["credits_balance"] == Decimal("3.50")


async def test_a_look_told_says_what_it_covered_and_how_old_the_oldest_damage_is(stage: Stage) -> None:
    harm(stage.data, "alice")
    await stage.repair.detect(auto())
    told = stage.reporter.told(LookFinished)[-1]

    assert (told.failure, told.violations) == (None, {"repairable": 1})
    assert told.counts is not None
    assert told.counts.subjects == 1000
    assert told.oldest_at == chain(1)[0].created_at


async def test_looking_zero_times_is_not_having_looked(stage: Stage) -> None:
    sight = await stage.looker.sight(auto(), looks=0)

    assert isinstance(sight, Unproven)


async def test_what_a_look_found_is_judged_by_the_proof_it_came_with(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.catalogue_seen = replace(stage.data.catalogue_seen, ledger_writers=("authenticated",))
    sighting = await stage.looker.sight(approve(), looks=1)
    assert isinstance(sighting, Sighting)
    seen = await stage.looker.examine(approve(), sighting, plan_id="p", looks=1, typed=False)

    assert isinstance(seen, Seen)
    assert [(one.kind, one.forgeable) for one in seen.findings] == [(FindingClass.REPAIRABLE, True)]
    assert (DETECT.confirmations, GUARD.max_rows) == (2, 500)
