"""Reading beside the recorded samples, over rows and tables that each test makes."""

import pytest

from tests.standin.conftest import Project


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_keyset_pages_over_two_columns_give_every_row_once(project: Project, page: int) -> None:
    await project.sql(
        """insert into credit_transactions (user_id, transaction_type, amount, balance_after)
        select ('00000000-0000-4000-8000-' || lpad((n % 9)::text, 12, '0'))::uuid, 'bonus', n, n
        from generate_series(1, 40) n"""
    )
    expected = await project.sql("select user_id::text, id from credit_transactions order by 1, 2")
    seen: list[tuple[str, int]] = []
    after = ""
    while True:
        answered = await project.get(
            f"/credit_transactions?select=user_id,id&order=user_id,id&limit={page}{after}",
        )
        rows = answered.json()
        if not rows:
            break
        seen += [(row["user_id"], row["id"]) for row in rows]
        user, last = seen[-1]
        after = f"&user_id=gte.{user}&or=(user_id.gt.{user},and(user_id.eq.{user},id.gt.{last}))"

    assert seen == expected


async def test_json_values_are_reached_by_paths(project: Project) -> None:
    await project.sql('update users set metadata = \'{"a": {"b": [10, 20]}, "c": "x"}\' where credits_balance = 950')

    answered = await project.get("/users?select=metadata->a->b->>1,deep:metadata->a->b,metadata->>c&metadata->>c=eq.x")

    assert answered.json() == [{"b": "20", "deep": [10, 20], "c": "x"}]


async def test_a_path_into_what_is_not_json_works_too(project: Project) -> None:
    await project.sql("create table arrays (id int primary key, words text[]); grant select on arrays to service_role")
    await project.sql("insert into arrays values (1, '{one,two}'), (2, '{three}')")

    assert (await project.get("/arrays?select=words->>0&id=eq.1")).json() == [{"words": "one"}]
    assert (await project.get("/arrays?select=id&words=cs.{two}")).json() == [{"id": 1}]
    assert (await project.get("/arrays?select=id&words=cd.{three,four}")).json() == [{"id": 2}]
    assert (await project.get("/arrays?select=id&order=words->>0.desc")).json() == [{"id": 2}, {"id": 1}]


async def test_numbers_keep_every_digit(project: Project) -> None:
    await project.sql("create table exact (id bigint primary key, n numeric); grant all on exact to service_role")
    row = '{"id": 9223372036854775807, "n": 12345678901234567890.123456789012345678901234567890}'
    written = await project.http.post(
        "/exact",
        content=f"[{row}]",
        headers={
            "Content-Type": "application/json",
            "Prefer": "return=representation",
            "Authorization": (await project.get("/exact")).request.headers["Authorization"],
        },
    )
    read = await project.get("/exact?n=eq.12345678901234567890.123456789012345678901234567890")

    assert written.status_code == 201
    assert '"n":12345678901234567890.123456789012345678901234567890' in written.text
    assert '"id":9223372036854775807' in read.text


async def test_planned_and_estimated_counts_come_from_the_planner(project: Project) -> None:
    await project.sql("analyze many")
    planned = await project.get("/many?select=n&limit=1", Prefer="count=planned")
    estimated = await project.get("/many?select=n&limit=1", Prefer="count=estimated")
    small = await project.get("/users?select=id&limit=1", Prefer="count=estimated")

    assert (planned.status_code, planned.headers["content-range"]) == (206, "0-0/1500")
    assert (estimated.status_code, estimated.headers["content-range"]) == (206, "0-0/1500")
    assert (small.status_code, small.headers["content-range"]) == (206, "0-0/2")


async def test_a_table_made_later_is_found(project: Project) -> None:
    before = await project.get("/later")
    await project.sql("create table later (id int primary key); grant select on later to service_role")
    after = await project.get("/later")

    assert (before.status_code, before.json()["code"]) == (404, "PGRST205")
    assert (after.status_code, after.json()) == (200, [])


async def test_a_table_dropped_later_is_gone(project: Project) -> None:
    await project.get("/locked")
    await project.sql("drop table locked")
    first = await project.get("/locked")
    second = await project.get("/locked")

    assert (first.status_code, second.status_code) == (404, 404)
    assert first.json()["code"] in {"42P01", "PGRST205"}
    assert second.json()["code"] == "PGRST205"


async def test_a_service_role_that_lost_its_bypass_sees_nothing_and_gets_no_error(project: Project) -> None:
    await project.sql("create role weak_service nologin; grant weak_service to authenticator")
    await project.sql("grant select on users to weak_service; grant usage on schema public to weak_service")
    try:
        answered = await project.get("/users?select=id", role="weak_service", Prefer="count=exact")
    finally:
        await project.sql("drop owned by weak_service; drop role weak_service")

    assert (answered.status_code, answered.json(), answered.headers["content-range"]) == (200, [], "*/0")


async def test_the_authenticator_needs_no_right_of_its_own_on_the_schema(project: Project) -> None:
    await project.sql("revoke usage on schema public from public")

    answered = await project.get("/users?select=id")

    assert (answered.status_code, len(answered.json())) == (200, 2)
