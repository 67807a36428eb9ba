"""A seeded project on real PostgreSQL, and the direct path to it."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib import resources
from typing import Any

import psycopg

from sidecar.config.load import load_rules
from sidecar.data.canary import Canary
from sidecar.data.postgres import PostgresData
from sidecar.demo.postgres import PostgresServer
from sidecar.demo.seed import SeedSpec, seed
from sidecar.demo.shipped import shipped_files
from sidecar.domain.rule import Amount, Mode, Rule, Table
from sidecar.fixture import fixture_sql
from sidecar.roles import roles_sql
from sidecar.sessions import READ_SECONDS, Sessions

NAME = "credits_without_profile"
CANARY = Canary(table=Table("public", "sidecar_canary"), key="id", value="1")
INCIDENT = "22cb3917-57f6-49c6-ac96-ec266570081b"


def shipped_rule() -> Rule:
    """The shipped rule, automatic, one confirming look, caps that do not bind."""
    [rule] = [rule for rule in load_rules(shipped_files()[1]) if isinstance(rule, Rule) and rule.name == NAME]
    return replace(
        rule,
        mode=Mode.AUTO,
        detect=replace(rule.detect, confirmations=1),
        guard=replace(rule.guard, max_percent=Decimal(100), require_checks=("service-key",)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A database of the test's own."""

    server: PostgresServer
    name: str
    url: str = field(repr=False)
    login_url: str = field(repr=False)

    async def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run SQL as superuser."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            done = await connection.execute(statement.encode(), values or None)
            return await done.fetchall() if done.description else []

    async def written(self) -> int:
        """Count the rows that Sidecar wrote, wherever its table has gone."""
        tables = await self.sql(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relname = 'users' and c.relkind = 'r' and n.nspname <> 'auth'"
        )
        counted = "select count(*) from {} where metadata ->> 'restored_by' = 'sidecar'"
        return sum([int((await self.sql(counted.format(table)))[0][0]) for (table,) in tables])

    @contextlib.asynccontextmanager
    async def data(
        self, *, canary: Canary | None = CANARY, read_seconds: float = READ_SECONDS
    ) -> AsyncIterator[PostgresData]:
        """Open the direct path."""
        sessions = Sessions(self.login_url)
        try:
            yield PostgresData(sessions, canary=canary, read_seconds=read_seconds)
        finally:
            await sessions.close()


LOGIN = "sidecar_of_these_tests"  # of the whole server, so that no other test's login loses its password


async def make_login(url: str) -> str:
    """Make a login that may be the three roles, and return its password."""
    password = secrets.token_hex(12)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"create role {LOGIN} login noinherit password '{password}'".encode())
        await connection.execute(
            f"grant sidecar_detector, sidecar_fixer, sidecar_operator to {LOGIN} with inherit false, set true".encode()
        )
    return password


def login_url(server: PostgresServer, database: str, password: str) -> str:
    return f"postgresql://{LOGIN}:{password}@127.0.0.1:{server.port}/{database}"


class Book:
    """A book of balances that remembers what was noted."""

    def __init__(self, known: Sequence[tuple[str, Amount]] = ()) -> None:
        self.noted: dict[str, Amount] = {}
        self._known = known

    async def known(self, _table: str) -> AsyncIterator[tuple[str, Amount]]:
        for pair in self._known:
            yield pair

    async def note(self, _look_id: int, _table: str, seen: Sequence[tuple[str, Amount]], _at: object) -> None:
        self.noted.update(seen)


async def make_seeded(server: PostgresServer, name: str) -> None:
    """Make a database with schema, fixture, roles and seeds: 300 users, 13 of them to be repaired."""
    await server.create_database(name)
    async with await psycopg.AsyncConnection.connect(server.url(name)) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("schema.sql").read_bytes())
        await connection.execute(fixture_sql("the-nonce").encode())
        await connection.execute(roles_sql([shipped_rule()]).encode())
    await seed(server.url(name), SeedSpec(users=300, orphans=12, seed=7))
    async with await psycopg.AsyncConnection.connect(server.url(name)) as connection:
        # Over REST a profile younger than the horizon is not seen; the direct path sees every profile.
        await connection.execute(
            "update public.users set created_at = now() - interval '1 day' where created_at > now() - interval '1 hour'"
        )
