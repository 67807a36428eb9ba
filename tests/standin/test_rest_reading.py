"""Reading beside the recorded samples: what Sidecar's streams and checks rely on."""

import json

import pytest

from tests.standin.conftest import Project

LEDGER = "/credit_transactions?select=id&order=id&"


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ("id=gte.2&id=lt.4", [2, 3]),
        ("id=not.in.(1,2,3)", [4, 5]),
        ("description=ilike.*PACK*", [1]),
        ("description=imatch.^WEL", [2]),
        ("description=not.is.null&id=gt.3", [5]),
        ("description=is.not_null&id=gt.3", [5]),
        ("description=like(any).{pack,wel*}", [1, 2]),
        ("id=eq(any).{1,5}", [1, 5]),
        ("amount=neq.1200&amount=not.lt.0", [2, 4]),
        ("description=isdistinct.pack&id=lt.3", [2]),
        ("or=(id.eq.5,and(amount.gt.0,id.lt.3))", [1, 2, 5]),
        ("or=(id.gt.4,and(id.eq.3,or(amount.lt.0,amount.eq.7)))", [3, 5]),
        ("and=(id.gt.1,not.or(id.eq.2,id.eq.3))", [4, 5]),
        ("not.or=(id.eq.1,id.eq.2)", [3, 4, 5]),
        ("not.and=(id.gt.1,id.lt.5)", [1, 5]),
        ("or=(id.not.gt.1,description.is.null)", [1, 4]),
        ('or=(id.in.(1,2),description.in.("a \\"quoted\\", note",zzz))', [1, 2, 3]),
        ('or=(description.eq."100% (done)",description.eq."a \\"quoted\\", note")', [3, 5]),
        ("id=gt.1&or=(id.lt.3,id.gt.4)", [2, 5]),
    ],
)
async def test_filters_select_what_postgresql_would(project: Project, filters: str, ids: list[int]) -> None:
    answered = await project.get(LEDGER + filters)

    assert answered.status_code == 200, answered.text
    assert [row["id"] for row in answered.json()] == ids


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


async def test_a_longer_answer_is_cut_off_at_a_thousand_rows_and_says_so_only_when_counted(project: Project) -> None:
    silent = await project.get("/many?select=n")
    counted = await project.get("/many?select=n", Prefer="count=exact")

    assert (silent.status_code, len(silent.json()), silent.headers["content-range"]) == (200, 1000, "0-999/*")
    assert (counted.status_code, len(counted.json()), counted.headers["content-range"]) == (206, 1000, "0-999/1500")


async def test_planned_and_estimated_counts_come_from_the_planner(project: Project) -> None:
    await project.sql("analyze many")
    planned = await project.get("/many?select=n&limit=1", Prefer="count=planned")
    estimated = await project.get("/many?select=n&limit=1", Prefer="count=estimated")
    small = await project.get("/users?select=id&limit=1", Prefer="count=estimated")

    assert (planned.status_code, planned.headers["content-range"]) == (206, "0-0/1500")
    assert (estimated.status_code, estimated.headers["content-range"]) == (206, "0-0/1500")
    assert (small.status_code, small.headers["content-range"]) == (206, "0-0/2")


@pytest.mark.parametrize(
    ("query", "headers", "status", "content_range"),
    [
        ("limit=0", {}, 200, "*/*"),
        ("limit=2", {"Range": "1-10"}, 200, "1-1/*"),
        ("", {"Range": "3-"}, 200, "3-4/*"),
        ("offset=5", {"Prefer": "count=exact"}, 206, "*/5"),
    ],
)
async def test_ranges_and_limits_meet(
    project: Project, query: str, headers: dict[str, str], status: int, content_range: str
) -> None:
    answered = await project.get(f"/credit_transactions?select=id&order=id&{query}", **headers)

    assert (answered.status_code, answered.headers["content-range"]) == (status, content_range)


