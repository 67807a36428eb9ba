"""The account that `explain` tells, read by Supabase's own client from the stand-in."""

import psycopg
import pytest

from sidecar.data.account import read_account
from sidecar.demo.seed import CANARY_EMAIL
from sidecar.demo.stack import Stack, StackSpec, stack
from sidecar.errors import AccessDenied, TransientError

NOBODY = "00000000-0000-4000-8000-00000000ffff"


async def _canary(served: Stack) -> str:
    async with await psycopg.AsyncConnection.connect(served.database_url) as connection:
        found = await connection.execute("select id::text from auth.users where email = %s", (CANARY_EMAIL,))
        row = await found.fetchone()
    assert row is not None
    return str(row[0])


async def test_an_account_is_told_and_a_missing_one_is_none() -> None:
    async with stack(StackSpec(users=20, orphans=1, seed=7)) as served:
        account = await read_account(served.supabase_url, served.service_key, await _canary(served))
        assert account is not None
        assert account.last_sign_in_at is None
        assert await read_account(served.supabase_url, served.service_key, NOBODY) is None
        with pytest.raises(AccessDenied, match="status 403"):
            await read_account(served.supabase_url, served.anon_key, NOBODY)


async def test_an_auth_service_that_is_down_is_transient() -> None:
    async with stack(StackSpec(users=20, orphans=1, seed=7, faults=("auth_down",))) as served:
        with pytest.raises(TransientError, match="503"):
            await read_account(served.supabase_url, served.service_key, NOBODY)
