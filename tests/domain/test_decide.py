"""Every guard of a decision, at its boundary; and that what is not known never proceeds."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.check import Observation, Verdict
from sidecar.domain.decide import (
    Decision,
    GuardName,
    Nothing,
    Proceed,
    Refuse,
    Situation,
    decide,
    judge_checks,
    judge_plan,
    judge_read,
    mark_unconfirmed,
    oldest,
    percent_cap,
    separate_forgeable,
)
from sidecar.domain.finding import Finding, FindingClass
from sidecar.domain.look import Baseline, Catalogue, Column, Counts, ProofFailure, Unproven
from sidecar.domain.plan import Plan
from sidecar.domain.rule import Mode, Rule
from tests.domain.cast import (
    CATALOGUE,
    DETECT,
    GUARD,
    LONG_AGO,
    NOW,
    PROOF,
    REPAIR,
    RULE,
    SITUATION,
    a_plan,
    finding,
    findings,
    observation,
    rule_with,
)


def guard_of(decision: Decision | Unproven | None) -> GuardName | None:
    return decision.guard if isinstance(decision, Refuse) else None


def rows_of(decision: Decision) -> Sequence[Finding]:
    assert isinstance(decision, Proceed)
    return decision.rows


# What a decision comes to


def test_repairable_rows_proceed_and_in_auto_the_guards_themselves_approve() -> None:
    assert decide(RULE, findings(3), SITUATION) == Proceed(rows=findings(3), automatic=True)


def test_a_plan_waits_for_a_person_in_approve_and_wherever_the_rule_is_not_trusted() -> None:
    approve = rule_with(mode=Mode.APPROVE)

    assert decide(approve, findings(1), SITUATION) == Proceed(rows=findings(1), automatic=False)
    assert decide(RULE, findings(1), replace(SITUATION, trusted=False)) == Proceed(rows=findings(1), automatic=False)


def test_a_person_who_types_backfill_approves() -> None:
    typed = replace(SITUATION, typed=True, trusted=False)

    assert decide(rule_with(mode=Mode.APPROVE), findings(1), typed) == Proceed(rows=findings(1), automatic=True)


@pytest.mark.parametrize(
    "kind",
    sorted(set(FindingClass) - {FindingClass.REPAIRABLE, FindingClass.LEDGER_FORGEABLE, FindingClass.UNEXAMINED}),
)
def test_findings_that_nobody_may_repair_are_never_among_the_rows(kind: FindingClass) -> None:
    assert decide(RULE, findings(9, kind), SITUATION) == Nothing()
    assert rows_of(decide(RULE, [*findings(9, kind), finding()], SITUATION)) == [finding()]


def test_nothing_found_is_nothing_to_do_in_every_mode_and_never_everything() -> None:
    for mode in Mode:
        assert decide(rule_with(mode=mode), [], replace(SITUATION, frozen="olga", typed=True)) == Nothing()


def test_a_rule_that_observes_never_proceeds_typed_or_not() -> None:
    for typed in (False, True):
        refusal = decide(rule_with(mode=Mode.OBSERVE), findings(1), replace(SITUATION, typed=typed))

        assert refusal == Refuse(
            guard=GuardName.MODE, value="observe", limit="approve or auto", hint="the rule only watches"
        )


def test_a_freeze_refuses_and_says_whose_it_is() -> None:
    refusal = decide(RULE, findings(1), replace(SITUATION, frozen="olga froze everything: audit"))

    assert refusal == Refuse(
        guard=GuardName.FROZEN,
        value="olga froze everything: audit",
        limit="not frozen",
        hint="lift it with: sidecar unfreeze; a paused run with: sidecar resume",
    )


# How many rows


def test_one_row_more_than_max_rows_refuses() -> None:
    rule = rule_with(guard=replace(GUARD, max_rows=3, max_percent=Decimal(100)))

    assert len(rows_of(decide(rule, findings(3), SITUATION))) == 3
    assert guard_of(decide(rule, findings(4), SITUATION)) is GuardName.MAX_ROWS


@pytest.mark.parametrize(
    ("subjects", "cap"), [(0, 1), (1, 1), (6, 1), (199, 1), (200, 1), (201, 1), (399, 1), (400, 2), (401, 2), (599, 2)]
)
def test_the_percent_cap_is_rounded_down_and_never_below_one(subjects: int, cap: int) -> None:
    situation = replace(SITUATION, subjects=subjects)

    assert percent_cap(Decimal("0.5"), subjects) == cap
    assert len(rows_of(decide(RULE, findings(cap), situation))) == cap
    assert guard_of(decide(RULE, findings(cap + 1), situation)) is GuardName.MAX_PERCENT


@pytest.mark.parametrize(
    ("percent", "subjects", "cap"),
    [("100", 7, 7), ("33.4", 3, 1), ("66.6", 3, 1), ("66.7", 3, 2), ("0.0001", 999_999, 1), ("0.0001", 2_000_000, 2)],
)
def test_the_percent_cap_is_exact(percent: str, subjects: int, cap: int) -> None:
    assert percent_cap(Decimal(percent), subjects) == cap


def test_rows_of_the_last_day_count_rows_in_flight_included() -> None:
    rule = rule_with(guard=replace(GUARD, max_rows_per_day=10))

    assert len(rows_of(decide(rule, findings(4), replace(SITUATION, rows_today=6)))) == 4
    assert guard_of(decide(rule, findings(4), replace(SITUATION, rows_today=7))) is GuardName.MAX_ROWS_PER_DAY
    assert guard_of(decide(rule, findings(1), replace(SITUATION, rows_today=10))) is GuardName.MAX_ROWS_PER_DAY


def test_candidates_that_nobody_examined_count_against_the_cap() -> None:
    rule = rule_with(guard=replace(GUARD, max_rows=3, max_percent=Decimal(100)))
    mass = findings(4, FindingClass.UNEXAMINED)

    assert guard_of(decide(rule, mass, SITUATION)) is GuardName.MAX_ROWS
    assert guard_of(decide(rule, [*findings(1), *mass[:3]], SITUATION)) is GuardName.MAX_ROWS


def test_a_refusal_over_an_amount_says_value_and_limit() -> None:
    small = replace(SITUATION, subjects=201)
    refusal = decide(RULE, findings(2), small)

    assert isinstance(refusal, Refuse)
    assert (refusal.value, refusal.limit) == ("2 rows", "1 rows (0.5 % of 201 subjects)")
    over = decide(rule_with(guard=replace(GUARD, max_rows_per_day=5)), findings(2), replace(SITUATION, rows_today=4))
    assert isinstance(over, Refuse)
    assert (over.value, over.limit) == ("2 rows on top of 4 in 24 hours", "5 rows")


# What the ledger is worth


def test_values_that_rest_on_a_ledger_users_may_write_stay_out_of_everything_automatic() -> None:
    mixed = [finding("a", forgeable=True), finding("b"), finding("c", FindingClass.TOO_YOUNG)]
    separated = [
        Finding(key="a", kind=FindingClass.LEDGER_FORGEABLE, oldest_at=LONG_AGO, evidence="e1", forgeable=True),
        *mixed[1:],
    ]

    assert separate_forgeable(mixed, Mode.AUTO, typed=False) == tuple(separated)
    assert separate_forgeable(mixed, Mode.AUTO, typed=True) == tuple(separated)
    assert separate_forgeable(mixed, Mode.APPROVE, typed=True) == tuple(separated)
    assert separate_forgeable(mixed, Mode.APPROVE, typed=False) == tuple(mixed)
    assert rows_of(decide(RULE, separated, SITUATION)) == [mixed[1]]


@pytest.mark.parametrize(
    ("writers", "who"), [(("anon", "authenticated"), "anon, authenticated"), ((), "somebody not visible from here")]
)
def test_where_only_forgeable_rows_are_left_the_refusal_names_who_may_write(writers: tuple[str, ...], who: str) -> None:
    situation = replace(SITUATION, catalogue=replace(CATALOGUE, ledger_writers=writers))
    refusal = decide(RULE, findings(2, FindingClass.LEDGER_FORGEABLE), situation)

    assert isinstance(refusal, Refuse)
    assert refusal.guard is GuardName.LEDGER_FORGEABLE
    assert refusal.value == f"2 rows rest on a ledger that {who} may write"
    assert refusal.hint == f"revoke it, or review a plan by hand: sidecar plan {RULE.name}"


# What the catalogue shows


def seen(catalogue: Catalogue, rule: Rule = RULE) -> GuardName | None:
    return guard_of(decide(rule, findings(1), replace(SITUATION, catalogue=catalogue)))


def test_a_catalogue_that_is_not_visible_refuses_auto_and_leaves_approve_to_a_person() -> None:
    unseen = Catalogue(visible=False)

    assert seen(unseen) is GuardName.CATALOGUE_NOT_VISIBLE
    assert seen(unseen, rule_with(mode=Mode.APPROVE)) is None


@pytest.mark.parametrize("part", ["ledger", "expects"])
def test_auto_needs_a_created_column_on_both_sides(part: str) -> None:
    without = replace(getattr(DETECT, part), created=None)
    detect = replace(DETECT, **{part: without})

    assert seen(CATALOGUE, rule_with(detect=detect)) is GuardName.NO_CREATED_COLUMN
    assert seen(CATALOGUE, rule_with(detect=detect, mode=Mode.APPROVE)) is None


def test_a_column_that_is_gone_refuses_by_name() -> None:
    fewer = replace(CATALOGUE, columns=CATALOGUE.columns[1:])
    refusal = decide(RULE, findings(1), replace(SITUATION, catalogue=fewer))

    assert isinstance(refusal, Refuse)
    assert (refusal.guard, refusal.value) == (GuardName.COLUMN_MISSING, "id")


@pytest.mark.parametrize("uniques", [(), (("email",),), (("id", "email"),)])
def test_a_key_that_does_not_keep_rows_apart_by_itself_refuses(uniques: tuple[tuple[str, ...], ...]) -> None:
    assert seen(replace(CATALOGUE, uniques=uniques)) is GuardName.KEY_NOT_UNIQUE


def test_a_trigger_that_nobody_reviewed_refuses_by_name() -> None:
    armed = replace(CATALOGUE, triggers=("bonus", "audit"))
    reviewed = rule_with(guard=replace(GUARD, triggers_reviewed=frozenset({"audit"})))
    refusal = decide(reviewed, findings(1), replace(SITUATION, catalogue=armed))

    assert isinstance(refusal, Refuse)
    assert (refusal.guard, refusal.value) == (GuardName.TRIGGERS_REVIEWED, "bonus")
    both = rule_with(guard=replace(GUARD, triggers_reviewed=frozenset({"audit", "bonus", "gone"})))
    assert seen(armed, both) is None


def test_a_column_that_is_neither_written_nor_accepted_refuses_by_name() -> None:
    columns = (*CATALOGUE.columns, Column(name="plan", type="text", nullable=False, default="'free'"))
    refusal = decide(RULE, findings(1), replace(SITUATION, catalogue=replace(CATALOGUE, columns=columns)))

    assert isinstance(refusal, Refuse)
    assert (refusal.guard, refusal.value) == (GuardName.DEFAULTS_ACCEPTED, "plan")
    assert seen(CATALOGUE, rule_with(repair=replace(REPAIR, defaults_accepted=frozenset()))) is (
        GuardName.DEFAULTS_ACCEPTED
    )


def test_the_schema_is_judged_for_a_person_too() -> None:
    typed = replace(SITUATION, typed=True, catalogue=replace(CATALOGUE, triggers=("bonus",)))

    assert guard_of(decide(rule_with(mode=Mode.APPROVE), findings(1), typed)) is GuardName.TRIGGERS_REVIEWED


def test_refusals_come_in_their_order_what_forbids_writing_before_what_bounds_it() -> None:
    everything = replace(SITUATION, frozen="olga", catalogue=replace(CATALOGUE, triggers=("bonus",)), rows_today=9999)
    rule = rule_with(mode=Mode.OBSERVE, guard=replace(GUARD, max_rows=1))
    many = findings(9)
    order = [guard_of(decide(rule, many, everything))]
    rule = replace(rule, mode=Mode.AUTO)
    order.append(guard_of(decide(rule, many, everything)))
    everything = replace(everything, frozen=None)
    order.append(guard_of(decide(rule, many, everything)))
    everything = replace(everything, catalogue=CATALOGUE)
    order.append(guard_of(decide(rule, many, everything)))
    rule = rule_with()
    order.append(guard_of(decide(rule, many, everything)))
    order.append(guard_of(decide(rule, findings(5), everything)))

    assert order == [
        GuardName.MODE,
        GuardName.FROZEN,
        GuardName.TRIGGERS_REVIEWED,
        GuardName.MAX_ROWS,
        GuardName.MAX_PERCENT,
        GuardName.MAX_ROWS_PER_DAY,
    ]


# Whatever comes


situations = st.builds(
    Situation,
    catalogue=st.sampled_from(
        [CATALOGUE, Catalogue(visible=False), replace(CATALOGUE, triggers=("t",)), replace(CATALOGUE, uniques=())]
    ),
    subjects=st.integers(0, 3000),
    rows_today=st.integers(0, 12),
    frozen=st.one_of(st.none(), st.none(), st.just("olga")),
    trusted=st.booleans(),
    typed=st.booleans(),
)
kinds_of_findings = st.one_of(st.just(FindingClass.REPAIRABLE), st.sampled_from(FindingClass))
any_findings = st.lists(kinds_of_findings, max_size=14).map(
    lambda kinds: [finding(f"user-{place}", kind) for place, kind in enumerate(kinds)]
)


@given(any_findings, situations, st.sampled_from(Mode), st.integers(1, 10), st.integers(1, 15))
def test_what_proceeds_is_repairable_and_within_every_cap(
    many: list[Finding], situation: Situation, mode: Mode, max_rows: int, max_rows_per_day: int
) -> None:
    guard = replace(GUARD, max_rows=max_rows, max_rows_per_day=max_rows_per_day)
    rule = rule_with(mode=mode, guard=guard)
    decision = decide(rule, many, situation)
    repairable = [one for one in many if one.kind is FindingClass.REPAIRABLE]

    if isinstance(decision, Proceed):
        assert mode is not Mode.OBSERVE
        assert situation.frozen is None
        assert decision.rows == repairable
        assert 1 <= len(decision.rows) <= min(max_rows, max(1, situation.subjects // 200))
        assert situation.rows_today + len(decision.rows) <= max_rows_per_day
        assert not decision.automatic or situation.typed or (mode is Mode.AUTO and situation.trusted)
        assert not situation.catalogue.triggers
        assert not (situation.catalogue.visible and not situation.catalogue.uniques)
        assert situation.catalogue.visible or mode is Mode.APPROVE
    elif isinstance(decision, Nothing):
        assert not repairable


# Confirmation


def test_a_row_not_seen_often_enough_is_unconfirmed_and_keeps_no_values() -> None:
    many = [finding("once"), finding("twice"), finding("never"), finding("young", FindingClass.TOO_YOUNG)]
    marked = mark_unconfirmed(RULE, many, {"once": 1, "twice": 2, "young": 0})

    assert [one.kind for one in marked] == [
        FindingClass.UNCONFIRMED,
        FindingClass.REPAIRABLE,
        FindingClass.UNCONFIRMED,
        FindingClass.TOO_YOUNG,
    ]
    assert (marked[0].values, marked[0].evidence, marked[0].oldest_at) == ({}, "e1", LONG_AGO)
    assert marked[1] == many[1]


def test_one_confirmation_is_enough_where_the_rule_asks_for_one() -> None:
    rule = rule_with(detect=replace(DETECT, confirmations=1))

    assert mark_unconfirmed(rule, [finding("once")], {"once": 1}) == (finding("once"),)


# Required checks


@pytest.mark.parametrize(
    "look", [None, observation(Verdict.UNKNOWN, "rate_limited")], ids=["did not look", "looked and saw nothing"]
)
def test_a_required_check_that_did_not_see_leaves_the_rule_blind(look: Observation | None) -> None:
    barred = judge_checks(RULE, {"service-key": look} if look else {})

    assert isinstance(barred, Unproven)
    assert barred.failure is ProofFailure.CHECK_UNKNOWN
    assert barred.detail == f"service-key: {look.reason if look else 'not configured'}"


def test_what_a_blind_check_was_asked_to_wait_is_handed_on() -> None:
    limited = replace(observation(Verdict.UNKNOWN, "rate_limited"), retry_after_seconds=42.0)

    assert judge_checks(RULE, {"service-key": limited}) == Unproven(
        failure=ProofFailure.CHECK_UNKNOWN, detail="service-key: rate_limited", retry_after_seconds=42.0
    )


def test_a_required_check_that_is_unhealthy_refuses_by_name_and_reason() -> None:
    refusal = judge_checks(RULE, {"service-key": observation(Verdict.UNHEALTHY, "key_expired")})

    assert isinstance(refusal, Refuse)
    assert (refusal.guard, refusal.value) == (GuardName.REQUIRE_CHECKS, "service-key is unhealthy: key_expired")


@given(st.lists(st.one_of(st.none(), st.sampled_from(Verdict)), min_size=1, max_size=4))
def test_only_checks_that_are_all_healthy_let_a_rule_look(verdicts: list[Verdict | None]) -> None:
    names = tuple(f"check-{place}" for place in range(len(verdicts)))
    looks = {name: observation(verdict, check=name) for name, verdict in zip(names, verdicts, strict=True) if verdict}
    rule = rule_with(guard=replace(GUARD, require_checks=names))

    assert (judge_checks(rule, looks) is None) == all(verdict is Verdict.HEALTHY for verdict in verdicts)


# The read


def counts(ledger: int = 1000, expected: int = 1000, subjects: int = 1000) -> Counts:
    return Counts(ledger_rows=ledger, expected_rows=expected, subjects=subjects)


BASELINE = Baseline(counts=counts(), database="db-1", taken_at=NOW)


def failure(found: Counts, baseline: Baseline | None = BASELINE, *, database: str = "db-1") -> ProofFailure | None:
    unproven = judge_read(RULE, found, database, baseline)
    return unproven.failure if unproven else None


def test_a_read_like_the_last_one_and_a_first_read_are_believed() -> None:
    assert failure(counts()) is None
    assert failure(counts(), None) is None
    assert failure(counts(ledger=0, expected=0, subjects=1), None) is None


@pytest.mark.parametrize("baseline", [None, BASELINE])
def test_no_subjects_at_all_are_never_believed(baseline: Baseline | None) -> None:
    assert failure(counts(subjects=0), baseline) is ProofFailure.BELOW_FLOOR


def test_an_empty_table_beside_a_ledger_that_is_not_is_never_believed() -> None:
    shrinking = Baseline(counts=counts(expected=0), database="db-1", taken_at=NOW)

    assert failure(counts(expected=0), None) is ProofFailure.BELOW_FLOOR
    assert failure(counts(expected=0), shrinking) is ProofFailure.BELOW_FLOOR


@pytest.mark.parametrize("part", ["ledger", "expected", "subjects"])
def test_a_count_may_shrink_by_the_maximum_change_and_not_by_one_row_more(part: str) -> None:
    assert failure(counts(**{part: 800})) is None
    assert failure(counts(**{part: 799})) is ProofFailure.COUNT_CHANGED
    assert failure(counts(**{part: 5000})) is None


def test_a_shrunk_table_is_named_with_both_counts() -> None:
    unproven = judge_read(RULE, counts(expected=10), "db-1", BASELINE)

    assert unproven is not None
    assert unproven.detail.startswith("public.users shrank from 1000 to 10, more than 20 %; ")


def test_another_database_than_last_time_is_not_believed_before_a_person_accepts_it() -> None:
    assert failure(counts(), database="db-2") is ProofFailure.DATABASE_CHANGED


# A plan


def judged(plan: Plan, *, now: datetime = NOW, rule: Rule = RULE) -> GuardName | None:
    return guard_of(judge_plan(plan, rule, PROOF, now))


def test_a_plan_holds_until_the_instant_of_its_expiry() -> None:
    plan = a_plan()

    assert judged(plan, now=plan.expires_at - timedelta(microseconds=1)) is None
    assert judged(plan, now=plan.expires_at) is GuardName.PLAN_EXPIRED


@pytest.mark.parametrize("part", ["rule", "rule_digest", "schema_fingerprint", "database"])
def test_a_plan_about_another_rule_schema_or_database_is_stale(part: str) -> None:
    changed = replace(a_plan(), **{part: "another"})  # type: ignore[arg-type]  # each of them is a text

    assert judged(changed) is GuardName.PLAN_STALE


def test_a_refused_plan_says_what_changed_and_how_to_go_on() -> None:
    refusal = judge_plan(replace(a_plan(), database="db-0"), RULE, PROOF, NOW)

    assert refusal == Refuse(
        guard=GuardName.PLAN_STALE,
        value="the database changed since plan plan-1 was made",
        limit="the same database",
        hint=f"make a new one: sidecar plan {RULE.name}",
    )


def test_the_oldest_instant_is_that_of_the_oldest_evidence_or_there_is_none() -> None:
    dateless = replace(finding("a"), oldest_at=None)

    assert oldest([dateless, finding("b"), replace(finding("c"), oldest_at=NOW)]) == LONG_AGO
    assert oldest([dateless]) is None
    assert oldest([]) is None
