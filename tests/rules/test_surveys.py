"""What a survey finds on real tables, the same on both paths where both can look."""

from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest
from starlette.types import Scope

from sidecar.data.surveys_direct import DirectSurveys
from sidecar.domain.look import ProofFailure, Unproven
from sidecar.domain.survey import SAMPLES_AT_MOST, Survey, SurveyClass
from sidecar.errors import AccessDenied, SchemaMismatch
from sidecar.sessions import Sessions
from tests.adversary.cast import Meant
from tests.direct.standby import primary_and_standby
from tests.rules.cast import CANARY, Shop, counted, report, samples, seen, shipped

BOTH = pytest.mark.parametrize("path", ["direct", "rest"])

STALE = report(
    "stale",
    '{kind: stale_row, rows: {table: public.shop_orders, id: id}, state: {column: State, values: [paid, it\'s "odd"]},'
    " since: placed_at, older_than: 1h}",
)
ORPHANS = report(
    "orphans",
    "{kind: orphan_row, rows: {table: public.shop_orders, id: id, key: customer, created: placed_at},"
    " parent: {table: public.shop_customers, key: id}, min_age: 15m}",
)
POINTS = report(
    "points",
    "{kind: balance_differs, rows: {table: public.shop_customers, key: id, amount: points, created: seen_at},"
    " evidence: {table: public.shop_movements, key: customer, created: at, order: [at, id], amount: delta,"
    " balance: after},"
    " min_age: 15m}",
)


async def order(shop: Shop, state: str = "paid", *, customer: int | None = 1, age: str = "2 days") -> str:
    [(made,)] = await shop.sql(
        'insert into public.shop_orders (customer, "State", placed_at)'
        " values (%s, %s, now() - cast(%s as interval)) returning id::text",
        customer,
        state,
        age,
    )
    return str(made)


async def customer(shop: Shop, number: int, points: object, *steps: tuple[object, object], age: str = "2 days") -> None:
    """Add a customer with movements (delta, balance after), a minute between them."""
    await shop.sql(
        "insert into public.shop_customers values (%s, %s, now() - cast(%s as interval))", number, points, age
    )
    for place, (delta, after) in enumerate(steps):
        await shop.sql(
            "insert into public.shop_movements (customer, delta, after, at)"
            " values (%s, %s, %s, now() - cast(%s as interval) + %s * interval '1 minute')",
            number,
            delta,
            after,
            age,
            place,
        )


@BOTH
async def test_rows_that_stay_too_long_in_a_state_are_counted_with_ids_and_the_oldest_instant(
    shop: Shop, path: str
) -> None:
    await shop.admit(STALE)
    stuck = [await order(shop), await order(shop, 'it\'s "odd"', age="3 days")]
    await order(shop, "sent")
    await order(shop, age="10 minutes")
    found = await seen(shop.on(path), STALE)
    assert counted(found) == {"stale": 2}
    assert list(samples(found, SurveyClass.STALE)) == sorted(stuck)
    assert found.oldest_at is not None
    assert abs(found.oldest_at - (datetime.now(UTC) - timedelta(days=3))) < timedelta(minutes=5)
    assert (found.damaged, found.proof.counts.expected_rows) == (2, 4)


@BOTH
async def test_rows_whose_parent_is_gone_are_orphans_and_rows_without_a_parent_are_not(shop: Shop, path: str) -> None:
    await shop.admit(ORPHANS)
    for number in (1, 2, 10, 100):  # as text, 10 and 100 stand before 2
        await customer(shop, number, 0)
    lost = [await order(shop, customer=key) for key in (3, 99)]
    for key in (1, 2, 10, 100, None):
        await order(shop, customer=key)
    found = await seen(shop.on(path), ORPHANS)
    assert counted(found) == {"orphan": 2}
    assert list(samples(found, SurveyClass.ORPHAN)) == sorted(lost)


@BOTH
async def test_a_young_orphan_is_no_damage(shop: Shop, path: str) -> None:
    await shop.admit(ORPHANS)
    await customer(shop, 1, 0)
    await order(shop, customer=2, age="1 minute")
    assert (await seen(shop.on(path), ORPHANS)).damaged == 0


@BOTH
async def test_nothing_found_is_a_proven_nothing(shop: Shop, path: str) -> None:
    await shop.admit(STALE)
    found = await seen(shop.on(path), STALE)
    assert (counted(found), found.oldest_at, found.samples) == ({}, None, {})


@BOTH
async def test_only_a_few_ids_of_many_are_told(shop: Shop, path: str) -> None:
    await shop.admit(STALE)
    await shop.sql("insert into public.shop_orders (customer) select 1 from generate_series(1, 2500)")
    found = await seen(shop.on(path), STALE)
    assert (counted(found), len(list(samples(found, SurveyClass.STALE)))) == ({"stale": 2500}, SAMPLES_AT_MOST)


