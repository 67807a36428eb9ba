"""Small facts of rules that everything else leans on."""

from dataclasses import replace

from sidecar.domain.rule import Constant, Table
from tests.domain.cast import REPAIR, RULE, rule_with


def test_a_table_is_named_by_schema_and_name_and_sorts_so() -> None:
    assert str(Table("public", "users")) == "public.users"
    assert sorted([Table("public", "a"), Table("app", "z")]) == [Table("app", "z"), Table("public", "a")]


def test_the_money_column_is_the_one_that_the_rule_names() -> None:
    assert RULE.balance_column == "credits_balance"


def test_a_rule_names_where_its_rows_carry_the_plan_or_that_they_do_not() -> None:
    unmarked = {**REPAIR.values, "metadata": Constant(value={"restored_by": "sidecar"})}

    assert RULE.plan_marker == ("metadata", "plan")
    assert rule_with(repair=replace(REPAIR, values=unmarked)).plan_marker is None
