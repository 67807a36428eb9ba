"""Reading beside the recorded samples: filters, ranges, media types, tokens and refusals."""

import json

import pytest

from tests.standin.conftest import Project

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEDGER = "/credit_transactions?select=id&order=id&"


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ("id=gte.2&id=lt.4", [2, 3]),
        ("id=not.in.(1,2,3)", [4, 5]),
        ("description=ilike.*PACK*", [1]),
        ("description=imatch.^WELC", [2]),
        ("description=not.is.null&id=gt.3", [5]),
        ("description=is.not_null&id=gt.3", [5]),
        ("description=like(any).{pack,welc*}", [1, 2]),
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
async def test_filters_select_what_postgresql_would(readable: Project, filters: str, ids: list[int]) -> None:
    answered = await readable.get(LEDGER + filters)

    assert answered.status_code == 200, answered.text
    assert [row["id"] for row in answered.json()] == ids


async def test_a_longer_answer_is_cut_off_at_a_thousand_rows_and_says_so_only_when_counted(readable: Project) -> None:
    silent = await readable.get("/many?select=n")
    counted = await readable.get("/many?select=n", Prefer="count=exact")

    assert (silent.status_code, len(silent.json()), silent.headers["content-range"]) == (200, 1000, "0-999/*")
    assert (counted.status_code, len(counted.json()), counted.headers["content-range"]) == (206, 1000, "0-999/1500")


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
    readable: Project, query: str, headers: dict[str, str], status: int, content_range: str
) -> None:
    answered = await readable.get(f"/credit_transactions?select=id&order=id&{query}", **headers)

    assert (answered.status_code, answered.headers["content-range"]) == (status, content_range)


@pytest.mark.parametrize(("query", "headers"), [("limit=-1", {}), ("", {"Range": "5-2"})])
async def test_an_impossible_range_is_refused(readable: Project, query: str, headers: dict[str, str]) -> None:
    answered = await readable.get(f"/credit_transactions?{query}", **headers)

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
    readable: Project, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answered = await readable.get(path, **headers)

    assert (answered.status_code, answered.json()["code"]) == (status, code)
    assert answered.headers["proxy-status"] == f"PostgREST; error={code}"
    assert answered.json().keys() == {"code", "details", "hint", "message"}


async def test_a_name_nearly_right_gets_a_hint(readable: Project) -> None:
    answered = await readable.get("/user?select=id")

    assert answered.status_code == 404
    assert answered.json()["hint"] == "Perhaps you meant the table 'public.users'"


async def test_an_object_and_a_list_can_be_asked_without_nulls(readable: Project) -> None:
    answered = await readable.get(
        "/users?select=full_name,credits_balance&credits_balance=eq.0",
        Accept="application/vnd.pgrst.object+json;nulls=stripped",
    )

    assert answered.json() == {"credits_balance": 0}


async def test_the_first_acceptable_type_is_served(readable: Project) -> None:
    answered = await readable.get("/many?select=n&n=lte.2&order=n", Accept="text/html, text/csv;q=0.9, */*;q=0.1")

    assert answered.text == "n\n1\n2"


async def test_head_has_the_headers_of_get_and_no_body(readable: Project) -> None:
    answered = await readable.ask("HEAD", "/many?select=n&limit=10", Prefer="count=exact")

    assert (answered.status_code, answered.headers["content-range"], answered.content) == (206, "0-9/1500", b"")


async def test_policies_answer_as_the_user_in_the_token(readable: Project) -> None:
    rows = await readable.get("/credit_transactions?select=id&order=id", role="alice", Prefer="count=exact")

    assert rows.json() == [{"id": 2}, {"id": 3}]
    assert rows.headers["content-range"] == "0-1/2"


async def test_nobody_becomes_a_role_that_was_not_granted_to_the_authenticator(readable: Project) -> None:
    answered = await readable.get("/users?select=id", role="postgres")

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
    readable: Project, authorization: str, status: int, message: str
) -> None:
    answered = await readable.http.get("/users?select=id", headers={"Authorization": authorization})

    assert (answered.status_code, answered.json()["code"], answered.json()["message"]) == (status, "PGRST301", message)
    assert answered.headers["www-authenticate"] == f'Bearer error="invalid_token", error_description="{message}"'


async def test_the_root_describes_what_there_is(readable: Project) -> None:
    answered = await readable.get("/")

    assert answered.status_code == 200
    assert answered.headers["content-type"].startswith("application/openapi+json")
    assert {"/users", "/rpc/who"} <= json.loads(answered.text)["paths"].keys()
