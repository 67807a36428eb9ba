"""Whatever a request says, it stays a value or a quoted name."""

from urllib.parse import quote

import pytest

from tests.standin.conftest import Project

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRICKS = [
    "users; drop table users",
    'users"; drop table users; --',
    "users' or '1'='1",
    "id)) or true; --",
    "id%s",
    "id%(x)s",
    "id%",
    "\\",
    '"',
    "pg_sleep(9)",
    "id\x00x",
    "ïd",
]
STATE = """
select (select count(*) from pg_class), (select md5(string_agg(u::text, ',' order by id)) from users u),
       (select count(*) from credit_transactions), (select count(*) from auth.users)"""


@pytest.mark.parametrize(
    "path",
    [
        "/{}",
        "/rpc/{}",
        "/users?select={}",
        "/users?select=id::{}",
        "/users?select={}:id",
        "/users?select=metadata->{}",
        "/users?{}=eq.1",
        "/users?email={}.1",
        "/users?email=eq.{}",
        "/users?email=in.({})",
        "/users?email=like.*{}*",
        "/users?metadata->>{}=eq.1",
        "/users?or=({}.eq.1)",
        "/users?or=(email.eq.{})",
        "/users?order={}",
        "/users?order=id.{}",
        "/users?limit={}",
        "/users?offset={}",
    ],
)
async def test_no_part_of_a_reading_request_is_run_as_sql(readable: Project, path: str) -> None:
    before = await readable.sql(STATE)

    statuses = {trick: (await readable.get(path.format(quote(trick, safe="")))).status_code for trick in TRICKS}

    assert set(statuses.values()) <= {200, 400, 404}, statuses
    assert await readable.sql(STATE) == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/users", "key"),
        ("POST", "/users", "value"),
        ("POST", "/users?columns={}", "value"),
        ("POST", "/users?on_conflict={}", "value"),
        ("PATCH", "/users?id=is.null", "key"),
        ("PATCH", "/users?{}=eq.1", "value"),
        ("DELETE", "/users?email=eq.{}", None),
        ("DELETE", "/users?{}=eq.1", None),
        ("POST", "/rpc/get_user_credits", "key"),
        ("POST", "/rpc/get_user_credits", "value"),
    ],
)
async def test_no_part_of_a_writing_request_is_run_as_sql(
    readable: Project, method: str, path: str, body: str | None
) -> None:
    before = await readable.sql(STATE)
    statuses = {}
    for trick in TRICKS:
        rows = {"key": {trick: 1}, "value": {"id": trick, "p_user_id": trick}, None: None}[body]
        if "rpc" in path and body == "value":
            rows = {"p_user_id": trick}
        answered = await readable.ask(
            method, path.format(quote(trick, safe="")), json=rows, Prefer="resolution=ignore-duplicates"
        )
        statuses[trick] = answered.status_code

    assert set(statuses.values()) <= {204, 400, 404}, statuses
    assert await readable.sql(STATE) == before


async def test_a_role_is_never_run_as_sql(readable: Project) -> None:
    before = await readable.sql(STATE)

    statuses = {trick: (await readable.get("/users?select=id", role=trick)).status_code for trick in TRICKS}

    assert set(statuses.values()) <= {400, 401}, statuses
    assert await readable.sql(STATE) == before
