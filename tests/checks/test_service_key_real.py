"""The whole check against PostgreSQL and the stand-in's gateway, with keys of both families."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import pytest
import pytest_asyncio
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.checks.context import ProbeContext
from sidecar.clock import SystemClock
from sidecar.demo.faults import Fault, database_faults, handed_key
from sidecar.demo.postgres import PostgresServer
from sidecar.demo.seed import CANARY_EMAIL, CANARY_PASSWORD
from sidecar.demo.standin import Keys, make_keys, standin
from sidecar.domain.check import Observation
from tests.checks.cast import look_key
from tests.direct.cast import make_seeded

SECRET = "the-secret-of-these-tests-alone-0123456789"
KEYS: Mapping[str, object] = {
    "tables": ["public.users", "public.credit_transactions", "public.generations"],
    "public_tables": ["public.ai_models"],
    "canary": {"nonce": "the-nonce"},
    "user": {
        "email": CANARY_EMAIL,
        "password": CANARY_PASSWORD,
        "owned": {"public.credit_transactions": "user_id", "public.generations": "user_id"},
    },
    "write": {},
}


@dataclass(frozen=True, kw_only=True)
class Served:
    url: str
    database_url: str
    keys: Keys

    async def look(self, service: str, anon: str | None = None) -> Observation:
        around = ProbeContext(
            clock=SystemClock(),
            supabase_url=self.url,
            service_key=service,
            anon_key=anon or self.keys.anon,
            tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )
        return await look_key(around, KEYS, timeout_seconds=30)

    async def sql(self, *statements: str) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
            for statement in statements:
                done = await connection.execute(statement.encode())
                found = await done.fetchall() if done.description else []
        return found

    @contextlib.asynccontextmanager
    async def spoilt(self, on: str, off: str) -> AsyncIterator[None]:
        """Spoil something and mend it: roles and this module's database outlive a test."""
        await self.sql(on)
        try:
            yield
        finally:
            await self.sql(off)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(postgres_server: PostgresServer) -> AsyncIterator[Served]:
    await make_seeded(postgres_server, "service_key_real")
    keys = make_keys(SECRET, "demo", now=datetime.now(UTC))
    url = postgres_server.url("service_key_real")
    async with standin(url, jwt_secret=SECRET, keys=keys) as project:
        yield Served(url=project.supabase_url, database_url=url, keys=keys)


on_module = pytest.mark.asyncio(loop_scope="module")


@on_module
async def test_both_families_prove_the_bypass_with_every_step(served: Served) -> None:
    for service, anon in ((served.keys.service, served.keys.anon), (served.keys.secret, served.keys.publishable)):
        before = await served.sql("select nonce, touched_at from public.sidecar_canary")
        seen = await served.look(service, anon)
        after = await served.sql("select nonce, touched_at from public.sidecar_canary")
        assert seen.reason == "ok", seen
        steps = " ".join(str(step) for step in seen.facts["steps"])  # type: ignore[union-attr]
        assert all(f"S{number} " in steps for number in range(1, 9)), steps
        assert before[0][0] == after[0][0], "the nonce is not touched"
        assert before[0][1] != after[0][1]


@on_module
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.ANON_KEY, "key_wrong_role"),
        (Fault.FORGED_KEY, "key_invalid"),
        (Fault.EXPIRED_KEY, "key_expired"),
    ],
)
async def test_a_fault_of_the_key_has_its_reason(served: Served, fault: Fault, reason: str) -> None:
    keys = served.keys
    key = handed_key({fault}, anon_key=keys.anon, service_key=keys.service, jwt_secret=SECRET)
    assert (await served.look(key)).reason == reason


@on_module
@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault.NO_BYPASS, "rls_still_applied"), (Fault.RLS_LEAK, "rls_leak_anon")]
)
async def test_a_fault_of_the_database_has_its_reason(served: Served, fault: Fault, reason: str) -> None:
    change = database_faults()[fault]
    async with served.spoilt(change.on, change.off):
        assert (await served.look(served.keys.service)).reason == reason


SWALLOWS = """
create function public.no() returns trigger language plpgsql as 'begin return null; end';
create trigger no before update on public.sidecar_canary for each row execute function public.no()
"""
CHANGES = SWALLOWS.replace("return null", "new.touched_at = now() - interval ''1 day''; return new")
UNTRIGGER = "drop trigger no on public.sidecar_canary; drop function public.no()"
SPOILT = {
    "28 a policy shows every profile to whoever signs in": (
        "create policy leak on public.users for select to authenticated using (true)",
        "drop policy leak on public.users",
        "rls_leak_authenticated",
    ),
    "28 a policy shows the canary": (
        "create policy leak on public.sidecar_canary for select to authenticated using (true)",
        "drop policy leak on public.sidecar_canary",
        "rls_leak_authenticated",
    ),
    "28 the user's own profile is hidden": (
        'alter policy "Users see their own profile" on public.users using (false)',
        'alter policy "Users see their own profile" on public.users using (auth.uid() = id)',
        "profile_hidden_or_missing",
    ),
    "30 the service role may not update": (
        "revoke update on public.sidecar_canary from service_role",
        "grant update on public.sidecar_canary to service_role",
        "grant_missing_update",
    ),
    "30 a trigger swallows the write": (
        SWALLOWS,
        UNTRIGGER,
        "write_blocked_by_rls",
    ),
    "a trigger writes something else": (
        CHANGES,
        UNTRIGGER,
        "inconsistent",
    ),
    "17 no grant": (
        "revoke select on public.generations from service_role",
        "grant select on public.generations to service_role",
        "grant_missing",
    ),
    "22 the canary was changed": (
        "update public.sidecar_canary set nonce = 'another'",
        "update public.sidecar_canary set nonce = 'the-nonce'",
        "canary_tampered",
    ),
}


@on_module
@pytest.mark.parametrize("name", SPOILT)
async def test_what_is_broken_in_the_database_has_its_reason(served: Served, name: str) -> None:
    on, off, reason = SPOILT[name]
    async with served.spoilt(on, off):
        seen = await served.look(served.keys.service)
    assert seen.reason == reason, seen


@on_module
async def test_a_gateway_that_lets_the_key_overrule_the_token_breaks_the_control(served: Served) -> None:
    """Row 29, seen from where it would come: whatever token is sent beside the service key, the key's role answers."""

    def overruling(gateway: ASGIApp) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            headers = dict(scope.get("headers", ()))
            if headers.get(b"apikey") == served.keys.service.encode():
                headers[b"authorization"] = b"Bearer " + served.keys.service.encode()
                scope = {**scope, "headers": list(headers.items())}
            await gateway(scope, receive, send)

        return app

    async with standin(served.database_url, jwt_secret=SECRET, keys=served.keys, wrap=overruling) as project:
        spoilt = Served(url=project.supabase_url, database_url=served.database_url, keys=served.keys)
        assert (await spoilt.look(served.keys.service)).reason == "checker_broken"
