"""The three roles may do what a repair needs, and nothing else."""

from collections.abc import AsyncIterator
from importlib import resources

import psycopg
import pytest

from sidecar.roles import roles_sql
from tests.domain.cast import RULE

USER = "11111111-1111-4111-8111-111111111111"
ROW = (
    "insert into public.users (id, email, full_name, credits_balance, metadata) "
    "select '11111111-1111-4111-8111-111111111111', 'a@b.c', null, 7, '{}'"
)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("schema.sql").read_bytes())
        await connection.execute(roles_sql([RULE]).encode())
        await connection.execute("insert into auth.users (id, email) values (%s, 'a@b.c')", (USER,))
        yield connection


async def as_role(connection: psycopg.AsyncConnection, role: str, statement: str) -> int:
    """Run one statement as the login `sidecar` would; return how many rows it touched."""
    async with connection.transaction():
        await connection.execute("set local session authorization sidecar")
        await connection.execute(f"set local role {role}".encode())
        return (await connection.execute(statement.encode())).rowcount


async def test_the_sql_may_be_run_again(connection: psycopg.AsyncConnection) -> None:
    await connection.execute(roles_sql([RULE]).encode())
    assert await as_role(connection, "sidecar_detector", "select from auth.users") == 1


async def test_the_fixer_inserts_named_columns_and_corrects_money(connection: psycopg.AsyncConnection) -> None:
    assert await as_role(connection, "sidecar_fixer", ROW) == 1
    assert await as_role(connection, "sidecar_fixer", "update public.users set credits_balance = 8") == 1


async def test_the_operator_deletes(connection: psycopg.AsyncConnection) -> None:
    await as_role(connection, "sidecar_fixer", ROW)
    assert await as_role(connection, "sidecar_operator", "delete from public.users where credits_balance = 7") == 1


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("sidecar_detector", ROW),
        ("sidecar_detector", "select encrypted_password from auth.users"),
        ("sidecar_fixer", "update public.users set email = 'x@y.z'"),
        ("sidecar_fixer", "update public.users set current_plan = 'pro'"),
        ("sidecar_fixer", "insert into public.users (id, email, current_plan) values (gen_random_uuid(), 'b', 'pro')"),
        ("sidecar_fixer", "delete from public.users"),
        ("sidecar_fixer", "select from public.credit_transactions"),
        ("sidecar_fixer", "update public.credit_transactions set amount = 1"),
        ("sidecar_fixer", "select from auth.users"),
        ("sidecar_fixer", "create table sidecar.mine (id int)"),
        ("sidecar_operator", ROW),
        ("sidecar_operator", "update public.users set credits_balance = 8"),
        ("sidecar", "select from public.users"),
        ("sidecar", "select from auth.users"),
    ],
)
async def test_nothing_else_is_allowed(connection: psycopg.AsyncConnection, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await as_role(connection, role, statement)


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
async def test_the_api_does_not_see_the_memory(connection: psycopg.AsyncConnection, role: str) -> None:
    async with connection.transaction():
        await connection.execute(f"set local role {role}".encode())
        found = await connection.execute("select has_schema_privilege('sidecar', 'usage, create')")
        assert await found.fetchone() == (False,)
