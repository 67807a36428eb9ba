"""Whatever changes about a planned user moves the version of his facts, and nothing else does."""

import pytest

from sidecar.data.postgres import PostgresData
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Rule
from tests.direct.cast import INCIDENT, Project

MOVEMENT = "insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)"
OTHER = """
select id::text from auth.users a
where id <> %s and not exists (select from public.users u where u.id = a.id) limit 1
"""
CHANGES = {
    "a movement": f"{MOVEMENT} values (%s, 'bonus', 1, 1201)",
    "an edited movement": "update public.credit_transactions set description = 'edited' where user_id = %s",
    "a movement that is gone": """
        delete from public.credit_transactions
        where ctid = (select max(ctid) from public.credit_transactions where user_id = %s)
    """,
    "a user with another name": "update auth.users set raw_user_meta_data = '{}' where id = %s",
    "a user who is gone": "delete from auth.users where id = %s",
    "an e-mail that somebody else has by now": """
        update public.users set email = (select email from auth.users where id = %s)
        where id = (select min(id::text)::uuid from public.users)
    """,
}

RESHAPED = {
    "a column of movements was made anew": """
        alter table public.credit_transactions drop column balance_after;
        alter table public.credit_transactions add balance_after integer default 0
    """,
    "columns of movements bear other names": """
        alter table public.credit_transactions rename amount to a;
        alter table public.credit_transactions rename balance_after to amount;
        alter table public.credit_transactions rename a to balance_after
    """,
    "a column of users was made anew": """
        alter table auth.users drop column deleted_at;
        alter table auth.users add deleted_at timestamptz default now();
        grant select (deleted_at) on auth.users to sidecar_detector
    """,
}


async def planned(data: PostgresData, rule: Rule) -> PlanRow:
    [facts] = await data.facts(rule, [INCIDENT])
    assert facts.subject is not None
    values = {"id": INCIDENT, "email": facts.subject.email}
    return PlanRow(key=INCIDENT, values=values, origins={}, evidence="", version=facts.version)


async def test_nothing_has_moved_where_nothing_happened(project: Project, rule: Rule) -> None:
    async with project.data() as data:
        row = await planned(data, rule)
        assert row.version
        [[other]] = await project.sql(OTHER, INCIDENT)
        await project.sql(CHANGES["a movement"], other)
        await project.sql("vacuum public.credit_transactions")
        assert await data.moved(rule, [row]) == frozenset()


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_moves_the_version(project: Project, rule: Rule, change: str) -> None:
    async with project.data() as data:
        row = await planned(data, rule)
        await project.sql(CHANGES[change], INCIDENT)
        assert await data.moved(rule, [row]) == {INCIDENT}


@pytest.mark.parametrize("change", RESHAPED)
async def test_a_table_that_says_something_else_without_its_rows_being_written_has_moved(
    project: Project, rule: Rule, change: str
) -> None:
    async with project.data() as data:
        row = await planned(data, rule)
        await project.sql(RESHAPED[change])
        assert await data.moved(rule, [row]) == {INCIDENT}


async def test_an_e_mail_that_a_row_without_a_key_has_by_now_is_somebody_elses(project: Project, rule: Rule) -> None:
    await project.sql("alter table public.generations drop constraint generations_user_id_fkey")
    await project.sql("alter table public.users drop constraint users_pkey, add unique (id), alter id drop not null")
    async with project.data() as data:
        row = await planned(data, rule)
        await project.sql(
            "insert into public.users (id, email) select null, email from auth.users where id = %s", INCIDENT
        )
        assert await data.moved(rule, [row]) == {INCIDENT}


async def test_movements_that_were_replaced_by_equal_ones_have_moved(project: Project, rule: Rule) -> None:
    async with project.data() as data:
        before = await planned(data, rule)
        await project.sql(
            "with gone as (delete from public.credit_transactions where user_id = %s returning *)"
            " insert into public.credit_transactions select * from gone",
            INCIDENT,
        )
        assert await data.moved(rule, [before]) == {INCIDENT}


async def test_a_row_planned_without_a_version_is_always_read_again(project: Project, rule: Rule) -> None:
    await project.sql("revoke select (xmin) on auth.users from sidecar_detector")
    async with project.data() as data:
        row = await planned(data, rule)
        assert row.version == ""
        assert await data.moved(rule, [row]) == {INCIDENT}