@pytest.mark.parametrize(("query", "headers"), [("limit=-1", {}), ("", {"Range": "5-2"})])
async def test_an_impossible_range_is_refused(project: Project, query: str, headers: dict[str, str]) -> None:
    answered = await project.get(f"/credit_transactions?{query}", **headers)

    assert (answered.status_code, answered.json()["code"]) == (416, "PGRST103")


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/users?select=id,credit_transactions(id)", {}, 400, "PGRST200"),
        ("/users?select=id,...credit_transactions!inner(id)", {}, 400, "PGRST200"),
        ("/users?other.id=eq.1", {}, 400, "PGRST108"),
        ("/users?select=count()", {}, 400, "PGRST123"),
        ("/users?select=credits_balance.sum()", {}, 400, "PGRST123"),
        ("/users?order=id.up", {}, 400, "PGRST100"),
        ("/users?or=(id.eq.1", {}, 400, "PGRST100"),
        ("/users?or=()", {}, 400, "PGRST100"),
        ("/users?id=is.maybe", {}, 400, "PGRST100"),
        ("/users?id=1", {}, 400, "PGRST100"),
        ("/users?select=id::nonsense", {}, 400, "42704"),
        ("/users?email=match.(", {}, 400, "2201B"),
        ("/users?select=id", {"Accept": "application/xml"}, 406, "PGRST107"),
        ("/users?select=id", {"Prefer": "handling=strict, nonsense=1"}, 400, "PGRST122"),
        ("/a/b", {}, 404, "PGRST125"),
    ],
)
async def test_what_cannot_be_read_is_refused_as_postgrest_refuses_it(
    project: Project, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answered = await project.get(path, **headers)

    assert (answered.status_code, answered.json()["code"]) == (status, code)
    assert answered.headers["proxy-status"] == f"PostgREST; error={code}"
    assert answered.json().keys() == {"code", "details", "hint", "message"}


async def test_a_name_nearly_right_gets_a_hint(project: Project) -> None:
    answered = await project.get("/user?select=id")

    assert answered.status_code == 404
    assert answered.json()["hint"] == "Perhaps you meant the table 'public.users'"


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


async def test_an_object_and_a_list_can_be_asked_without_nulls(project: Project) -> None:
    answered = await project.get(
        "/users?select=full_name,credits_balance&credits_balance=eq.0",
        Accept="application/vnd.pgrst.object+json;nulls=stripped",
    )

    assert answered.json() == {"credits_balance": 0}


async def test_the_first_acceptable_type_is_served(project: Project) -> None:
    answered = await project.get("/many?select=n&n=lte.2&order=n", Accept="text/html, text/csv;q=0.9, */*;q=0.1")

    assert answered.text == "n\n1\n2"


async def test_head_has_the_headers_of_get_and_no_body(project: Project) -> None:
    answered = await project.ask("HEAD", "/many?select=n&limit=10", Prefer="count=exact")

    assert (answered.status_code, answered.headers["content-range"], answered.content) == (206, "0-9/1500", b"")


async def test_policies_answer_as_the_user_in_the_token(project: Project) -> None:
    rows = await project.get("/credit_transactions?select=id&order=id", role="alice", Prefer="count=exact")

    assert rows.json() == [{"id": 2}, {"id": 3}]
    assert rows.headers["content-range"] == "0-1/2"


async def test_a_service_role_that_lost_its_bypass_sees_nothing_and_gets_no_error(project: Project) -> None:
    await project.sql("create role weak_service nologin; grant weak_service to authenticator")
    await project.sql("grant select on users to weak_service; grant usage on schema public to weak_service")
    try:
        answered = await project.get("/users?select=id", role="weak_service", Prefer="count=exact")
    finally:
        await project.sql("drop owned by weak_service; drop role weak_service")

    assert (answered.status_code, answered.json(), answered.headers["content-range"]) == (200, [], "*/0")


async def test_nobody_becomes_a_role_that_was_not_granted_to_the_authenticator(project: Project) -> None:
    answered = await project.get("/users?select=id", role="postgres")

    assert (answered.status_code, answered.json()["code"]) == (403, "42501")
    assert answered.json()["message"] == 'permission denied to set role "postgres"'


@pytest.mark.parametrize(
    ("authorization", "status", "message"),
    [
        ("Bearer", 401, "Empty JWT is sent in Authorization header"),
        ("Bearer sb_secret_0123456789", 401, "Expected 3 parts in JWT; got 1"),
        ("bearer a.b", 401, "Expected 3 parts in JWT; got 2"),
    ],
)
async def test_a_token_of_another_shape_is_refused(
    project: Project, authorization: str, status: int, message: str
) -> None:
    answered = await project.http.get("/users?select=id", headers={"Authorization": authorization})

    assert (answered.status_code, answered.json()["code"], answered.json()["message"]) == (status, "PGRST301", message)
    assert answered.headers["www-authenticate"] == f'Bearer error="invalid_token", error_description="{message}"'


async def test_the_root_describes_what_there_is(project: Project) -> None:
    answered = await project.get("/")

    assert answered.status_code == 200
    assert answered.headers["content-type"].startswith("application/openapi+json")
    assert {"/users", "/rpc/who"} <= json.loads(answered.text)["paths"].keys()
