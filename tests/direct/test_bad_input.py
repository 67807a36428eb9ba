"""What a rule must not touch is refused before the first write, by the guard whose business it is."""

from pathlib import Path

import pytest

from sidecar.domain.decide import GuardName
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome
from tests.direct.cast import Project
from tests.direct.staging import engine

TRIALS_OF_TRIGGERS = 20

REFUSED = {
    "a view": (
        [
            "create schema moved; alter table public.users set schema moved",
            "create view public.users as select * from moved.users",
            "grant select, insert on public.users to sidecar_detector, sidecar_fixer",
        ],
        GuardName.SCHEMA_MISMATCH,
        "public.users is a view",
    ),
    "a materialised view": (
        [
            "create schema moved; alter table public.users set schema moved",
            "create materialized view public.users as select * from moved.users",
            "grant select on public.users to sidecar_detector",
        ],
        GuardName.SCHEMA_MISMATCH,
        "public.users is a materialised view",
    ),
    "a foreign table": (
        [
            "create schema moved; alter table public.users set schema moved",
            "create extension postgres_fdw",
            "create server here foreign data wrapper postgres_fdw options (dbname 'postgres')",
            "create foreign table public.users (id uuid, email text, created_at timestamptz) server here",
            "grant select, insert on public.users to sidecar_detector, sidecar_fixer",
        ],
        GuardName.SCHEMA_MISMATCH,
        "public.users is a foreign table",
    ),
    "a foreign table behind a partition": (
        [
            "create extension postgres_fdw",
            "create server here foreign data wrapper postgres_fdw options (dbname 'postgres')",
            "alter table public.credit_transactions rename to kept",
            "create table public.credit_transactions (like kept) partition by range (created_at)",
            "create foreign table far partition of public.credit_transactions default server here",
            "grant select on public.credit_transactions to sidecar_detector",
        ],
        GuardName.SCHEMA_MISMATCH,
        "public.credit_transactions has a part that is a foreign table",
    ),
    "an unmapped column that must be given": (
        ["alter table public.users add team uuid not null default gen_random_uuid()"],
        GuardName.DEFAULTS_ACCEPTED,
        "team",
    ),
    "a column without default that must be given": (
        [
            "alter table public.users add nick text; update public.users set nick = ''",
            "alter table public.users alter nick set not null",
        ],
        GuardName.DEFAULTS_ACCEPTED,
        "nick",
    ),
    "a written column that is gone": (
        ["alter table public.users drop column full_name cascade"],
        GuardName.SCHEMA_MISMATCH,
        "public.users has no column full_name",
    ),
    "text against uuid": (
        [
            'drop policy "Users see their own ledger" on public.credit_transactions',
            "alter table public.credit_transactions alter user_id type text",
        ],
        GuardName.KEY_TYPE_UNSUPPORTED,
        "public.credit_transactions.user_id is text, public.users.id is uuid",
    ),
    "a type that spells one key in two ways": (
        [
            'drop policy "Users see their own ledger" on public.credit_transactions',
            "alter table public.credit_transactions alter user_id type numeric using 1",
        ],
        GuardName.KEY_TYPE_UNSUPPORTED,
        "is numeric",
    ),
    "instants without a zone": (
        ["alter table public.credit_transactions alter created_at type timestamp"],
        GuardName.SCHEMA_MISMATCH,
        "must be timestamptz",
    ),
    "a key that is not unique": (
        ["alter table public.users drop constraint users_pkey cascade"],
        GuardName.KEY_NOT_UNIQUE,
        "id",
    ),
}


@pytest.mark.parametrize("bad", REFUSED)
async def test_what_must_not_be_touched_is_refused_before_the_first_write(
    bad: str, project: Project, rule: Rule, tmp_path: Path
) -> None:
    statements, guard, named = REFUSED[bad]
    for statement in statements:
        await project.sql(statement)
    async with project.data() as data, engine(data, tmp_path) as stage:
        cycle = await stage.repair.backfill(rule, "olga")
    assert cycle.outcome is Outcome.REFUSED
    assert cycle.refusal is not None
    assert (cycle.refusal.guard, await project.written()) == (guard, 0)
    assert named in cycle.refusal.value
    assert cycle.refusal.limit
    assert cycle.refusal.hint


TIMINGS = [
    f"{when} insert on public.users {each} execute function public.gift()"
    for when in ("before", "after")
    for each in ("for each row", "for each statement")
] + ["after insert on public.users deferrable initially deferred for each row execute function public.gift()"]


async def test_a_trigger_that_nobody_reviewed_is_refused_each_time(
    project: Project, rule: Rule, tmp_path: Path
) -> None:
    await project.sql(
        "create function public.gift() returns trigger language plpgsql as $$begin"
        " update public.users set credits_balance = credits_balance + 50; return new; end$$"
    )
    refused = 0
    async with project.data() as data, engine(data, tmp_path) as stage:
        for number in range(TRIALS_OF_TRIGGERS):
            timing = TIMINGS[number % len(TIMINGS)]
            kind = "constraint trigger" if "deferrable" in timing else "trigger"
            await project.sql(f"create {kind} gift_{number} {timing}")
            cycle = await stage.repair.backfill(rule, "olga")
            assert cycle.refusal is not None
            assert cycle.refusal.guard is GuardName.TRIGGERS_REVIEWED
            assert f"gift_{number}" in cycle.refusal.value
            refused += await project.written() == 0
            await project.sql(f"drop trigger gift_{number} on public.users")
    print(f"unreviewed triggers: {refused} of {TRIALS_OF_TRIGGERS} refused before the first write")
    assert refused == TRIALS_OF_TRIGGERS
