"""Each damage that the kind `catalogue` knows, done to a real PostgreSQL, and each way in which it sees nothing."""

import asyncio
import contextlib
import gc
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources

import psycopg
import pytest
import pytest_asyncio

from sidecar.checks.catalogue import CatalogueProbe
from sidecar.checks.catalogue_keys import CatalogueKeys
from sidecar.demo.faults import Fault, database_faults
from sidecar.demo.postgres import PostgresServer
from sidecar.domain.check import Observation, Verdict
from sidecar.domain.reasons import CatalogueReason
from sidecar.fixture import fixture_sql
from sidecar.roles import roles_sql
from tests.checks.cast import check, context
from tests.domain.cast import RULE
from tests.pooler import pooled
from tests.scripted import unused_port

LOGIN = "sidecar_of_the_catalogue_tests"
KEYS: Mapping[str, object] = {
    "ledger": "public.credit_transactions",
    "tables": {
        "public.users": {
            "policies": ["Users see their own profile", "Users change their own profile"],
            "columns": ["id", "email", "full_name"],
            "unwritable": ["credits_balance"],
            "references": {"id": "auth.users"},
            "indexes": [["id"]],
        },
        "public.credit_transactions": {
            "policies": ["Users see their own ledger"],
            "policy_count": 1,
            "indexes": [["user_id"], ["id"]],
        },
        "public.generations": {"policy_count": 4, "references": {"user_id": "public.users"}},
    },
    "triggers": [
        {
            "table": "auth.users",
            "name": "on_auth_user_created",
            "function": "public.handle_new_user",
            "event": "insert",
        }
    ],
}


@dataclass(frozen=True, kw_only=True)
class Catalogued:
    """A database of the test's own."""

    url: str
    login_url: str

    async def sql(self, statement: str) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(statement.encode())

    async def look(
        self, keys: Mapping[str, object] = KEYS, *, url: str | None = None, seconds: float = 10
    ) -> Observation:
        around = replace(context(), database_url=url or self.login_url)
        spec = CatalogueKeys.model_validate(keys).to_spec()
        return await CatalogueProbe(around)(check("catalogue", spec, timeout_seconds=seconds))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def catalogued_template(postgres_server: PostgresServer) -> tuple[str, str]:
    """The name of a database that nobody connects to, and the login's password."""
    name, password = f"catalogued_{uuid.uuid4().hex}", secrets.token_hex(12)
    await postgres_server.create_database(name)
    async with await psycopg.AsyncConnection.connect(postgres_server.url(name)) as connection:
        for part in ("schema.sql", "signup.sql"):
            await connection.execute(resources.files("sidecar.demo").joinpath(part).read_bytes())
        await connection.execute(fixture_sql("the-nonce").encode())
        await connection.execute(roles_sql([RULE]).encode())
        await connection.execute(f"create role {LOGIN} login noinherit password '{password}'".encode())
        await connection.execute(f"grant sidecar_detector to {LOGIN} with inherit false, set true".encode())
    return name, password


@pytest_asyncio.fixture
async def catalogued(postgres_server: PostgresServer, catalogued_template: tuple[str, str]) -> Catalogued:
    name = f"test_{uuid.uuid4().hex}"
    await postgres_server.create_database(name, template=catalogued_template[0])
    login_url = f"postgresql://{LOGIN}:{catalogued_template[1]}@127.0.0.1:{postgres_server.port}/{name}"
    return Catalogued(url=postgres_server.url(name), login_url=login_url)


async def test_the_demos_schema_is_healthy(catalogued: Catalogued) -> None:
    seen = await catalogued.look()
    assert (seen.reason, seen.verdict, seen.detail, seen.notes) == ("ok", Verdict.HEALTHY, "", ()), seen


async def test_the_demo_makes_a_profile_for_whoever_signs_up(catalogued: Catalogued) -> None:
    async with await psycopg.AsyncConnection.connect(catalogued.url) as connection:
        await connection.execute("insert into auth.users (email) values ('new@example.com'), (null)")
        found = await connection.execute(
            "select count(*), min(credits_balance), max(credits_balance) from public.users"
        )
        assert await found.fetchone() == (2, 1000, 1000)


