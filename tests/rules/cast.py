"""A project with tables of its own beside the demo's, and both paths to it."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from starlette.types import ASGIApp

from sidecar.config.load import load_rules
from sidecar.data.canary import Canary
from sidecar.data.rest import Rest
from sidecar.data.supabase import SupabaseData
from sidecar.data.surveys_direct import DirectSurveys
from sidecar.data.surveys_rest import RestSurveys
from sidecar.demo.standin import make_keys, standin
from sidecar.domain.rule import Rule, Table
from sidecar.domain.survey import Survey, SurveyClass, Surveyed
from sidecar.ports import Surveys
from sidecar.roles import roles_sql
from sidecar.sessions import Sessions
from sidecar.wire import key_headers, open_client
from tests.adversary.cast import Meddler

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "rules"
CANARY = Canary(table=Table("public", "sidecar_canary"), key="id", value="1")
SECRET = "a-secret-for-the-tests-of-rules-alone-0123456789"
LOGIN = "sidecar_of_the_rules"  # of the whole server, so that no other test's login loses its password

SHOP = """
create table public.shop_customers (id bigint primary key, points numeric(12, 2), seen_at timestamptz);
create table public.shop_movements (
  id bigint generated always as identity primary key, customer bigint not null, delta numeric(12, 2),
  after numeric(12, 2), at timestamptz not null default now() - interval '2 days'
);
create table public.shop_orders (
  id uuid primary key default gen_random_uuid(), customer bigint, "State" text not null default 'paid',
  placed_at timestamptz not null default now() - interval '2 days'
);
"""


def read(text: str, name: str) -> Rule | Survey:
    """Read one rule."""
    [rule] = load_rules({f"{name}.yaml": text})
    return rule


def survey(text: str, name: str) -> Survey:
    rule = read(text, name)
    assert isinstance(rule, Survey)
    return rule


def shipped(name: str) -> Survey:
    return survey((RULES / f"{name}.yaml").read_text(), name)


def report(name: str, detect: str) -> Survey:
    """Read a rule that only reports, of which the test gives what it looks for."""
    head = f"rule: {name}\nsummary: of a test\nowner: tests\nseverity: info\nrunbook: none\nevery: 5m\nmode: observe\n"
    return survey(f"{head}detect: {detect}\nguard: {{require_checks: [service-key]}}\n", name)


@dataclass
class Shop:
    """One database, its superuser, and the paths to it."""

    connection: psycopg.AsyncConnection[tuple[Any, ...]]
    direct: DirectSurveys
    rest: RestSurveys
    data: SupabaseData
    meddler: Meddler
    login_url: str

    async def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(text.encode(), values or None)
        return await cursor.fetchall() if cursor.description else []

    async def admit(self, *rules: Rule | Survey) -> None:
        """Give the detector what these rules need, as `sidecar schema --fixture` prints it."""
        await self.connection.execute(roles_sql(rules).encode())

    def on(self, path: str) -> Surveys:
        return self.direct if path == "direct" else self.rest


async def seen(surveys: Surveys, survey: Survey) -> Surveyed:
    found = await surveys.survey(survey)
    assert isinstance(found, Surveyed), found
    return found


def counted(found: Surveyed) -> dict[str, int]:
    return {str(name): count for name, count in found.classes.items()}


def samples(found: Surveyed, name: SurveyClass) -> Iterable[str]:
    return found.samples.get(name, ())


@contextlib.asynccontextmanager
async def a_shop(url: str, port: int, database: str) -> AsyncIterator[Shop]:
    """Open both paths to a database that holds the demo's schema, the fixture and the roles."""
    keys, held = make_keys(SECRET, "demo", now=datetime.now(UTC)), []

    def wrap(app: ASGIApp) -> ASGIApp:
        held.append(Meddler(app))
        return held[0]

    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
        standin(url, jwt_secret=SECRET, keys=keys, wrap=wrap) as served,
        open_client(served.supabase_url, headers=key_headers(keys.service), keep_alive=True) as client,
    ):
        login_url = f"postgresql://{LOGIN}:{await _login(connection)}@127.0.0.1:{port}/{database}"
        sessions, rest = Sessions(login_url), Rest(client, timeout_seconds=10.0)
        try:
            yield Shop(
                connection=connection,
                direct=DirectSurveys(sessions, canary=CANARY),
                rest=RestSurveys(rest, database="demo", canary=CANARY),
                data=SupabaseData(rest, database="demo", canary=CANARY),
                meddler=held[0],
                login_url=login_url,
            )
        finally:
            await sessions.close()


async def _login(connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> str:
    password = secrets.token_hex(12)
    there = await (await connection.execute("select from pg_roles where rolname = %s", (LOGIN,))).fetchone()
    if there is None:
        await connection.execute(f"create role {LOGIN} login noinherit".encode())
    await connection.execute(f"alter role {LOGIN} password '{password}'".encode())
    await connection.execute(f"grant sidecar_detector to {LOGIN} with inherit false, set true".encode())
    return password
