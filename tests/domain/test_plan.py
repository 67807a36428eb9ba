"""A plan is what its hash says: it survives a file exactly, and an edited file is no plan."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.domain.plan import Plan, canonical, from_text, to_text
from sidecar.domain.rule import Value
from sidecar.errors import PlanInvalid
from tests.domain.cast import NOW, a_plan, plan_row

CHANGED: dict[str, object] = {
    "id": "plan-2",
    "rule": "other",
    "rule_digest": "other",
    "schema_fingerprint": "other",
    "database": "other",
    "author": "other",
    "created_at": NOW + timedelta(microseconds=1),
    "expires_at": NOW + timedelta(days=99),
    "subjects": 1001,
    "classes": {"repairable": 2},
    "rows": (plan_row("another"),),
    "not_visible": (),
}


def test_the_changes_of_this_test_cover_every_field_of_a_plan() -> None:
    assert CHANGED.keys() == {field.name for field in fields(Plan)}


@pytest.mark.parametrize("part", CHANGED)
def test_the_hash_changes_with_every_part(part: str) -> None:
    assert replace(a_plan(), **{part: CHANGED[part]}).hash != a_plan().hash  # type: ignore[arg-type]  # every field


@pytest.mark.parametrize(
    "row",
    [
        replace(plan_row(), key="another"),
        replace(plan_row(), values={"id": "a", "credits_balance": Decimal("12.51")}),
        replace(plan_row(), values={"id": "a"}),
        replace(plan_row(), origins={"credits_balance": "balance:attested"}),
        replace(plan_row(), evidence="e2"),
    ],
)
def test_the_hash_changes_with_every_part_of_a_row(row: Any) -> None:  # noqa: ANN401  # one of several shapes
    assert a_plan([row]).hash != a_plan().hash


def test_the_hash_changes_with_the_order_and_the_number_of_rows() -> None:
    one, two = plan_row("a"), plan_row("b")

    assert len({a_plan(rows).hash for rows in ([], [one], [one, two], [two, one], [one, one])}) == 5


values: st.SearchStrategy[Value] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.decimals(allow_nan=False, allow_infinity=False),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(["decimal", "object", "plan"]), st.text()), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_a_plan_survives_a_file_with_every_value_and_by_its_hash_every_type(held: dict[str, Value]) -> None:
    plan = a_plan([plan_row(values=held)])
    back = from_text(to_text(plan))

    assert back == plan
    assert back.hash == plan.hash


@pytest.mark.parametrize(
    "name", [{"decimal": "5"}, {"decimal": "no number"}, {"decimal": {"decimal": "1"}}, {"object": {"decimal": "5"}}]
)
def test_a_name_that_a_user_shaped_like_a_number_stays_what_the_user_wrote(name: Value) -> None:
    plan = a_plan([plan_row(values={"full_name": name, "credits_balance": Decimal("5.00")})])

    assert from_text(to_text(plan)).rows[0].values == {"full_name": name, "credits_balance": Decimal("5.00")}


def test_a_user_cannot_make_two_different_plans_have_one_hash() -> None:
    shaped = a_plan([plan_row(values={"credits_balance": {"decimal": "5"}})])
    number = a_plan([plan_row(values={"credits_balance": Decimal(5)})])

    assert shaped.hash != number.hash


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    def edit(document: dict[str, Any]) -> None:
        del document[name]

    return edit


def put(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(document: dict[str, Any]) -> None:
        document[name] = value

    return edit


def edited(edit: Callable[[dict[str, Any]], None]) -> str:
    document = json.loads(to_text(a_plan()))
    edit(document)
    return json.dumps(document)


FIELDS = sorted(json.loads(to_text(a_plan())))


def in_row(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(document: dict[str, Any]) -> None:
        document["rows"][0][name] = value

    return edit


@pytest.mark.parametrize("name", FIELDS)
def test_a_file_that_lacks_a_field_is_no_plan(name: str) -> None:
    with pytest.raises(PlanInvalid, match="not a plan: KeyError"):
        from_text(edited(drop(name)))


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", ["x", 7, None, [], {}, [7], {"a": 1}, True, "2026-11-20T12:00:01+00:00"])
def test_a_file_with_any_field_edited_is_refused(name: str, value: object) -> None:
    with pytest.raises(PlanInvalid):
        from_text(edited(put(name, value)))


@pytest.mark.parametrize("name", ["key", "values", "origins", "evidence"])
@pytest.mark.parametrize("value", ["x", 7, None, [], [7], {"id": "a"}, {"credits_balance": {"decimal": "9999"}}])
def test_a_file_with_any_part_of_a_row_edited_is_refused(name: str, value: object) -> None:
    with pytest.raises(PlanInvalid):
        from_text(edited(in_row(name, value)))


def test_values_given_as_pairs_are_refused_although_their_hash_is_the_same() -> None:
    pairs = [["id", plan_row().key], ["credits_balance", {"decimal": "12.50"}]]

    with pytest.raises(PlanInvalid, match="values and origins of a row must be objects"):
        from_text(edited(in_row("values", pairs)))


def test_a_file_with_a_row_more_or_less_is_refused_and_says_that_it_was_edited() -> None:
    with pytest.raises(PlanInvalid, match=r"plan plan-1 was edited: its hash is [0-9a-f]{12}…, the file says"):
        from_text(edited(lambda document: document["rows"].append(document["rows"][0])))
    with pytest.raises(PlanInvalid, match="was edited"):
        from_text(edited(put("rows", [])))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '"text"', "null", "NaN", "[" * 100_000, '{"decimal": "x"}', '{"format": 2}', "1" * 5000],
    ids=["empty", "cut", "list", "number", "text", "null", "nan", "deep", "no number", "format", "long number"],
)
def test_what_is_no_plan_at_all_is_refused_as_such(text: str) -> None:
    with pytest.raises(PlanInvalid):
        from_text(text)


def test_another_format_is_refused_by_its_number() -> None:
    with pytest.raises(PlanInvalid, match="plan format 2 is not 1"):
        from_text(edited(put("format", 2)))


def test_a_broken_number_or_letter_in_a_value_is_refused_as_no_plan() -> None:
    with pytest.raises(PlanInvalid):
        from_text(edited(in_row("values", {"credits_balance": {"decimal": "no number"}})))
    with pytest.raises(PlanInvalid):
        from_text(edited(put("id", "\ud800")))


def test_a_value_that_no_plan_can_hold_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="object"):
        canonical({"value": object()})


def test_the_canonical_form_has_one_rendering() -> None:
    assert canonical({"b": Decimal("1.50"), "a": NOW}) == ('{"a":"2026-11-20T12:00:00+00:00","b":{"decimal":"1.50"}}')
