"""Each fault does what its line says, and nothing else."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import psycopg
import pytest
import pytest_asyncio
from psycopg import errors, sql
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sidecar.demo.faults import FAULTS, Fault, FaultyGateway, database_faults, handed_key, named_faults
from sidecar.demo.seed import INCIDENT_USER
from sidecar.errors import UsageError

SECRET = "a-secret-of-the-project-that-is-long-enough"
ISSUED = {"iss": "supabase", "ref": "velro", "iat": 1_700_000_000, "exp": 4_000_000_000}
ANON = jwt.encode({**ISSUED, "role": "anon"}, SECRET, "HS256")
SERVICE = jwt.encode({**ISSUED, "role": "service_role"}, SECRET, "HS256")


def handed(*faults: Fault) -> str:
    return handed_key(frozenset(faults), anon_key=ANON, service_key=SERVICE, jwt_secret=SECRET)


def test_the_list_of_faults_is_the_contracts() -> None:
    names = "anon_key forged_key expired_key no_bypass rls_leak auth_down rest_down truncated_reads wrong_balance"
    more = "backend_down forgeable_ledger writable_balance cors_reflects forged_tokens_accepted"
    assert {fault.value for fault in Fault} == {*names.split(), *more.split()}
    assert set(FAULTS) == set(Fault)


def test_a_fault_that_does_not_exist_is_a_usage_error() -> None:
    assert named_faults(["no_bypass", "rls_leak"]) == {Fault.NO_BYPASS, Fault.RLS_LEAK}
    with pytest.raises(UsageError, match="there is no fault gremlins"):
        named_faults(["no_bypass", "gremlins"])


def test_without_a_fault_the_key_is_the_service_key() -> None:
    assert handed(*set(Fault) - {Fault.ANON_KEY, Fault.FORGED_KEY, Fault.EXPIRED_KEY}) == SERVICE


def test_with_anon_key_the_key_is_the_anon_key() -> None:
    assert handed(Fault.ANON_KEY) == ANON


def test_a_forged_key_says_the_same_and_is_signed_by_another() -> None:
    key = handed(Fault.FORGED_KEY)
    assert jwt.decode(key, options={"verify_signature": False}) == jwt.decode(SERVICE, SECRET, ["HS256"])
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(key, SECRET, ["HS256"])


def test_an_expired_key_is_signed_rightly_and_too_old() -> None:
    key = handed(Fault.EXPIRED_KEY)
    claims = jwt.decode(key, SECRET, ["HS256"], {"verify_exp": False})
    assert claims["role"] == "service_role"
    assert claims["exp"] < datetime.now(UTC).timestamp()


async def value(connection: psycopg.AsyncConnection, role: str, query: str, user: str = INCIDENT_USER) -> Any:  # noqa: ANN401 - whatever the query yields
    async with connection.transaction():
        await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        claims = json.dumps({"role": role, "sub": user})
        await connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        row = await (await connection.execute(query.encode())).fetchone()
        return row[0] if row else None


@pytest_asyncio.fixture
async def broken(connection: psycopg.AsyncConnection, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Turn a database fault on, twice as a kept database would, and off again: roles belong to all databases."""
    fault = database_faults()[request.param]
    try:
        await connection.execute(fault.on.encode())
        await connection.execute(fault.on.encode())
        yield
    finally:
        await connection.execute(fault.off.encode())
        await connection.execute(fault.off.encode())


PROFILES = "select count(*) from public.users"
FORGE = """
insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)
values (auth.uid(), 'bonus', 9000, 9000) returning amount
"""
WRITERS = "select public.sidecar_catalogue('public.users', 'public.credit_transactions') -> 'ledger_writers'"


async def test_without_faults_the_service_role_sees_all_and_nobody_forges(connection: psycopg.AsyncConnection) -> None:
    assert await value(connection, "service_role", PROFILES) > 200
    assert await value(connection, "anon", PROFILES) == 0
    assert await value(connection, "service_role", WRITERS) == []
    with pytest.raises(errors.InsufficientPrivilege):
        await value(connection, "authenticated", FORGE)


@pytest.mark.parametrize("broken", [Fault.NO_BYPASS], indirect=True)
@pytest.mark.usefixtures("broken")
async def test_no_bypass_makes_the_service_role_see_nothing(connection: psycopg.AsyncConnection) -> None:
    assert await value(connection, "service_role", PROFILES, user="") == 0


@pytest.mark.parametrize("broken", [Fault.RLS_LEAK], indirect=True)
@pytest.mark.usefixtures("broken")
async def test_rls_leak_lets_anonymous_visitors_read_profiles(connection: psycopg.AsyncConnection) -> None:
    assert await value(connection, "anon", PROFILES) > 200


@pytest.mark.parametrize("broken", [Fault.FORGEABLE_LEDGER], indirect=True)
@pytest.mark.usefixtures("broken")
async def test_forgeable_ledger_lets_a_user_write_credits(connection: psycopg.AsyncConnection) -> None:
    assert await value(connection, "authenticated", FORGE) == 9000
    assert await value(connection, "service_role", WRITERS) == ["authenticated"]