PARTITIONED = """
drop table public.credit_transactions;
create table public.credit_transactions (id uuid, user_id uuid, at date not null, primary key (id, at))
  partition by range (at);
create index on public.credit_transactions (user_id);
alter table public.credit_transactions enable row level security;
create policy "Users see their own ledger" on public.credit_transactions for select using (auth.uid() = user_id);
revoke all on public.credit_transactions from anon, authenticated;
create table public.ledger_2026 partition of public.credit_transactions
  for values from ('2026-01-01') to ('2027-01-01');
"""
DAMAGES = [
    pytest.param(database_faults()[Fault.FORGEABLE_LEDGER].on, "ledger_writable", "authenticated may", id="the fault"),
    pytest.param(
        database_faults()[Fault.WRITABLE_BALANCE].on,
        "column_writable",
        "authenticated may update public.users.credits_balance",
        id="the other fault",
    ),
    pytest.param(
        "grant insert (user_id, amount) on public.credit_transactions to anon;"
        "create policy p on public.credit_transactions for insert with check (true)",
        "ledger_writable",
        "anon may insert in public.credit_transactions",
        id="the ledger by columns",
    ),
    pytest.param(
        "create role of_users; grant of_users to authenticated with inherit true;"
        "grant delete on public.credit_transactions to of_users;"
        "create policy p on public.credit_transactions to of_users using (true)",
        "ledger_writable",
        "authenticated may delete in public.credit_transactions",
        id="the ledger by membership",
    ),
    pytest.param(
        "grant insert on public.credit_transactions to anon;"
        "alter table public.credit_transactions disable row level security",
        "ledger_writable",
        "anon may insert in public.credit_transactions",
        id="the ledger without RLS",
    ),
    pytest.param(
        PARTITIONED,
        "ledger_writable",
        "may insert, update, delete in public.ledger_2026",
        id="a partition of the ledger",
    ),
    pytest.param(
        "grant insert on public.users to anon; create policy signup on public.users for insert with check (true)",
        "column_writable",
        "anon may insert public.users.credits_balance",
        id="a balance at sign-up",
    ),
    pytest.param(
        "alter table public.generations disable row level security", "rls_disabled", "public.generations", id="RLS off"
    ),
    pytest.param(
        "create view public.everybody as select * from public.users",
        "view_bypasses_rls",
        "the view public.everybody opens public.users to anon and authenticated",
        id="a view",
    ),
    pytest.param(
        "create materialized view public.totals as select count(*) from public.credit_transactions",
        "view_bypasses_rls",
        "the materialised view public.totals opens public.credit_transactions",
        id="a materialised view",
    ),
    pytest.param(
        "create schema hidden; create view hidden.inner_one as select * from public.users;"
        "create view public.outer_one with (security_invoker = on) as select * from hidden.inner_one",
        "view_bypasses_rls",
        "the view public.outer_one opens public.users",
        id="a view over a hidden view",
    ),
    pytest.param(
        "drop table public.generations cascade", "table_missing", "public.generations does not", id="no table"
    ),
    pytest.param(
        "drop table public.generations cascade; create view public.generations as select 1 as x",
        "table_missing",
        "public.generations is no table",
        id="a view in its place",
    ),
    pytest.param(
        "drop trigger on_auth_user_created on auth.users",
        "trigger_missing",
        "there is no trigger on_auth_user_created on auth.users",
        id="no trigger",
    ),
    pytest.param(
        "alter table auth.users disable trigger on_auth_user_created", "trigger_disabled", "is disabled", id="disabled"
    ),
    pytest.param(
        "alter table auth.users enable replica trigger on_auth_user_created",
        "trigger_disabled",
        "is disabled",
        id="for replicas only",
    ),
    pytest.param(
        "alter function public.handle_new_user() rename to handle_old_user",
        "function_missing",
        "there is no function public.handle_new_user",
        id="no function",
    ),
    pytest.param(
        "create function public.other() returns trigger language plpgsql as 'begin return new; end';"
        "create or replace trigger on_auth_user_created after insert on auth.users"
        " for each row execute function public.other()",
        "trigger_changed",
        "calls public.other",
        id="another function",
    ),
    pytest.param(
        "create or replace trigger on_auth_user_created after update on auth.users"
        " for each row execute function public.handle_new_user()",
        "trigger_changed",
        "does not fire on insert",
        id="another event",
    ),
    pytest.param(
        'drop policy "Users see their own profile" on public.users',
        "policy_missing",
        'public.users has no policy "Users see their own profile"',
        id="no policy",
    ),
    pytest.param(
        "create policy extra on public.generations for select using (auth.uid() = user_id)",
        "policy_count_differs",
        "public.generations has 5 policies, not 4",
        id="one policy more",
    ),
    pytest.param(
        "alter table public.users rename full_name to display_name",
        "column_missing",
        "public.users has no column full_name",
        id="a column renamed",
    ),
    pytest.param(
        "alter table public.users drop credits_balance", "column_missing", "credits_balance", id="the balance is gone"
    ),
    pytest.param(
        "alter table public.generations drop constraint generations_user_id_fkey",
        "foreign_key_missing",
        "public.generations.user_id to public.users",
        id="no foreign key",
    ),
    pytest.param(
        "alter table public.generations drop constraint generations_user_id_fkey;"
        "alter table public.generations add constraint generations_user_id_fkey foreign key (user_id)"
        " references public.users (id) not valid",
        "foreign_key_not_validated",
        "generations_user_id_fkey of public.generations",
        id="a foreign key not validated",
    ),
    pytest.param(
        "drop index public.credit_transactions_user_id_idx",
        "index_missing",
        "public.credit_transactions begins with user_id",
        id="no index",
    ),
    pytest.param(
        "drop index public.credit_transactions_user_id_idx;"
        "create index on public.credit_transactions (user_id) where amount > 0;"
        "create index on public.credit_transactions (amount, user_id);"
        "create index on public.credit_transactions (lower(user_id::text), user_id)",
        "index_missing",
        "public.credit_transactions begins with user_id",
        id="indexes that do not serve",
    ),
]