async def test_an_amount_is_compared_with_the_last_verified_balance_of_its_ledger(shop: Shop) -> None:
    await shop.admit(POINTS)
    await customer(shop, 1, "7.50", (10, 10), ("-2.50", "7.50"))
    await customer(shop, 2, "8.00", (10, 10), ("-2.50", "7.50"))
    await customer(shop, 3, None, (10, 10))
    await customer(shop, 4, 900, (10, 10), (5, 900))
    await customer(shop, 5, 70, (-30, 70), (0, 70))
    await customer(shop, 6, 10, (10, None))
    await customer(shop, 7, 50)
    await customer(shop, 8, 0)
    await customer(shop, 9, 11, (10, 10), age="5 minutes")
    found = await seen(shop.direct, POINTS)
    assert counted(found) == {
        "differs": 2, "chain_broken": 1, "opening_unexplained": 1, "no_evidence": 2, "too_young": 1,
    }  # fmt: skip
    assert found.damaged == 6
    assert list(samples(found, SurveyClass.DIFFERS)) == ["2", "3"]
    assert list(samples(found, SurveyClass.NO_EVIDENCE)) == ["6", "7"]


async def test_movements_of_one_instant_are_taken_together_whatever_order_their_ids_have(shop: Shop) -> None:
    by_instant = report("points", POINTS_BY_INSTANT)
    await shop.admit(by_instant)
    await customer(shop, 1, 95, (100, 100))
    await shop.sql("insert into public.shop_movements (customer, delta, after, at) values"
                   " (1, -10, 95, now() - interval '1 day'), (1, 5, 105, now() - interval '1 day')")  # fmt: skip
    await customer(shop, 2, 95, (100, 100))
    await shop.sql("insert into public.shop_movements (customer, delta, after, at) values"
                   " (2, -10, 90, now() - interval '1 day'), (2, 5, 105, now() - interval '1 day')")  # fmt: skip
    assert counted(await seen(shop.direct, by_instant)) == {"chain_broken": 1}


POINTS_BY_INSTANT = (
    "{kind: balance_differs, rows: {table: public.shop_customers, key: id, amount: points},"
    " evidence: {table: public.shop_movements, key: customer, created: at, order: [at], amount: delta, balance: after},"
    " min_age: 15m}"
)


async def test_a_profile_without_its_auth_user_is_found_where_no_foreign_key_forbids_it(shop: Shop) -> None:
    rule = shipped("profile_without_auth_user")
    await shop.admit(rule)
    await shop.sql("insert into auth.users (id, email) values (gen_random_uuid(), 'well@example.org')")
    await shop.sql(
        "insert into public.users (id, email, created_at) select id, email, now() - interval '1 day' from auth.users"
    )
    assert counted(await seen(shop.direct, rule)) == {}
    await shop.sql("alter table public.users drop constraint users_id_fkey")
    await shop.sql(
        "insert into public.users (id, email, created_at)"
        " values ('00000000-0000-4000-8000-000000000001', 'nobody@example.org', now() - interval '1 day')"
    )
    found = await seen(shop.direct, rule)
    assert counted(found) == {"orphan": 1}
    assert list(samples(found, SurveyClass.ORPHAN)) == ["00000000-0000-4000-8000-000000000001"]


async def test_no_value_of_a_row_comes_along_but_its_id(shop: Shop) -> None:
    rule = shipped("balance_differs_from_ledger")
    await shop.admit(rule)
    await shop.sql("insert into auth.users (id, email) values (gen_random_uuid(), 'secret@example.org')")
    await shop.sql(
        "insert into public.users (id, email, credits_balance, created_at)"
        " select id, email, 424242, now() - interval '1 day' from auth.users"
    )
    await shop.sql("insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)"
                   " values (gen_random_uuid(), 'bonus', 1, 1)")  # fmt: skip
    found = await seen(shop.direct, rule)
    assert found.damaged == 1
    assert "secret@example.org" not in repr(found)
    assert "424242" not in repr(found)


@pytest.mark.parametrize("name", ["balance_differs_from_ledger", "profile_without_auth_user"])
async def test_over_rest_what_cannot_be_proven_says_so(shop: Shop, name: str) -> None:
    found = await shop.rest.survey(shipped(name))
    assert isinstance(found, Unproven)
    assert found.failure is ProofFailure.NEEDS_DATABASE
    assert "set database.url" in found.detail


@BOTH
async def test_without_the_canary_nothing_is_believed(shop: Shop, path: str) -> None:
    await shop.admit(STALE)
    await shop.sql("delete from public.sidecar_canary")
    found = await shop.on(path).survey(STALE)
    assert isinstance(found, Unproven)
    assert found.failure is ProofFailure.CANARY_UNSEEN


async def test_a_detector_that_row_level_security_would_filter_sees_nothing(shop: Shop) -> None:
    await shop.admit(STALE)
    await order(shop)
    await shop.sql("alter table public.shop_orders enable row level security")
    await shop.sql("alter role sidecar_detector nobypassrls")
    try:
        found = await shop.direct.survey(STALE)
    finally:
        await shop.sql("alter role sidecar_detector bypassrls")
    assert isinstance(found, Unproven)
    assert found.failure is ProofFailure.ROWS_HIDDEN