ENRICH = "update public.users set credits_balance = 9000 where id = auth.uid() returning credits_balance"
SOMEBODY = "select id::text from public.users where email = 'canary@velro.app'"


async def test_without_faults_a_user_changes_its_name_and_not_its_balance(connection: psycopg.AsyncConnection) -> None:
    user = await value(connection, "service_role", SOMEBODY)
    rename = ENRICH.replace("credits_balance = 9000", "full_name = 'Another'")
    assert await value(connection, "authenticated", rename, user=user) == 500
    with pytest.raises(errors.InsufficientPrivilege):
        await value(connection, "authenticated", ENRICH, user=user)


@pytest.mark.parametrize("broken", [Fault.WRITABLE_BALANCE], indirect=True)
@pytest.mark.usefixtures("broken")
async def test_writable_balance_lets_a_user_set_it(connection: psycopg.AsyncConnection) -> None:
    user = await value(connection, "service_role", SOMEBODY)
    assert await value(connection, "authenticated", ENRICH, user=user) == 9000


@pytest.mark.parametrize("fault", sorted(database_faults()))
async def test_a_database_fault_leaves_nothing_behind_once_it_is_off(
    connection: psycopg.AsyncConnection, fault: Fault
) -> None:
    state = (
        "select (select jsonb_agg(p order by policyname) from pg_policies p),"
        " (select jsonb_agg(relacl::text order by oid) from pg_class where relnamespace = 'public'::regnamespace),"
        " (select rolbypassrls from pg_roles where rolname = 'service_role')"
    )
    before = await (await connection.execute(state)).fetchone()
    change = database_faults()[fault]
    await connection.execute(change.on.encode())
    changed = await (await connection.execute(state)).fetchone()
    await connection.execute(change.off.encode())
    assert await (await connection.execute(state)).fetchone() == before != changed


async def answer(*faults: Fault, method: str = "GET", url: str, key: bool = True) -> httpx.Response:
    async def sound(_request: Request) -> Response:
        return JSONResponse({"sound": True})

    app = Starlette(routes=[Route("/{path:path}", sound, methods=["GET", "POST"])])
    transport = httpx.ASGITransport(FaultyGateway(app, frozenset(faults)))
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
        return await client.request(method, url, headers={"apikey": "k"} if key else {})


def is_sound(answered: httpx.Response) -> bool:
    return answered.status_code == 200 and answered.json() == {"sound": True}


@pytest.mark.parametrize(
    ("fault", "broken", "sound"),
    [
        (Fault.AUTH_DOWN, "/auth/v1/admin/users", "/rest/v1/users"),
        (Fault.REST_DOWN, "/rest/v1/users", "/auth/v1/health"),
    ],
)
async def test_a_service_that_is_down_answers_503_and_the_other_one_is_well(
    fault: Fault, broken: str, sound: str
) -> None:
    assert (await answer(fault, url=broken)).status_code == 503
    assert is_sound(await answer(fault, url=sound))


async def test_the_gateway_asks_for_a_key_even_when_the_service_behind_it_is_down() -> None:
    assert is_sound(await answer(Fault.REST_DOWN, Fault.AUTH_DOWN, url="/rest/v1/", key=False))


@pytest.mark.parametrize(
    "url",
    [
        "/rest/v1/users?select=id&order=id.asc&limit=1000&id=gt.0a0a",
        "/rest/v1/credit_transactions?select=id&order=user_id.asc,id.asc&user_id=gte.a&or=(user_id.gt.a,and(user_id.eq.a,id.gt.b))",
        "/rest/v1/credit_transactions?select=id&order=user_id.asc,id.asc&and=(or(user_id.gt.a),created_at.lt.2026-01-01)",
    ],
)
async def test_truncated_reads_empties_later_pages(url: str) -> None:
    found = await answer(Fault.TRUNCATED_READS, url=url)
    assert (found.status_code, found.json(), found.headers["content-range"]) == (200, [], "*/*")
    assert is_sound(await answer(url=url))


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/rest/v1/users?select=id&order=id.asc&limit=1000"),
        ("GET", "/rest/v1/users?select=id&order=id.asc&created_at=gt.2026-01-01"),
        ("GET", "/rest/v1/users?select=id&limit=1&id=gt.a"),
        ("GET", "/rest/v1/users?select=id&id=in.(a,b)&order=id.asc"),
        ("POST", "/rest/v1/users?order=id.asc&id=gt.a"),
        ("GET", "/auth/v1/admin/users?order=id&id=gt.a"),
    ],
)
async def test_truncated_reads_leaves_first_pages_counts_and_writes_alone(method: str, url: str) -> None:
    assert is_sound(await answer(Fault.TRUNCATED_READS, method=method, url=url))