@pytest.mark.parametrize(("damage", "reason", "told"), DAMAGES)
async def test_each_damage_has_its_reason(catalogued: Catalogued, damage: str, reason: str, told: str) -> None:
    try:
        await catalogued.sql(damage)
        seen = await catalogued.look()
    finally:
        with contextlib.suppress(psycopg.Error):
            await catalogued.sql("drop owned by of_users; drop role of_users")
    assert (seen.reason, seen.verdict) == (reason, Verdict.UNHEALTHY), seen
    assert told in seen.detail
    assert isinstance(seen.facts["found"], dict)
    assert (reason, *seen.notes) == tuple(seen.facts["found"])


async def test_rls_may_be_asked_to_be_forced(catalogued: Catalogued) -> None:
    keys = {"tables": {"public.users": {"forced": True}}}
    assert (await catalogued.look(keys)).reason == "rls_not_forced"
    await catalogued.sql("alter table public.users force row level security")
    assert (await catalogued.look(keys)).reason == "ok"


async def test_a_role_that_nothing_binds_is_told_first(catalogued: Catalogued) -> None:
    await catalogued.sql("alter role anon bypassrls")
    try:
        seen = await catalogued.look()
    finally:
        await catalogued.sql("alter role anon nobypassrls")
    assert seen.reason == "role_bypasses_rls"


NOT_FOR_USERS = """
create policy p on public.credit_transactions for insert to service_role with check (true);
grant insert on public.credit_transactions to authenticated
"""
NO_WAY_IN = """
grant all on public.credit_transactions to anon; create policy p on public.credit_transactions using (true);
revoke usage on schema public from public, anon, authenticated
"""


