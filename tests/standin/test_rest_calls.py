"""Calling functions beside the recorded samples, the canary fixture's probe above all."""

import pytest
import pytest_asyncio

from sidecar.fixture import fixture_sql
from tests.standin.conftest import Project

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROBE = """
create function probe(t regclass[]) returns jsonb language sql stable set search_path = '' as $$
  select jsonb_object_agg(x::text, pg_catalog.row_security_active(x)) from pg_catalog.unnest(t) x $$;
revoke execute on function probe from public;
grant execute on function probe to service_role
"""
FUNCTIONS = """
create function sums(numbers int[], factor int default 1) returns int language sql immutable
  as 'select sum(n)::int * factor from unnest(numbers) n';
create function words() returns setof text language sql stable as $$ select * from (values ('a'), ('b')) v $$;
create function pair() returns table (one int, two text) language sql stable as $$ select 1, 'x' $$;
create function outs(out one int, out two text) language sql stable as $$ select 1, 'x' $$;
create function wraps(j jsonb) returns jsonb language sql stable as 'select j';
create function many_words(variadic parts text[]) returns text language sql immutable
  as $$ select string_agg(p, '+') from unnest(parts) p $$;
create function hurried() returns void language sql set statement_timeout = '50ms' as 'select pg_sleep(5)';
create function unsure(a int) returns int language sql stable as 'select 1';
create function unsure(a text) returns int language sql stable as 'select 2';
create function adds() returns int language sql as 'insert into locked values ((random() * 1e9)::int); select 1';
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def project(readable: Project) -> Project:
    await readable.sql(PROBE)
    await readable.sql(FUNCTIONS)
    await readable.sql(fixture_sql("the-nonce"))
    return readable


async def test_the_fixture_s_probe_tells_what_binds_the_caller(project: Project) -> None:
    answered = await project.ask("POST", "/rpc/sidecar_rls_probe", json={"t": ["public.users", "public.open_table"]})

    told = answered.json()
    assert answered.status_code == 200
    assert (told["user"], told["bypass"], told["claims_role"]) == ("service_role", True, "service_role")
    assert told["tables"]["public.users"] == {"rls": True, "force": False, "active": False, "sel": True, "upd": True}
    assert told["tables"]["public.open_table"]["rls"] is False


async def test_names_of_tables_bind_to_regclass(project: Project) -> None:
    posted = await project.ask("POST", "/rpc/probe", json={"t": ["public.users", "public.open_table"]})
    got = await project.get("/rpc/probe?t={public.users}")
    unknown = await project.ask("POST", "/rpc/probe", json={"t": ["public.nope"]})
    closed = await project.ask("POST", "/rpc/probe", role="anon", json={"t": ["public.users"]})

    assert posted.json() == {"public.users": False, "public.open_table": False}
    assert got.json() == {"public.users": False}
    assert (unknown.status_code, unknown.json()["code"]) == (404, "42P01")
    assert (closed.status_code, closed.json()["code"]) == (401, "42501")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "expected"),
    [
        ("POST", "/rpc/sums", {"numbers": [1, 2, 3]}, 200, 6),
        ("POST", "/rpc/sums", {"numbers": [1, 2, 3], "factor": 2}, 200, 12),
        ("GET", "/rpc/sums?numbers={1,2,3}&factor=3", None, 200, 18),
        ("POST", "/rpc/words", {}, 200, ["a", "b"]),
        ("GET", "/rpc/words?limit=1", None, 200, ["a"]),
        ("POST", "/rpc/pair", {}, 200, [{"one": 1, "two": "x"}]),
        ("POST", "/rpc/outs", {}, 200, {"one": 1, "two": "x"}),
        ("POST", "/rpc/wraps", {"j": {"n": [1, {"a": None}]}}, 200, {"n": [1, {"a": None}]}),
        ("POST", "/rpc/many_words", {"parts": ["a", "b"]}, 200, "a+b"),
        (
            "GET",
            "/rpc/ledger_of?p_user_id=00000000-0000-4000-8000-000000000001&amount=lt.0&select=id",
            None,
            200,
            [{"id": 3}],
        ),
        ("POST", "/rpc/adds", {}, 200, 1),
        ("POST", "/rpc/adds", None, 200, 1),
    ],
)
async def test_functions_take_arguments_and_give_results_of_any_shape(
    project: Project, method: str, path: str, body: object, status: int, expected: object
) -> None:
    answered = await project.ask(method, path, json=body)

    assert (answered.status_code, answered.json()) == (status, expected)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/rpc/unsure", {"a": 1}, 300, "PGRST203"),
        ("POST", "/rpc/sums", {"factor": 1}, 404, "PGRST202"),
        ("GET", "/rpc/sums", None, 404, "PGRST202"),
        ("GET", "/rpc/adds", None, 405, "25006"),
        ("PATCH", "/rpc/adds", {}, 405, "PGRST101"),
        ("POST", "/rpc/sums?select=", {"numbers": ["x"]}, 400, "22P02"),
    ],
)
async def test_a_call_that_does_not_fit_is_refused(
    project: Project, method: str, path: str, body: object, status: int, code: str
) -> None:
    answered = await project.ask(method, path, json=body)

    assert (answered.status_code, answered.json()["code"]) == (status, code)


async def test_a_function_s_own_time_limit_comes_before_the_role_s(project: Project) -> None:
    answered = await project.ask("POST", "/rpc/hurried", json={})

    assert (answered.status_code, answered.json()["code"]) == (500, "57014")
