"""The three worked examples of docs/howto/write-a-rule.md load, and find in the shop what they say they find."""

import re
from collections.abc import Mapping

import pytest

from sidecar.data.postgres import PostgresData
from sidecar.domain.finding import FindingClass, classify
from sidecar.domain.look import Sighting
from sidecar.domain.rule import Rule
from sidecar.domain.survey import Survey
from sidecar.sessions import Sessions
from tests.direct.cast import Book
from tests.rules.cast import CANARY, ROOT, Shop, counted, read, seen

PAGE = (ROOT / "docs" / "howto" / "write-a-rule.md").read_text()
[TABLES] = re.findall(r"```sql\n(.*?)```", PAGE, flags=re.DOTALL)
OLGA = "a0000000-0000-4000-8000-000000000002"
STOCK = """
create temporary table people as select * from (values
  ('a0000000-0000-4000-8000-000000000001'::uuid, 'anna'), ('a0000000-0000-4000-8000-000000000002'::uuid, 'olga')
) people (id, name);
insert into auth.users (id, email, created_at)
  select id, name || '@example.org', now() - interval '9 days' from people;
insert into public.shop_movements (customer, delta, after, at)
  select id, delta, after, now() - age from people,
    (values (10, 10, interval '8 days'), (-2.5, 7.5, interval '7 days')) steps (delta, after, age);
insert into public.shop_customers select id, 7.5, '{}', now() - interval '9 days' from people where name = 'anna';
insert into public.shop_orders (customer, state, placed_at)
  select id, state, now() - age from people,
    (values ('shipped', interval '9 days'), ('packed', interval '3 days'), ('paid', interval '1 day')) o (state, age)
  where name = 'anna';
insert into public.shop_orders (customer, state, placed_at)
  values ('a0000000-0000-4000-8000-000000000003', 'shipped', now() - interval '1 day');
"""


def examples() -> Mapping[str, Rule | Survey]:
    texts = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    names = [text.partition("\n")[0].removeprefix("rule: ") for text in texts]
    return {name: read(text, name) for name, text in zip(names, texts, strict=True)}


@pytest.fixture
async def stocked(shop: Shop) -> Shop:
    """Orders shipped, forgotten, young and orphaned; Anna and Olga with points, Olga without her row."""
    await shop.sql("drop table public.shop_orders, public.shop_movements, public.shop_customers")
    await shop.sql(TABLES)
    await shop.admit(*examples().values())
    await shop.sql(STOCK)
    return shop


def test_there_are_three_and_each_loads() -> None:
    assert list(examples()) == ["orders_nobody_ships", "orders_without_customer", "points_without_customer"]


@pytest.mark.parametrize("path", ["direct", "rest"])
@pytest.mark.parametrize(
    ("name", "found"), [("orders_nobody_ships", {"stale": 1}), ("orders_without_customer", {"orphan": 1})]
)
async def test_a_report_finds_what_its_example_says(
    stocked: Shop, path: str, name: str, found: Mapping[str, int]
) -> None:
    rule = examples()[name]
    assert isinstance(rule, Survey)
    assert counted(await seen(stocked.on(path), rule)) == found


@pytest.mark.parametrize("path", ["direct", "rest"])
async def test_the_repair_finds_the_customer_and_the_points(stocked: Shop, path: str) -> None:
    rule = examples()["points_without_customer"]
    assert isinstance(rule, Rule)
    sessions = Sessions(stocked.login_url)
    data = PostgresData(sessions, canary=CANARY) if path == "direct" else stocked.data
    try:
        sight = await data.sight(rule, Book(), 1)
        assert isinstance(sight, Sighting), sight
        [known] = await data.facts(rule, sight.candidates)
    finally:
        await sessions.close()
    found = classify(rule, known, ledger_forgeable=False, plan_id="plan-1", horizon_at=sight.proof.horizon_at)
    assert found is not None
    assert (found.key, found.kind, str(found.values["points"])) == (OLGA, FindingClass.REPAIRABLE, "7.50")
    assert found.values["note"] == {"restored_by": "sidecar", "plan": "plan-1"}