@pytest.mark.parametrize(
    "harmless",
    [
        "grant insert on public.credit_transactions to authenticated",
        "create policy p on public.credit_transactions for insert with check (true)",
        NOT_FOR_USERS,
        NO_WAY_IN,
        "create view public.mine with (security_invoker = true) as select * from public.users",
        "create view public.v as select * from public.users; revoke all on public.v from anon, authenticated",
        "create schema hidden; create view hidden.v as select * from public.users",
        "create view public.models as select * from public.ai_models",
        "alter table public.users force row level security",
        "alter table auth.users enable always trigger on_auth_user_created",
    ],
)
async def test_what_opens_nothing_is_not_held_against_it(catalogued: Catalogued, harmless: str) -> None:
    await catalogued.sql(harmless)
    tables = {"public.users": {"unwritable": ["credits_balance"]}, "public.credit_transactions": {}}
    seen = await catalogued.look({**KEYS, "tables": tables})
    assert seen.reason == "ok", seen


async def test_a_view_that_somebody_allowed_is_not_told(catalogued: Catalogued) -> None:
    await catalogued.sql("create view public.everybody as select * from public.users")
    assert (await catalogued.look({**KEYS, "allowed_views": ["public.everybody"]})).reason == "ok"


async def test_of_several_damages_the_most_severe_is_told_and_the_others_are_notes(catalogued: Catalogued) -> None:
    await catalogued.sql(database_faults()[Fault.FORGEABLE_LEDGER].on)
    await catalogued.sql(
        "drop trigger on_auth_user_created on auth.users; drop index public.credit_transactions_user_id_idx;"
        "alter table public.users disable row level security"
    )
    seen = await catalogued.look()
    assert seen.reason == "ledger_writable"
    assert seen.notes == ("rls_disabled", "trigger_missing", "policy_count_differs", "index_missing")


HOSTILE = "o'k\"; drop table public.users; --ключ%s %(x)s"


async def test_hostile_names_are_compared_and_never_run(catalogued: Catalogued) -> None:
    quoted = '"' + HOSTILE.replace('"', '""') + '"'
    await catalogued.sql(
        f"create schema {quoted}; create table {quoted}.{quoted} ({quoted} uuid primary key);"
        f"alter table {quoted}.{quoted} enable row level security;"
        f"create policy {quoted} on {quoted}.{quoted} using (true);"
        f"create view public.{quoted} as table {quoted}.{quoted}; grant select on public.{quoted} to anon"
    )
    keys = {
        "tables": {
            f"{quoted}.{quoted}": {
                "policies": [HOSTILE, "gone'\"\n"],
                "columns": [HOSTILE],
                "indexes": [[HOSTILE]],
                "references": {HOSTILE: "auth.users"},
            },
            "public.users": {},
        }
    }
    seen = await catalogued.look(keys)
    assert seen.reason == "view_bypasses_rls"
    assert seen.notes == ("policy_missing", "foreign_key_missing")
    assert "\n" not in str(seen.facts["found"])
    assert (await catalogued.look()).reason == "ok", "and every table is still there"


async def test_a_name_is_no_prefix_of_another(catalogued: Catalogued) -> None:
    seen = await catalogued.look({"tables": {"public.users": {"policies": ["Users see their own profil%"]}}})
    assert seen.reason == "policy_missing"


async def test_it_works_behind_a_pooler_that_shares_connections(catalogued: Catalogued) -> None:
    async with pooled(catalogued.login_url, server_connections=1) as url:
        seen = [await catalogued.look(url=url), *await asyncio.gather(*[catalogued.look(url=url) for _ in range(4)])]
        async with await psycopg.AsyncConnection.connect(url, prepare_threshold=None) as connection:
            left = await (await connection.execute("select current_user, current_setting('row_security')")).fetchone()
    assert {look.reason for look in seen} == {"ok"}, seen
    assert left == (LOGIN, "on")


