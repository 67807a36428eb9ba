"""The one statement that writes: whole or not at all, new rows of existing users alone, errors told apart."""

from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql

from sidecar.batches import Landed
from sidecar.data.direct.composing import rows_of
from sidecar.data.direct.digest import digest_of
from sidecar.data.postgres import PostgresData
from sidecar.domain.finding import classify
from sidecar.domain.look import Sighting
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Rule
from sidecar.errors import AccessDenied, SchemaMismatch, TransientError, WriteRejected
from sidecar.sessions import Role, Sessions
from tests.direct.cast import INCIDENT, Book, Project


@pytest.fixture
async def data(project: Project) -> AsyncIterator[PostgresData]:
    async with project.data() as data:
        yield data


@pytest.fixture
async def rows(data: PostgresData, rule: Rule) -> Sequence[PlanRow]:
    """What the rule would write, the user of the incident among them."""
    seen = await data.sight(rule, Book(), 1)
    assert isinstance(seen, Sighting)
    judged = [
        classify(rule, facts, ledger_forgeable=False, plan_id="plan-1", horizon_at=seen.proof.horizon_at)
        for facts in await data.facts(rule, seen.candidates)
    ]
    found = [
        PlanRow(key=finding.key, values=finding.values, origins=finding.origins, evidence=finding.evidence)
        for finding in judged
        if finding is not None and finding.values
    ]
    assert len(found) == 13
    assert INCIDENT in {row.key for row in found}
    return found


async def test_rows_land_with_their_values_and_the_digest_of_the_whole_row(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow]
) -> None:
    landed = await data.insert(rule, rows, None)
    assert landed.rows == {}
    keys = [row.key for row in rows]
    assert await data.read_rows(rule, keys) == {row.key: row.values for row in rows}
    stored = await digests(project)
    assert found(landed) == {key: stored[key] for key in keys}
    await project.sql("update public.users set avatar_url = 'seen.png' where id = %s", INCIDENT)
    assert (await digests(project))[INCIDENT] != found(landed)[INCIDENT]


def found(landed: Landed) -> Mapping[str, str]:
    """The digest of every row that came to be."""
    assert landed.as_planned is None or landed.as_planned.count == len(landed.as_planned.by_key)
    return {**landed.digests, **(landed.as_planned.by_key if landed.as_planned else {})}


ALTERED = {
    "another value": "new.full_name := 'Somebody Else'",
    "a key more in an object": "new.metadata := new.metadata || '{\"gift\": true}'",
    "nothing where a value was planned": "new.full_name := null",
}


@pytest.mark.parametrize("how", ALTERED)
async def test_a_row_that_a_trigger_altered_is_never_told_as_planned(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow], how: str
) -> None:
    body = f"begin if new.id = '{INCIDENT}' then {ALTERED[how]}; end if; return new; end"
    await project.sql(f"create function alter_it() returns trigger language plpgsql as $${body}$$")
    await project.sql("create trigger t before insert on public.users for each row execute function alter_it()")
    landed = await data.insert(rule, rows, None)
    assert set(landed.rows) == {INCIDENT}
    assert landed.rows == await data.read_rows(rule, [INCIDENT])
    assert found(landed).keys() == {row.key for row in rows}


async def digests(project: Project) -> dict[str, str]:
    sessions = Sessions(project.login_url)
    async with sessions.reading(Role.DETECTOR) as connection:
        found = await rows_of(
            connection, sql.SQL("select cast(t.id as text), {} from public.users t").format(digest_of("t")), {}
        )
    await sessions.close()
    return dict(found)


async def test_a_row_that_exists_is_passed_over_and_stays_as_it_is(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow]
) -> None:
    await data.insert(rule, rows[:1], None)
    await project.sql("update public.users set credits_balance = 1 where id = %s", rows[0].key)
    landed = await data.insert(rule, rows, None)
    assert found(landed).keys() == {row.key for row in rows[1:]}
    assert await project.sql("select credits_balance from public.users where id = %s", rows[0].key) == [(1,)]


