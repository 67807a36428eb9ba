"""The stack as a whole: every fault reaches the place it is meant for, and kept data is found as it was left."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from sidecar.demo.faults import Fault
from sidecar.demo.premises import temporary_data_dir
from sidecar.demo.stack import Stack, StackSpec, stack, stack_only
from sidecar.demo.standin import sign
from sidecar.errors import UsageError
from sidecar.wire import key_headers


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with temporary_data_dir() as path:
        yield path


def spec(*faults: str, data_dir: Path | None = None) -> StackSpec:
    return StackSpec(users=60, orphans=3, seed=7, faults=faults, data_dir=data_dir)


async def get(url: str, key: str = "", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url, headers={**(key_headers(key) if key else {}), **headers})


async def profiles(served: Stack, key: str) -> httpx.Response:
    return await get(f"{served.supabase_url}/rest/v1/users?select=id", key)


async def test_without_faults_everything_answers_as_it_should() -> None:
    async with stack(spec()) as served:
        assert len((await profiles(served, served.service_key)).json()) == 60 - 3 + 2 + 1
        assert (await profiles(served, served.anon_key)).json() == []
        canary = await get(f"{served.supabase_url}/rest/v1/sidecar_canary?select=id,nonce", served.service_key)
        assert canary.json() == [{"id": 1, "nonce": served.canary_nonce}]
        users = await get(f"{served.supabase_url}/auth/v1/admin/users?page=1&per_page=1", served.service_key)
        assert users.status_code == 200
        balance = await get(
            f"{served.backend_url}/api/v1/credits/balance", Authorization=f"Bearer {served.canary_token}"
        )
        assert balance.json() == {"balance": served.canary_credits}
        assert served.seeded.repairable == 4
        shown = repr(served)
        assert not [secret for secret in (served.service_key, served.jwt_secret, served.anon_key) if secret in shown]
        data_dir = served.data_dir
    assert not data_dir.exists()


@pytest.mark.parametrize(
    ("fault", "status", "count"),
    [
        (Fault.ANON_KEY, 200, 0),
        (Fault.FORGED_KEY, 401, None),
        (Fault.EXPIRED_KEY, 401, None),
        (Fault.NO_BYPASS, 200, 0),
        (Fault.REST_DOWN, 503, None),
    ],
)
async def test_faults_of_sight_reach_sidecars_key(fault: Fault, status: int, count: int | None) -> None:
    async with stack(spec(fault)) as served:
        seen = await profiles(served, served.service_key)
        assert seen.status_code == status
        assert count is None or len(seen.json()) == count


async def test_truncated_reads_cut_a_stream_and_leave_its_count() -> None:
    async with stack(spec("truncated_reads")) as served:
        url = f"{served.supabase_url}/rest/v1/users?select=id&order=id.asc&limit=10"
        first = await get(url, served.service_key, Prefer="count=exact")
        assert (len(first.json()), first.headers["content-range"]) == (10, "0-9/60")
        assert (await get(f"{url}&id=gt.{first.json()[-1]['id']}", served.service_key)).json() == []


async def test_the_backends_faults_leave_supabase_well() -> None:
    async with stack(spec("wrong_balance", "auth_down")) as served:
        token = f"Bearer {served.canary_token}"
        assert (await get(f"{served.backend_url}/api/v1/credits/balance", Authorization=token)).json() == {
            "balance": 100
        }
        assert (await get(f"{served.supabase_url}/auth/v1/health", served.anon_key)).status_code == 503
        assert (await profiles(served, served.service_key)).status_code == 200
    async with stack(spec("backend_down", "rls_leak")) as served:
        assert (await get(f"{served.backend_url}/health")).status_code == 502
        assert len((await profiles(served, served.anon_key)).json()) == 60


@pytest.mark.parametrize("broken", [False, True])
async def test_the_faults_of_tokens_and_origins_reach_the_backend_and_are_off_otherwise(broken: bool) -> None:  # noqa: FBT001 - a parametrized value
    faults = ("cors_reflects", "forged_tokens_accepted") if broken else ()
    forged = sign({"sub": str(uuid.uuid4()), "aud": "authenticated"}, "another project's secret, long enough")
    async with stack(spec(*faults)) as served:
        balance = f"{served.backend_url}/api/v1/credits/balance"
        refused = await get(balance, Origin="https://evil.example")
        assert refused.headers.get("access-control-allow-origin") == ("https://evil.example" if broken else None)
        assert (await get(balance, Authorization=f"Bearer {forged}")).status_code == (200 if broken else 401)
        token = f"Bearer {served.canary_token}"
        listed = await get(f"{served.backend_url}/api/v1/generations", Authorization=token)
        assert (listed.status_code, type(listed.json())) == (200, list)


async def test_kept_data_is_found_as_it_was_left_and_faults_are_not_kept(data_dir: Path) -> None:
    async with stack(spec("no_bypass", "rls_leak", "forgeable_ledger", data_dir=data_dir)) as served:
        first = served
        async with await psycopg.AsyncConnection.connect(served.database_url) as connection:
            await connection.execute("delete from public.users where email = 'nobody' or credits_balance = 500")
            await connection.execute(
                "insert into public.users (id, email, credits_balance) select id, email, 500 from auth.users"
                " where email = 'canary@velro.app'"
            )
            await connection.execute("update public.users set full_name = 'Kept' where email = 'canary@velro.app'")
    async with stack(StackSpec(users=9, orphans=0, seed=1, data_dir=data_dir)) as served:
        kept = await get(f"{served.supabase_url}/rest/v1/users?full_name=eq.Kept&select=email", served.service_key)
        assert kept.json() == [{"email": "canary@velro.app"}]
        assert (await profiles(served, served.anon_key)).json() == []
        assert (served.seeded, served.canary_nonce, served.jwt_secret) == (
            first.seeded,
            first.canary_nonce,
            first.jwt_secret,
        )
    for private in ("jwt.secret", "stack.json", "postgres.password"):
        assert (data_dir / private).stat().st_mode & 0o077 == 0


async def test_a_loading_that_was_cut_off_is_done_again(data_dir: Path) -> None:
    async with stack(spec(data_dir=data_dir)):
        (data_dir / "stack.json").unlink()
    async with stack(spec(data_dir=data_dir)) as served:
        assert len((await profiles(served, served.service_key)).json()) == 60


async def test_the_stack_alone_serves_somebodys_sql(data_dir: Path) -> None:
    file = data_dir / "somebody.sql"
    file.write_text(
        "create role reader nologin; create table public.things (id integer primary key);\n"
        "copy public.things from stdin;\n1\n2\n\\.\n"
        "do $$ begin if to_regrole('service_role') is null then create role service_role bypassrls; end if;\n"
        "if to_regrole('anon') is null then create role anon; end if; end $$;\n"
        "grant select on public.things to service_role;\n"
    )
    secret = "a-secret-of-somebodys-that-is-long-enough"
    async with stack_only(sql=file, data_dir=data_dir / "data", jwt_secret=secret) as served:
        document = served.document()
        names = {"rest_url", "supabase_url", "database_url", "anon_key", "service_key", "jwt_secret"}
        assert set(document) == names
        assert document["jwt_secret"] == secret
        for url in (f"{served.supabase_url}/rest/v1/things", f"{served.rest_url}/things"):
            assert (await get(url, served.service_key)).json() == [{"id": 1}, {"id": 2}]
    with pytest.raises(UsageError, match="another kind of database"):
        async with stack(spec(data_dir=data_dir / "data")):
            pytest.fail("the demo ran over somebody's SQL")


@pytest.mark.parametrize("text", ["select 1; this is not sql;", None])
async def test_sql_that_cannot_be_loaded_is_a_usage_error(data_dir: Path, text: str | None) -> None:
    file = data_dir / "wrong.sql"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=r"wrong\.sql cannot be loaded: .*(syntax error|No such file)"):
        async with stack_only(sql=file):
            pytest.fail("a broken file was served")


async def test_the_stack_alone_without_sql_serves_the_demos_schema_without_seeds() -> None:
    async with stack_only() as served:
        empty = await get(f"{served.supabase_url}/rest/v1/credit_transactions?select=id", served.service_key)
        assert (empty.status_code, empty.json()) == (200, [])


async def test_nonsense_is_refused_before_anything_starts(data_dir: Path) -> None:
    for wrong in (
        StackSpec(users=1, orphans=2, seed=1, data_dir=data_dir / "a"),
        StackSpec(users=2, orphans=1, seed=1, faults=["gremlins"], data_dir=data_dir / "a"),
    ):
        with pytest.raises(UsageError):
            async with stack(wrong):
                pytest.fail("nonsense was started")
    assert not (data_dir / "a").exists()
