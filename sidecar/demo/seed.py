"""Fill the demo's database: users, orphans, and one or more of every kind that must not be repaired."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import psycopg

from sidecar.demo.models import supported_models
from sidecar.errors import UsageError

INCIDENT_USER = "22cb3917-57f6-49c6-ac96-ec266570081b"
CANARY_EMAIL = "canary@velro.app"
CANARY_PASSWORD = "the-demo-canary-signs-in"  # noqa: S105 - of a user that exists in the demo's own database only


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSpec:
    """How many live auth users to seed, and how many of them without a profile. Raises: UsageError for nonsense."""

    users: int
    orphans: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be seeded."""
        if self.users < 1 or self.orphans < 0:
            message = f"at least one user and no negative number of orphans, not {self.users} and {self.orphans}"
            raise UsageError(message)
        if self.orphans > self.users:
            message = f"more orphans ({self.orphans}) than users ({self.users})"
            raise UsageError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What was seeded.

    `users` are the live users that were asked for. `repairable` counts the orphans among them and the user of the
    incident, `expected_credits` sums their proven balances. `unrepairable` maps a finding's class to a number of users.
    """

    users: int
    repairable: int
    unrepairable: Mapping[str, int]
    expected_credits: int


async def seed(database_url: str, spec: SeedSpec) -> Seeded:
    """Seed a database that holds the demo's schema and no rows, in one transaction."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        async with connection.transaction():
            await _configure(connection, spec)
            await _insert_models(connection)
            await connection.execute(_text("seed.sql"))
            await connection.execute(_text("seed_special.sql"))
            seeded = await _count(connection, spec)
        await connection.set_autocommit(True)
        # A database in use has been vacuumed; a freshly filled one makes every first count slow.
        await connection.execute("vacuum (analyze) auth.users, public.users, public.credit_transactions")
    return seeded


def _text(name: str) -> bytes:
    return resources.files("sidecar.demo").joinpath(name).read_bytes()


async def _configure(connection: psycopg.AsyncConnection, spec: SeedSpec) -> None:
    settings = {
        "session_replication_role": "replica",
        "work_mem": "256MB",
        "maintenance_work_mem": "256MB",
        "seed.seed": str(spec.seed),
        "seed.users": str(spec.users),
        "seed.orphans": str(spec.orphans),
        "seed.canary_password": CANARY_PASSWORD,
    }
    for name, value in settings.items():
        await connection.execute("select set_config(%s, %s, true)", (name, value))


async def _insert_models(connection: psycopg.AsyncConnection) -> None:
    await connection.execute(
        "insert into public.ai_models (id, name, type, credits) select model_id, name, type, credits"
        " from jsonb_to_recordset(%s::jsonb) m (model_id text, name text, type text, credits integer)",
        (json.dumps(supported_models()),),
    )


async def _count(connection: psycopg.AsyncConnection, spec: SeedSpec) -> Seeded:
    kinds = await connection.execute("select kind, count(*) from special group by kind order by kind")
    unrepairable: dict[str, int] = dict(await kinds.fetchall())
    orphans = await connection.execute("select count(*), coalesce(sum(bought - spent), 0) from seeded where orphan")
    count, credits_owned = await orphans.fetchone() or (0, 0)
    demo = await connection.execute(
        "select sum(amount) from public.credit_transactions where user_id = %s", (INCIDENT_USER,)
    )
    (incident_credits,) = await demo.fetchone() or (0,)
    return Seeded(
        users=spec.users,
        repairable=int(count) + 1,
        unrepairable=unrepairable,
        expected_credits=int(credits_owned) + int(incident_credits),
    )