async def test_without_a_database_nothing_is_unhealthy(catalogued: Catalogued) -> None:
    closed = catalogued.login_url.replace(catalogued.login_url.split(":")[3].split("/")[0], str(unused_port()))
    wrong = catalogued.login_url.replace(f"{LOGIN}:", f"{LOGIN}:not")
    for url in (closed, wrong, f"{catalogued.login_url}_gone"):
        seen = await catalogued.look(url=url)
        assert (seen.reason, seen.verdict) == ("database_unreachable", Verdict.UNKNOWN), seen
        assert catalogued.login_url.split(":")[2].split("@")[0] not in repr(seen)
    assert (
        await CatalogueProbe(context())(check("catalogue", CatalogueKeys.model_validate(KEYS).to_spec()))
    ).reason == ("database_unreachable")


async def test_a_login_that_may_not_detect_is_denied(catalogued: Catalogued) -> None:
    await catalogued.sql(f"revoke sidecar_detector from {LOGIN}")
    try:
        seen = await catalogued.look()
    finally:
        await catalogued.sql(f"grant sidecar_detector to {LOGIN} with inherit false, set true")
    assert (seen.reason, seen.verdict) == ("access_denied", Verdict.UNKNOWN), seen


async def test_a_catalogue_that_may_not_be_read_makes_nothing_absent(catalogued: Catalogued) -> None:
    await catalogued.sql("revoke select on pg_catalog.pg_trigger from public")
    seen = await catalogued.look()
    assert (seen.reason, seen.verdict) == ("access_denied", Verdict.UNKNOWN), seen


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"tables": {"public.nothing": {}, "elsewhere.nothing": {}}}, "wrong_database"),
        ({"tables": {"public.users": {}}, "roles": ["anon", "nobody"]}, "roles_missing"),
    ],
)
async def test_another_database_is_not_called_damaged(
    catalogued: Catalogued, keys: Mapping[str, object], reason: str
) -> None:
    seen = await catalogued.look(keys)
    assert (seen.reason, seen.verdict) == (reason, Verdict.UNKNOWN), seen


async def test_a_catalogue_that_is_locked_is_waited_for_within_the_timeout(catalogued: Catalogued) -> None:
    async with await psycopg.AsyncConnection.connect(catalogued.url) as connection:
        await connection.execute("lock table pg_catalog.pg_trigger in access exclusive mode")
        seen = await catalogued.look(seconds=0.5)
    assert (seen.reason, seen.verdict) == ("timed_out", Verdict.UNKNOWN), seen


async def test_a_server_that_says_nothing_ends_within_the_timeout_and_leaves_no_socket_behind(
    catalogued: Catalogued,
) -> None:
    async with scripted_silence() as (port, hung_up):
        gc.disable()  # a socket that only a collection closes was left behind
        try:
            seen = await catalogued.look(url=f"postgresql://a:b@127.0.0.1:{port}/c", seconds=0.3)
            async with asyncio.timeout(5):
                await hung_up.wait()
        finally:
            gc.enable()
    assert (seen.reason, seen.verdict) == ("timed_out", Verdict.UNKNOWN), seen


@contextlib.asynccontextmanager
async def scripted_silence() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Accept one connection and say nothing on it; yield the port, and what is set once the other side hangs up."""
    over, hung_up = asyncio.Event(), asyncio.Event()
    handlers: set[asyncio.Task[None]] = set()

    async def wait_for_the_end(reader: asyncio.StreamReader) -> None:
        await reader.read()
        hung_up.set()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting = asyncio.create_task(wait_for_the_end(reader))
        await over.wait()
        waiting.cancel()
        writer.close()
        await asyncio.gather(waiting, writer.wait_closed(), return_exceptions=True)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.get_running_loop().create_task(say_nothing(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1], hung_up
        finally:
            over.set()
            await asyncio.gather(*handlers)


def test_every_reason_is_among_these_cases() -> None:
    seen = {str(case.values[1]) for case in DAMAGES} | {"ok", "rls_not_forced", "role_bypasses_rls"}
    unknown = {reason.value for reason in CatalogueReason if reason.verdict is Verdict.UNKNOWN}
    assert seen == {reason.value for reason in CatalogueReason} - unknown
    assert unknown == {
        *("database_unreachable", "timed_out", "database_busy", "access_denied", "standby", "roles_missing"),
        *("wrong_database", "catalogue_unreadable"),
    }