@pytest.mark.parametrize(
    ("change", "rule", "named"),
    [
        ("alter table public.shop_orders rename placed_at to gone", STALE, "has no column placed_at"),
        ("alter table public.shop_orders alter placed_at type timestamp", STALE, "placed_at has no time zone"),
        ("alter table public.shop_movements alter delta type double precision", POINTS, "delta is double precision"),
        ("alter table public.shop_orders alter customer type text", ORPHANS, "42883"),
        ("drop table public.shop_orders", STALE, "public.shop_orders does not exist"),
    ],
)
async def test_a_table_that_is_not_what_the_rule_means_is_refused_by_name(
    shop: Shop, change: str, rule: Survey, named: str
) -> None:
    await shop.admit(rule)
    await shop.sql(change)
    with pytest.raises(SchemaMismatch, match=named):
        await shop.direct.survey(rule)


async def test_a_table_that_the_roles_were_not_given_is_refused(shop: Shop) -> None:
    with pytest.raises(AccessDenied, match="orders"):
        await shop.direct.survey(STALE)


async def test_keys_of_two_types_are_refused_over_rest(shop: Shop) -> None:
    await shop.sql("alter table public.shop_orders alter customer type text")
    await customer(shop, 1, 0)
    await order(shop)
    with pytest.raises(SchemaMismatch, match="key_type_unsupported"):
        await shop.rest.survey(ORPHANS)


async def test_both_paths_know_one_database_by_the_same_name(shop: Shop) -> None:
    await shop.admit(STALE)
    direct, rest = await seen(shop.direct, STALE), await seen(shop.rest, STALE)
    assert direct.proof.database == rest.proof.database != "demo"


async def test_without_the_fixture_the_project_names_the_database(shop: Shop) -> None:
    await shop.sql("drop function public.sidecar_catalogue(regclass, regclass)")
    assert (await seen(shop.rest, STALE)).proof.database == "demo"


def is_page(scope: Scope, table: str, *, later: bool) -> bool:
    """Tell whether a request asks for a page of a stream: the first, or one beyond a cursor."""
    query = unquote(scope["query_string"].decode())
    counted = any(name == b"prefer" and b"count" in value for name, value in scope["headers"])
    asked = scope["path"] == f"/rest/v1/{table}" and "order=" in query and not counted
    return asked and (".gt." in query or "=gt." in query) is later


@pytest.mark.parametrize("rule", [STALE, ORPHANS], ids=lambda rule: str(rule.name))
async def test_pages_that_are_cut_are_no_proof(shop: Shop, rule: Survey) -> None:
    await customer(shop, 1, 0)
    await shop.sql("insert into public.shop_orders (customer) select 2 from generate_series(1, 30)")

    async def cut(scope: Scope, _body: bytes) -> Meant:
        return (200, []) if is_page(scope, "shop_orders", later=True) else None

    shop.meddler.meddle = cut
    found = await shop.rest.survey(rule)
    assert isinstance(found, Unproven)
    assert found.failure is ProofFailure.COUNT_MISMATCH
    assert "30 rows counted before, 10 seen, 30 counted after" in found.detail


async def test_parents_that_are_cut_make_no_orphans(shop: Shop) -> None:
    for number in range(1, 31):
        await customer(shop, number, 0)
    await order(shop, customer=30)

    async def cut(scope: Scope, _body: bytes) -> Meant:
        return (200, []) if is_page(scope, "shop_customers", later=True) else None

    shop.meddler.meddle = cut
    found = await shop.rest.survey(ORPHANS)
    assert isinstance(found, Unproven)
    assert found.failure is ProofFailure.COUNT_MISMATCH


@pytest.mark.parametrize(
    "meanwhile",
    [
        "insert into public.shop_customers values (2, 0, now())",
        "delete from public.shop_orders where customer = 2",
    ],
)
async def test_an_orphan_that_is_none_any_more_when_it_is_read_again_by_key_is_not_counted(
    shop: Shop, meanwhile: str
) -> None:
    await customer(shop, 1, 0)
    await order(shop, customer=1)
    await order(shop, customer=2)
    counts = 0

    async def mend_after_the_last_count(scope: Scope, _body: bytes) -> Meant:
        nonlocal counts
        counted = any(name == b"prefer" and b"count" in value for name, value in scope["headers"])
        counts += counted and scope["path"].startswith("/rest/v1/shop_")
        if counts == 5:  # two before, two after; the fifth begins the reading by key
            counts += 1
            await shop.sql(meanwhile)
        return None

    shop.meddler.meddle = mend_after_the_last_count
    assert counted(await seen(shop.rest, ORPHANS)) == {}


async def test_a_standby_may_lag_so_nothing_on_it_is_believed() -> None:
    async with primary_and_standby() as pair:
        sessions = Sessions(pair.standby.login_url)
        try:
            found = await DirectSurveys(sessions, canary=CANARY).survey(shipped("stuck_generations"))
        finally:
            await sessions.close()
    assert isinstance(found, Unproven)
    assert found.failure is ProofFailure.STANDBY
