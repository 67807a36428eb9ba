"""Each class of finding, in the order in which it is judged, and the values of a row that may be repaired."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest

from sidecar.domain.check import JSON
from sidecar.domain.finding import Finding, FindingClass, classify, evidence_digest, horizon
from sidecar.domain.look import Facts
from sidecar.domain.rule import Constant, FromBalance, FromSubject, OnMissing, Origin, Rule, Skip
from tests.domain.cast import (
    ALICE,
    DETECT,
    HORIZON,
    LONG_AGO,
    NOW,
    REPAIR,
    RULE,
    anchor,
    chain,
    facts,
    ledger_row,
    rule_with,
    subject,
)


def judge(found: Facts, rule: Rule = RULE, *, ledger_forgeable: bool = False) -> Finding | None:
    return classify(rule, found, ledger_forgeable=ledger_forgeable, plan_id="plan-7", horizon_at=HORIZON)


def kind_of(found: Facts, rule: Rule = RULE) -> FindingClass | None:
    finding = judge(found, rule)
    if finding is not None and finding.kind is not FindingClass.REPAIRABLE:
        assert (finding.values, finding.origins, finding.forgeable) == ({}, {}, False)
    return finding.kind if finding else None


def test_a_user_with_proven_credits_and_no_profile_is_repairable_with_exactly_what_the_rule_says() -> None:
    found = judge(facts())

    assert found == Finding(
        key=ALICE,
        kind=FindingClass.REPAIRABLE,
        oldest_at=LONG_AGO,
        evidence=evidence_digest(facts()),
        values={
            "id": ALICE,
            "email": f"{ALICE}@example.org",
            "full_name": "Alice A.",
            "credits_balance": 1200,
            "metadata": {"restored_by": "sidecar", "plan": "plan-7"},
        },
        origins={
            "id": "subject:id",
            "email": "subject:email",
            "full_name": "subject:user_metadata.full_name",
            "credits_balance": "balance:ledger",
            "metadata": "const",
        },
        forgeable=False,
    )


def test_a_profile_that_came_to_exist_is_no_damage() -> None:
    assert judge(facts(expected_row={"id": ALICE}, subject=None)) is None


def test_an_empty_row_still_is_a_row() -> None:
    assert judge(facts(expected_row={})) is None


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"subject": None}, FindingClass.SUBJECT_GONE),
        ({"subject": subject(deleted=True)}, FindingClass.SUBJECT_DELETED),
        ({"subject": subject(banned=True)}, FindingClass.SUBJECT_BANNED),
        ({"subject": subject(anonymous=True)}, FindingClass.SUBJECT_ANONYMOUS),
        ({"subject": subject(created_at=NOW)}, FindingClass.TOO_YOUNG),
        ({"ledger": chain(5, start=30 * 24 * 60 - 1)}, FindingClass.TOO_YOUNG),
        ({"email_taken": True}, FindingClass.EMAIL_TAKEN),
        ({"ledger": ()}, FindingClass.NO_EVIDENCE),
        ({"ledger": (ledger_row(0, 5, None),)}, FindingClass.NO_EVIDENCE),
        ({"ledger": (ledger_row(0, 5, 5), ledger_row(1, 5, 11), ledger_row(2, 0, 11))}, FindingClass.CHAIN_BROKEN),
        ({"ledger": tuple(ledger_row(0, 0, 0, f"{n}") for n in range(7))}, FindingClass.CHAIN_AMBIGUOUS),
        ({"ledger": (ledger_row(0, 5, 6),)}, FindingClass.OPENING_UNEXPLAINED),
        ({"ledger": chain(-5)}, FindingClass.BALANCE_NEGATIVE),
        (
            {"ledger": (ledger_row(9, 5, 6),), "anchors": (anchor(Origin.ATTESTED, 5, 1),)},
            FindingClass.EVIDENCE_CONTRADICTED,
        ),
        ({"subject": subject(fields={"id": ALICE})}, FindingClass.VALUE_MISSING),
    ],
)
def test_what_must_not_be_repaired_is_named(changes: dict[str, object], kind: FindingClass) -> None:
    assert kind_of(facts(**changes)) is kind


def test_what_bars_first_is_named_and_each_bar_lifted_shows_the_next() -> None:
    barred = subject(deleted=True, banned=True, anonymous=True, created_at=NOW, fields={})
    everything = facts(subject=None, email_taken=True, ledger=(ledger_row(0, 5, 6),))
    steps = [
        everything,
        replace(everything, subject=barred),
        replace(everything, subject=replace(barred, deleted=False)),
        replace(everything, subject=replace(barred, deleted=False, banned=False)),
        replace(everything, subject=subject(created_at=NOW, fields={})),
        replace(everything, subject=subject(fields={})),
        replace(everything, subject=subject(fields={}), email_taken=False),
        facts(subject=subject(fields={})),
        facts(),
    ]

    assert [kind_of(step) for step in steps] == [
        FindingClass.SUBJECT_GONE,
        FindingClass.SUBJECT_DELETED,
        FindingClass.SUBJECT_BANNED,
        FindingClass.SUBJECT_ANONYMOUS,
        FindingClass.TOO_YOUNG,
        FindingClass.EMAIL_TAKEN,
        FindingClass.OPENING_UNEXPLAINED,
        FindingClass.VALUE_MISSING,
        FindingClass.REPAIRABLE,
    ]


@pytest.mark.parametrize(
    ("skip", "state"), [(Skip.DELETED, "deleted"), (Skip.BANNED, "banned"), (Skip.ANONYMOUS, "anonymous")]
)
def test_a_state_that_the_rule_does_not_skip_does_not_bar(skip: Skip, state: str) -> None:
    rule = rule_with(detect=replace(DETECT, skip=frozenset(Skip) - {skip}))

    assert kind_of(facts(subject=subject(**{state: True})), rule) is FindingClass.REPAIRABLE


def test_evidence_and_subject_of_exactly_the_horizon_are_old_enough() -> None:
    row = replace(ledger_row(0, 5, 5), created_at=HORIZON)
    young = replace(row, created_at=HORIZON + timedelta(microseconds=1))

    assert kind_of(facts(subject=subject(created_at=HORIZON), ledger=(row,))) is FindingClass.REPAIRABLE
    assert kind_of(facts(ledger=(young,))) is FindingClass.TOO_YOUNG
    assert kind_of(facts(subject=subject(created_at=young.created_at))) is FindingClass.TOO_YOUNG


def test_one_old_row_of_evidence_is_enough_to_be_old() -> None:
    young = replace(ledger_row(1, 5, 10), created_at=NOW)

    assert kind_of(facts(ledger=(young, ledger_row(0, 5, 5)))) is FindingClass.REPAIRABLE


def test_evidence_without_instants_is_judged_by_its_subject_alone() -> None:
    found = judge(facts(ledger=(replace(ledger_row(0, 5, 5), created_at=None),)))

    assert found is not None
    assert (found.kind, found.oldest_at) == (FindingClass.REPAIRABLE, None)


def test_a_value_of_no_source_is_null_where_the_rule_accepts_null() -> None:
    found = judge(facts(subject=subject(fields={"id": ALICE, "email": "a@example.org"})))

    assert found is not None
    assert (found.values["full_name"], found.origins["full_name"]) == (None, "missing:null")


@pytest.mark.parametrize("document", [{"full_name": ""}, {"full_name": None}, {}, None, "text", ["full_name"]])
def test_an_empty_text_or_a_path_that_ends_early_is_no_value(document: JSON) -> None:
    name = FromSubject(path=("user_metadata", "full_name"), on_missing=OnMissing.QUARANTINE)
    rule = rule_with(repair=replace(REPAIR, values={**REPAIR.values, "full_name": name}))
    fields: dict[str, JSON] = {"id": ALICE, "email": "a@example.org", "user_metadata": document}

    assert kind_of(facts(subject=subject(fields=fields)), rule) is FindingClass.VALUE_MISSING


@pytest.mark.parametrize("value", [False, 0, 42, [], {"a": 1}, ""])
def test_what_a_user_wrote_that_is_no_text_is_no_value(value: JSON) -> None:
    fields: dict[str, JSON] = {"id": ALICE, "email": "a@example.org", "user_metadata": {"full_name": value}}
    found = judge(facts(subject=subject(fields=fields)))

    assert found is not None
    assert (found.values["full_name"], found.origins["full_name"]) == (None, "missing:null")


@pytest.mark.parametrize(
    ("constant", "written"),
    [
        (Constant(value={"a": 1}), {"a": 1}),
        (Constant(value={"a": 1}, plan_key="by"), {"a": 1, "by": "plan-7"}),
        (Constant(value="free"), "free"),
        (Constant(value="free", plan_key="by"), "free"),
    ],
)
def test_a_constant_carries_the_plans_id_only_where_it_is_an_object_that_names_it(
    constant: Constant, written: JSON
) -> None:
    found = judge(facts(), rule_with(repair=replace(REPAIR, values={**REPAIR.values, "metadata": constant})))

    assert found is not None
    assert found.values["metadata"] == written


def test_marking_a_row_leaves_the_rules_own_constant_as_it_was() -> None:
    judge(facts())

    assert REPAIR.values["metadata"] == Constant(value={"restored_by": "sidecar"}, plan_key="plan")


def test_money_that_no_balance_stands_behind_is_never_written() -> None:
    values = {**REPAIR.values, "credits_balance": Constant(value=50)}

    assert kind_of(facts(), rule_with(repair=replace(REPAIR, values=values))) is FindingClass.NO_EVIDENCE


def test_only_the_origins_that_the_rule_names_are_asked() -> None:
    values = {**REPAIR.values, "credits_balance": FromBalance(order=(Origin.ATTESTED,))}
    rule = rule_with(repair=replace(REPAIR, values=values))

    assert kind_of(facts(), rule) is FindingClass.NO_EVIDENCE
    assert kind_of(facts(anchors=(anchor(Origin.ATTESTED, 3, 9),)), rule) is FindingClass.REPAIRABLE


@pytest.mark.parametrize(
    ("anchors", "forgeable", "origin"),
    [
        ((), True, "balance:ledger, forgeable"),
        ((anchor(Origin.ATTESTED, 1200, 9),), False, "balance:attested"),
        ((anchor(Origin.SNAPSHOT, 1200, 9),), False, "balance:snapshot"),
        ((anchor(Origin.SNAPSHOT, 1000, 0),), True, "balance:snapshot, forgeable"),
        ((anchor(Origin.ATTESTED, 1000, 0),), True, "balance:attested, forgeable"),
    ],
)
def test_a_number_that_rests_on_a_ledger_which_users_may_write_is_marked_be_it_only_its_youngest_row(
    anchors: tuple[object, ...], *, forgeable: bool, origin: str
) -> None:
    found = judge(facts(anchors=anchors), ledger_forgeable=True)

    assert found is not None
    assert (found.kind, found.values["credits_balance"]) == (FindingClass.REPAIRABLE, 1200)
    assert (found.forgeable, found.origins["credits_balance"]) == (forgeable, origin)


def test_the_digest_of_evidence_is_the_same_in_any_order() -> None:
    anchors = (anchor(Origin.ATTESTED, 3, 9), anchor(Origin.SNAPSHOT, 4, 9), anchor(Origin.SNAPSHOT, 3, 8))
    rows = chain(1, Decimal("2.5"), 3)
    digests = {
        evidence_digest(facts(ledger=ledger, anchors=vouched))
        for ledger in permutations(rows)
        for vouched in permutations(anchors)
    }

    assert len(digests) == 1


def test_the_digest_of_evidence_changes_with_every_part_of_it() -> None:
    rows, vouched = chain(10, 20, 30), (anchor(Origin.ATTESTED, 3, 9),)
    whole = facts(ledger=rows, anchors=vouched)
    changed = [
        replace(whole, ledger=(*rows[:place], replace(rows[place], **change), *rows[place + 1 :]))
        for place in range(3)
        for change in ({"amount": 11}, {"amount": None}, {"balance_after": 7}, {"order": (NOW, "u")})
    ]
    changed += [
        replace(whole, ledger=rows[:2]),
        replace(whole, ledger=(*rows, rows[0])),
        replace(whole, ledger=()),
        replace(whole, anchors=()),
        replace(whole, anchors=(anchor(Origin.SNAPSHOT, 3, 9),)),
        replace(whole, anchors=(anchor(Origin.ATTESTED, 4, 9),)),
        replace(whole, anchors=(anchor(Origin.ATTESTED, 3, 10),)),
    ]
    digests = {evidence_digest(one) for one in [whole, *changed]}

    assert len(digests) == 1 + len(changed)


def test_the_digest_of_evidence_says_nothing_about_anything_but_evidence() -> None:
    assert evidence_digest(facts()) == evidence_digest(facts(subject=None, email_taken=True, expected_row={}))


def test_the_horizon_lies_the_minimum_age_before_the_servers_time() -> None:
    assert horizon(datetime.fromisoformat("2026-11-20T12:00:00+00:00"), 900.0) == HORIZON
