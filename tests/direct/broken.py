"""Twelve ways in which a read is broken (I1), each with the cause that it must end with."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

import pytest

from sidecar.checks.catalogue import CatalogueProbe
from sidecar.checks.catalogue_keys import CatalogueKeys
from sidecar.data.rest import Rest
from sidecar.data.supabase import SupabaseData
from sidecar.demo.faults import Fault, FaultyGateway
from sidecar.demo.standin import make_keys, standin
from sidecar.domain.look import ProofFailure
from sidecar.errors import TransientError
from sidecar.ports import Data
from sidecar.sessions import READ_SECONDS
from sidecar.wire import key_headers, open_client
from tests.checks.cast import check, context
from tests.direct.cast import CANARY, INCIDENT, LOGIN, Project, shipped_rule
from tests.direct.standby import primary_and_standby

SECRET = "a secret that is long enough to sign tokens with"
LEDGER, USERS = "public.credit_transactions", "public.users"


@dataclass(frozen=True, slots=True)
class World:
    """What is looked at, and where rows would be written. `before` is what was looked at earlier, if anything was."""

    data: Data
    project: Project
    before: Data | None = None


Breaking: TypeAlias = Callable[[Project, Project], AbstractAsyncContextManager[World]]


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken read, the proof that must be missing, and a word that the cause must hold."""

    make: Breaking
    failure: ProofFailure
    named: str


def changed(*statements: str, canary: bool = True, read_seconds: float = READ_SECONDS) -> Breaking:
    """Break the database by SQL."""

    @contextlib.asynccontextmanager
    async def make(project: Project, _: Project) -> AsyncIterator[World]:
        for statement in statements:
            await project.sql(statement)
        async with project.data(canary=CANARY if canary else None, read_seconds=read_seconds) as data:
            yield World(data, project)

    return make


@contextlib.asynccontextmanager
async def over_rest(project: Project, *faults: Fault) -> AsyncIterator[SupabaseData]:
    """Read through the stand-in's REST."""
    keys = make_keys(SECRET, "demo", now=datetime.now(UTC))
    async with (
        standin(
            project.url,
            jwt_secret=SECRET,
            keys=keys,
            wrap=lambda gateway: FaultyGateway(gateway, frozenset(faults)),
        ) as served,
        open_client(served.supabase_url, headers=key_headers(keys.service), keep_alive=True) as client,
    ):
        yield SupabaseData(Rest(client, timeout_seconds=30), database="demo", canary=CANARY)


@contextlib.asynccontextmanager
async def _capped(project: Project, _: Project) -> AsyncIterator[World]:
    async with over_rest(project, Fault.TRUNCATED_READS) as data:
        yield World(data, project)


@contextlib.asynccontextmanager
async def _lagging(_: Project, __: Project) -> AsyncIterator[World]:
    """The standby stands still while the primary gets every profile that is missing."""
    async with primary_and_standby() as pair:
        await pair.standby.sql("select pg_wal_replay_pause()")
        await pair.primary.sql(
            "insert into public.users (id, email) select id, id::text from auth.users on conflict do nothing"
        )
        async with pair.standby.data() as data:
            with pytest.raises(TransientError, match="standby"):  # nor is a read by key believed
                await data.read_rows(shipped_rule(), [INCIDENT])
            assert await _catalogue_of(pair.standby) == "standby"
            assert await _catalogue_of(pair.primary) == "ok"
            yield World(data, pair.primary)


async def _catalogue_of(project: Project) -> str:
    """Look with the check of that name: it does not believe a standby either."""
    spec = CatalogueKeys.model_validate({"tables": {USERS: {}}}).to_spec()
    probe = CatalogueProbe(replace(context(), database_url=project.login_url))
    return (await probe(check("catalogue", spec))).reason


@contextlib.asynccontextmanager
async def _another(project: Project, other: Project) -> AsyncIterator[World]:
    async with project.data() as before, other.data() as data:
        yield World(data, other, before)


BROKEN = {
    "rls without bypass": Broken(changed("alter role sidecar_detector nobypassrls"), ProofFailure.ROWS_HIDDEN, LEDGER),
    "forced rls": Broken(
        changed(
            "alter role sidecar_detector nobypassrls",
            "alter table public.credit_transactions disable row level security",
            "alter table public.users owner to sidecar_detector",
            "alter table public.users force row level security",
            canary=False,
        ),
        ProofFailure.ROWS_HIDDEN,
        USERS,
    ),
    "revoked select": Broken(
        changed("revoke select on public.credit_transactions from sidecar_detector"), ProofFailure.ACCESS_DENIED, LEDGER
    ),
    "1000-row API": Broken(_capped, ProofFailure.COUNT_MISMATCH, "counted"),
    "lagging replica": Broken(_lagging, ProofFailure.STANDBY, "standby"),
    "shadow table by search_path": Broken(
        changed(
            "create schema shadow; create table shadow.users (like public.users); create schema moved",
            "grant usage on schema shadow to sidecar_detector; grant select on shadow.users to sidecar_detector",
            "alter table public.users set schema moved",
            f"alter role {LOGIN} set search_path = shadow, public",
        ),
        ProofFailure.SCHEMA_MISMATCH,
        "public.users does not exist",
    ),
    "deleted_at view": Broken(
        changed(
            "alter table public.users add deleted_at timestamptz; create schema moved",
            "alter table public.users set schema moved",
            "create view public.users as select * from moved.users where deleted_at is null",
            "grant select on public.users to sidecar_detector",
        ),
        ProofFailure.SCHEMA_MISMATCH,
        "a view",
    ),
    "text against uuid": Broken(
        changed(
            f'drop policy "Users see their own ledger" on {LEDGER}',
            "alter table public.credit_transactions alter user_id type text",
        ),
        ProofFailure.SCHEMA_MISMATCH,
        "key_type_unsupported",
    ),
    "empty restore": Broken(changed("delete from public.users"), ProofFailure.BELOW_FLOOR, "empty"),
    "timeout in the middle": Broken(
        changed(
            "insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)"
            " select gen_random_uuid(), 'bonus', 1, 1 from generate_series(1, 80000)",
            read_seconds=0.01,
        ),
        ProofFailure.UNREACHABLE,
        "57014",
    ),
    "column grant": Broken(
        changed(
            "revoke select on public.credit_transactions from sidecar_detector",
            "grant select (id, user_id, created_at, amount) on public.credit_transactions to sidecar_detector",
        ),
        ProofFailure.ACCESS_DENIED,
        "public.credit_transactions.balance_after",
    ),
    "wrong database": Broken(_another, ProofFailure.DATABASE_CHANGED, "not the database"),
}
