"""A row that did not land is never counted as repaired, and its cause is named."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from sidecar.domain.causes import cause_of
from sidecar.domain.run import Outcome, RowResult
from tests.verify.cast import Ground, a_stage, key_of, the_rule

SWALLOW = """
    create function public.swallow() returns trigger language plpgsql as 'begin return null; end';
    create trigger swallow before insert on public.users for each row execute function public.swallow()
"""
BARRED = """
    drop policy sidecar_fixer_inserts on public.users;
    create policy sidecar_fixer_inserts on public.users for insert to sidecar_fixer with check (false)
"""
# The user is looked up before the INSERT, and another user's row takes the key's place in a second foreign key.
GONE = """
    create table public.regions (email text primary key);
    insert into public.regions select email from public.users;
    alter table public.users add constraint users_region_fkey foreign key (email) references public.regions (email)
"""
TAKEN = """
    update public.users set full_name = id::text;
    update public.users set full_name = null where id = (select max(id::text)::uuid from public.users);
    alter table public.users add constraint users_name_key unique nulls not distinct (full_name, is_active)
"""
CASES: Mapping[str, tuple[str, tuple[RowResult, str], str]] = {
    "a trigger swallows it": (SWALLOW, (RowResult.FAILED, "not_landed"), "trigger"),
    "a policy bars it": (BARRED, (RowResult.FAILED, "42501"), "row level security"),
    "what it refers to is gone": (GONE, (RowResult.CONFLICT, "23503:users_region_fkey"), "foreign key"),
    "a check refuses it": (
        "alter table public.users add constraint poor check (credits_balance <> 800) not valid",
        (RowResult.CONFLICT, "23514:poor"),
        "check",
    ),
    "another value is taken": (TAKEN, (RowResult.CONFLICT, "23505:users_name_key"), "unique"),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_row_that_did_not_land_is_named_by_its_cause(ground: Ground, case: str) -> None:
    obstacle, due, words = CASES[case]
    await ground.populate(users=20, orphans=1)
    await ground.sql(obstacle)
    rule = the_rule()
    reviewed = replace(rule.guard, triggers_reviewed=frozenset({"swallow"}))
    async with a_stage(ground) as stage:
        cycle = await stage.repair.backfill(the_rule(guard=reviewed), "olga")
        rows = await stage.rows(cycle)
    assert rows == {key_of(1): due}
    assert cycle.outcome is not Outcome.REPAIRED
    assert words in cause_of(due[1])
    assert await ground.sql("select count(*) from public.users") == [(19,)]


def test_a_reason_that_speaks_for_itself_has_no_other_words() -> None:
    assert cause_of("subject_gone") == ""
    assert cause_of("23505:users_email_key").endswith("(unique), constraint users_email_key")
