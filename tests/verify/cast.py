"""A whole engine on the direct path over a real PostgreSQL: memory and data in one database, no stand-in between."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql

from sidecar.clock import SystemClock
from sidecar.config.load import load_rules
from sidecar.data.direct.aftermath import Aftermath
from sidecar.data.postgres import PostgresData
from sidecar.demo.postgres import PostgresServer
from sidecar.demo.shipped import shipped_files
from sidecar.domain.rule import Mode, Rule
from sidecar.ports import State
from sidecar.roles import roles_sql
from sidecar.sessions import Sessions
from sidecar.state.open import open_state
from tests.engine.cast import Stage

NAME = "credits_without_profile"

# Users n with a purchase of 1000 and a usage of 200, and, unless they are orphans, the profile that goes with it.
POPULATE = """
insert into auth.users (id, email, created_at)
  select md5('user:' || n)::uuid, n || '@example.org', now() - interval '30 days' from generate_series(1, %(users)s) n;
insert into public.credit_transactions (user_id, transaction_type, amount, balance_after, created_at)
  select md5('user:' || n)::uuid, kind, amount, balance, now() - age
  from generate_series(1, %(users)s) n, (values
    ('purchase', 1000, 1000, interval '20 days'), ('usage', -200, 800, interval '10 days')
  ) movement (kind, amount, balance, age);
insert into public.users (id, email, credits_balance, created_at)
  select md5('user:' || n)::uuid, n || '@example.org', 800, now() - interval '30 days'
  from generate_series(%(orphans)s + 1, %(users)s) n;
analyze auth.users, public.users, public.credit_transactions;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A database of the test's own, and the login that Sidecar uses."""

    url: str = field(repr=False)
    login_url: str = field(repr=False)

    async def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run SQL as superuser; return the rows, where there are any."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            done = await connection.execute(statement.encode(), values or None)
            return await done.fetchall() if done.description else []

    async def populate(self, *, users: int, orphans: int) -> None:
        """Let there be users 1 to N, of which the first M have no profile."""
        numbers = {"users": sql.Literal(users), "orphans": sql.Literal(orphans)}
        text = POPULATE.replace("%(users)s", "{users}").replace("%(orphans)s", "{orphans}")
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(sql.SQL(text).format(**numbers))

    async def drift(self) -> tuple[int, int]:
        """Return (profiles that are off, credits they are off by) against the sum of each user's ledger."""
        [(off, credits_off)] = await self.sql(
            """select count(*) filter (where u.credits_balance <> l.due),
                      coalesce(sum(abs(u.credits_balance - l.due)), 0)
               from public.users u
               join (select user_id, sum(amount) as due from public.credit_transactions group by user_id) l
                 on l.user_id = u.id"""
        )
        return int(off), int(credits_off)


def key_of(number: int) -> str:
    """Return the id of user n as PostgreSQL makes it."""
    import hashlib  # noqa: PLC0415  # only here
    import uuid  # noqa: PLC0415  # likewise

    return str(uuid.UUID(hashlib.md5(f"user:{number}".encode()).hexdigest()))  # noqa: S324  # a name, no secret


def the_rule(**changes: object) -> Rule:
    """The shipped rule, automatic, one confirming look, caps that do not bind."""
    [rule] = [rule for rule in load_rules(shipped_files()[1]) if isinstance(rule, Rule) and rule.name == NAME]
    guard = replace(rule.guard, max_rows=1_000_000, max_percent=Decimal(100), max_rows_per_day=1_000_000)
    roomy = replace(rule, mode=Mode.AUTO, detect=replace(rule.detect, confirmations=1), guard=guard)
    return replace(roomy, **changes)  # type: ignore[arg-type]  # the test names its own fields


async def make_ground(server: PostgresServer, url: str) -> Ground:
    """Load the demo's schema and Sidecar's roles. The login's password is the superuser's, as in the other tests."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("schema.sql").read_bytes())
        await connection.execute(roles_sql([the_rule()]).encode())
        named = sql.SQL("alter role sidecar password {}").format(sql.Literal(server.password))
        await connection.execute(named)
    _, _, database = url.rpartition("/")
    return Ground(url=url, login_url=f"postgresql://sidecar:{server.password}@127.0.0.1:{server.port}/{database}")


@contextlib.asynccontextmanager
async def a_stage(ground: Ground, *, state: State | None = None) -> AsyncIterator[Stage]:
    """Open one Sidecar on the direct path; with `state`, over another memory than the database's own."""
    sessions = Sessions(ground.login_url)
    try:
        async with contextlib.AsyncExitStack() as opened:
            memory = state
            if memory is None:
                memory = await opened.enter_async_context(open_state(ground.login_url))
            yield Stage(
                state=memory,
                clock=SystemClock(),  # type: ignore[arg-type]  # the real one
                data=PostgresData(sessions, canary=None),  # type: ignore[arg-type]  # the real one
                direct=Aftermath(sessions),
            )
    finally:
        await sessions.close()
