"""The whole embedded stack as one context: PostgreSQL, the seeded project, the stand-in, the backend, the faults."""

import contextlib
import os
from collections.abc import AsyncIterator, Collection
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from sidecar.demo.backend import Switches, backend_app
from sidecar.demo.faults import Fault, FaultyGateway, handed_key, named_faults
from sidecar.demo.layers import Manner
from sidecar.demo.load import DATABASE, load_demo, load_file, open_login, set_faults
from sidecar.demo.postgres import postgres
from sidecar.demo.premises import temporary_data_dir
from sidecar.demo.record import project_secret
from sidecar.demo.seed import CANARY_EMAIL, Seeded, SeedSpec
from sidecar.demo.standin import make_keys, sign, standin
from sidecar.errors import UsageError
from sidecar.serving import listen, serving

PROJECT_REF = "demo"
CANARY_TOKEN_LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSpec:
    """What to start. `faults` are names of `FAULTS`; without `data_dir` the data is temporary.

    `switches` breaks more of the backend than the named faults do.
    """

    users: int
    orphans: int
    seed: int
    faults: Collection[str] = ()
    data_dir: Path | None = None
    jwt_secret: str | None = None
    switches: Switches | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running stack. `service_key` is the one handed to Sidecar, after faults; the backend has the right one.

    `login_url` is of the login that Sidecar's three roles belong to, `database_url` the superuser's.
    `canary_token` signs in a user who owns `canary_credits`. Shown with its secrets left out.
    """

    supabase_url: str
    rest_url: str
    database_url: str = field(repr=False)
    login_url: str = field(repr=False)
    backend_url: str
    anon_key: str = field(repr=False)
    service_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    canary_nonce: str = field(repr=False)
    canary_token: str = field(repr=False)
    canary_credits: int
    seeded: Seeded
    data_dir: Path
    psql: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BareStack:
    """PostgreSQL and the stand-in alone. Shown with its secrets left out."""

    rest_url: str
    supabase_url: str
    database_url: str = field(repr=False)
    anon_key: str = field(repr=False)
    service_key: str = field(repr=False)
    jwt_secret: str = field(repr=False)

    def document(self) -> dict[str, str]:
        """Return everything that a client needs, secrets included."""
        return asdict(self)


@contextlib.asynccontextmanager
async def stack(spec: StackSpec) -> AsyncIterator[Stack]:
    """Run the stack for the time of the block. A data directory used before is found as it was left, not seeded again.

    Raises: UsageError for an unknown fault, for nonsense in the seeds, or for a directory that cannot be used.
    """
    faults = named_faults(spec.faults)
    seeds = SeedSpec(users=spec.users, orphans=spec.orphans, seed=spec.seed)
    async with contextlib.AsyncExitStack() as opened:
        data_dir = spec.data_dir or opened.enter_context(temporary_data_dir())
        server = await opened.enter_async_context(postgres(data_dir, durable=spec.data_dir is not None))
        record = await load_demo(server, seeds)
        await set_faults(server, faults)
        secret = project_secret(server.data_dir, spec.jwt_secret)
        keys = make_keys(secret, PROJECT_REF, now=datetime.now(UTC))
        database_url = server.url(DATABASE)
        supabase = await opened.enter_async_context(
            standin(
                database_url,
                jwt_secret=secret,
                keys=keys,
                project_ref=PROJECT_REF,
                wrap=lambda gateway: FaultyGateway(gateway, faults),
            )
        )
        backend = backend_app(supabase.supabase_url, keys.service, secret, _switches(spec.switches, faults))
        backend_url = await opened.enter_async_context(serving(backend, listen("127.0.0.1", 0)))
        canary, canary_credits = await _canary(database_url)
        yield Stack(
            supabase_url=supabase.supabase_url,
            rest_url=supabase.rest_url,
            database_url=database_url,
            login_url=await open_login(server),
            backend_url=backend_url,
            anon_key=keys.anon,
            service_key=handed_key(faults, anon_key=keys.anon, service_key=keys.service, jwt_secret=secret),
            jwt_secret=secret,
            canary_nonce=record.canary_nonce,
            canary_token=_user_token(canary, secret),
            canary_credits=canary_credits,
            seeded=record.seeded,
            data_dir=server.data_dir,
            psql=server.binary("psql"),
        )


@contextlib.asynccontextmanager
async def stack_only(
    *, sql: Path | None = None, data_dir: Path | None = None, jwt_secret: str | None = None
) -> AsyncIterator[BareStack]:
    """Run PostgreSQL and the stand-in alone, over `sql` loaded into an empty database, or over the demo's schema.

    The schema comes with the canary fixture and without seeds. Without `jwt_secret`, SIDECAR_DEMO_JWT_SECRET sets it.
    Raises: UsageError when the file cannot be loaded.
    """
    async with contextlib.AsyncExitStack() as opened:
        place = data_dir or opened.enter_context(temporary_data_dir())
        server = await opened.enter_async_context(postgres(place, durable=data_dir is not None))
        await (load_demo(server, None) if sql is None else load_file(server, sql))
        given = jwt_secret or os.environ.get("SIDECAR_DEMO_JWT_SECRET")
        secret = project_secret(server.data_dir, given)
        keys = make_keys(secret, PROJECT_REF, now=datetime.now(UTC))
        database_url = server.url(DATABASE)
        supabase = await opened.enter_async_context(
            standin(database_url, jwt_secret=secret, keys=keys, project_ref=PROJECT_REF)
        )
        yield BareStack(
            rest_url=supabase.rest_url,
            supabase_url=supabase.supabase_url,
            database_url=database_url,
            anon_key=keys.anon,
            service_key=keys.service,
            jwt_secret=secret,
        )


def _switches(asked: Switches | None, faults: frozenset[Fault]) -> Switches:
    switches = asked or Switches()
    if Fault.WRONG_BALANCE in faults:
        switches = replace(switches, wrong_balance=True)
    if Fault.BACKEND_DOWN in faults:
        switches = replace(switches, manner=Manner.DEAD)
    if Fault.CORS_REFLECTS in faults:
        switches = replace(switches, foreign_origin_reflected=True)
    if Fault.FORGED_TOKENS_ACCEPTED in faults:
        switches = replace(switches, forged_tokens_accepted=True)
    return switches


async def _canary(database_url: str) -> tuple[str, int]:
    """Return the id and the balance of the user who can sign in."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        found = await connection.execute(
            "select id::text, credits_balance from public.users where email = %s", (CANARY_EMAIL,)
        )
        row = await found.fetchone()
    if row is None:
        message = f"the kept database has no user {CANARY_EMAIL} any more: name another directory"
        raise UsageError(message)
    return row[0], row[1]


def _user_token(user: str, secret: str) -> str:
    now = datetime.now(UTC)
    times = {"iat": int(now.timestamp()), "exp": int((now + CANARY_TOKEN_LIFETIME).timestamp())}
    return sign({"sub": user, "aud": "authenticated", "role": "authenticated", "iss": "supabase", **times}, secret)