async def test_a_row_of_a_user_who_is_gone_by_now_is_not_written(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow]
) -> None:
    await project.sql("alter table public.users drop constraint users_id_fkey")
    await project.sql("delete from auth.users where id = %s", rows[0].key)
    landed = await data.insert(rule, rows, None)
    assert found(landed).keys() == {row.key for row in rows[1:]}


async def test_amounts_are_written_exactly(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow]
) -> None:
    await project.sql("alter table public.users alter credits_balance type numeric")
    exact = Decimal("12345678901234567890.123456789")
    row = PlanRow(key=rows[0].key, values={**rows[0].values, "credits_balance": exact}, origins={}, evidence="")
    landed = await data.insert(rule, [row], None)
    assert landed.rows[row.key]["credits_balance"] == exact
    assert await project.sql("select credits_balance from public.users where id = %s", row.key) == [(exact,)]


REFUSED = {
    "taken e-mail": ("update public.users set email = %(email)s where id = %(other)s", "23505"),
    "check": ("alter table public.users add check (credits_balance > 1000000) not valid", "23514"),
    "policy": (
        "create policy only_small on public.users as restrictive for insert to sidecar_fixer with check (false)",
        "42501",
    ),
    "trigger": ("create trigger t before insert on public.users execute function refuse()", "P0001"),
    "own sqlstate": ("create trigger t before insert on public.users execute function refuse_oddly()", "VX123"),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_what_the_database_refuses_in_a_row_is_named_by_its_sqlstate_and_nothing_is_written(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow], why: str
) -> None:
    await project.sql("create function refuse() returns trigger language plpgsql as $$begin raise 'no'; end$$")
    await project.sql(
        "create function refuse_oddly() returns trigger language plpgsql as"
        " $$begin raise 'no' using errcode = 'VX123'; end$$"
    )
    change, sqlstate = REFUSED[why]
    other = await project.sql("select id::text from public.users limit 1")
    async with await psycopg.AsyncConnection.connect(project.url, autocommit=True) as connection:
        named = {"email": rows[3].values["email"], "other": other[0][0]}
        await connection.execute(change.encode(), named if "%(" in change else None)
    with pytest.raises(WriteRejected) as refused:
        await data.insert(rule, rows, None)
    assert refused.value.sqlstate == sqlstate
    assert await project.written() == 0


async def test_a_privilege_that_is_missing_is_not_taken_for_a_refused_row(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow]
) -> None:
    await project.sql("revoke insert (email) on public.users from sidecar_fixer")
    with pytest.raises(AccessDenied, match="42501"):
        await data.insert(rule, rows, None)
    assert await project.written() == 0


async def test_a_column_that_is_gone_is_told_by_name(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow]
) -> None:
    await project.sql("alter table public.users drop column full_name")
    with pytest.raises(SchemaMismatch, match="full_name"):
        await data.insert(rule, rows, None)


async def test_a_key_that_somebody_else_is_writing_is_waited_for_and_then_tried_later(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow]
) -> None:
    async with await psycopg.AsyncConnection.connect(project.url) as other:
        await other.execute("insert into public.users (id, email) values (%s, 'other@example.org')", (rows[0].key,))
        with pytest.raises(TransientError, match="55P03"):
            await data.insert(rule, rows, None)
    assert await project.written() == 0


async def test_in_a_callers_transaction_nothing_has_happened_before_it_commits(
    project: Project, data: PostgresData, rule: Rule, rows: Sequence[PlanRow]
) -> None:
    sessions = Sessions(project.login_url)

    async def fail_after_the_insert() -> None:
        async with sessions.writing(Role.FIXER) as connection:
            landed = await data.insert(rule, rows, connection)
            assert len(found(landed)) == 13
            assert (await connection.exec_driver_sql("select current_user")).scalar() == Role.FIXER
            raise RuntimeError("the batch failed")

    with pytest.raises(RuntimeError, match="the batch failed"):
        await fail_after_the_insert()
    assert await project.written() == 0
    async with sessions.writing(Role.FIXER) as connection:
        await data.insert(rule, rows, connection)
        assert await project.written() == 0
    await sessions.close()
    assert await project.written() == 13
