"""I20: the detection is an anti join over whole tables, or it is not started."""

from pathlib import Path
from typing import Any

import pytest

from sidecar.data.direct.plan_guard import require_anti_joins
from sidecar.domain.decide import GuardName
from sidecar.domain.event import LookFinished
from sidecar.domain.look import ProofFailure, Sighting
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome
from sidecar.errors import PlanUnfit
from tests.direct.cast import LOGIN, Book, Project
from tests.direct.staging import engine


def node(kind: str, *below: dict[str, Any], **fields: str) -> dict[str, Any]:
    return {"Node Type": kind, "Plans": list(below), **{name.replace("_", " "): v for name, v in fields.items()}}


def explained(top: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"Plan": node("Aggregate", top)}]


SCAN = node("Seq Scan", Parent_Relationship="Inner")
INDEX = node("Index Only Scan", Parent_Relationship="Inner")
OUTER = node("Seq Scan", Parent_Relationship="Outer")


@pytest.mark.parametrize(
    "top",
    [
        node("Hash Join", OUTER, node("Hash", SCAN, Parent_Relationship="Inner"), Join_Type="Anti"),
        node("Hash Join", OUTER, node("Hash", SCAN, Parent_Relationship="Inner"), Join_Type="Right Anti"),
        node("Merge Join", OUTER, SCAN, Join_Type="Anti"),
        node("Gather Merge", node("Hash Join", OUTER, SCAN, Join_Type="Anti")),
        node("Nested Loop", OUTER, INDEX, Join_Type="Anti"),
        node(
            "Nested Loop",
            OUTER,
            node("Bitmap Heap Scan", node("Bitmap Index Scan"), Parent_Relationship="Inner"),
            Join_Type="Anti",
        ),
    ],
)
def test_an_anti_join_is_taken(top: dict[str, Any]) -> None:
    assert require_anti_joins(explained(top), 1) is None  # type: ignore[func-returns-value]  # it raises or it does not


@pytest.mark.parametrize(
    ("top", "wanted", "named"),
    [
        (node("Seq Scan", node("Seq Scan", Parent_Relationship="SubPlan")), 1, "subplan"),
        (
            node("Hash Join", OUTER, SCAN, node("Index Scan", Parent_Relationship="SubPlan"), Join_Type="Anti"),
            1,
            "subplan",
        ),
        (node("Hash Join", OUTER, SCAN, Join_Type="Left"), 1, "0 anti joins"),
        (node("Hash Join", OUTER, SCAN, Join_Type="Anti"), 2, "1 anti joins where 2"),
        (node("Nested Loop", OUTER, SCAN, Join_Type="Anti"), 1, "whole table"),
        (
            node("Nested Loop", OUTER, node("Materialize", SCAN, Parent_Relationship="Inner"), Join_Type="Anti"),
            1,
            "whole table",
        ),
    ],
)
def test_what_asks_row_by_row_is_refused(top: dict[str, Any], wanted: int, named: str) -> None:
    with pytest.raises(PlanUnfit, match=named):
        require_anti_joins(explained(top), wanted)


async def test_a_detection_that_would_run_row_by_row_is_refused_before_it_starts(
    project: Project, rule: Rule, tmp_path: Path
) -> None:
    await project.sql("alter table public.users drop constraint users_pkey cascade")
    await project.sql(f"alter role {LOGIN} set enable_hashjoin = off; alter role {LOGIN} set enable_mergejoin = off")
    await project.sql("update pg_class set reltuples = 1, relpages = 1 where oid = 'public.users'::regclass")
    async with project.data() as data, engine(data, tmp_path) as stage:
        cycle = await stage.repair.backfill(rule, "olga")
        assert cycle.outcome is Outcome.REFUSED
        assert cycle.refusal is not None
        assert cycle.refusal.guard is GuardName.PLAN_GUARD
        assert "whole table" in cycle.refusal.value
        assert stage.reporter.told(LookFinished)[-1].failure is ProofFailure.PLAN_UNFIT
        assert await project.written() == 0


@pytest.mark.parametrize(
    "harm",
    [
        "update pg_class set reltuples = 1, relpages = 1 where relname = 'users'",
        "update pg_class set reltuples = 1, relpages = 1 where relname = 'credit_transactions'",
        "alter table public.users drop constraint users_pkey cascade",
        "drop index public.credit_transactions_user_id_idx",
    ],
)
async def test_statistics_that_lie_and_an_index_that_is_gone_lead_to_no_bad_plan(
    harm: str, project: Project, rule: Rule
) -> None:
    await project.sql(harm)
    async with project.data() as data:
        seen = await data.sight(rule, Book(), 1)
        assert isinstance(seen, Sighting)
        assert len(seen.candidates) == 28
