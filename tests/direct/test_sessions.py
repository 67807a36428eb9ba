"""Transactions of Sidecar's roles: one state, no writes, no filter, and nothing that outlives them."""

from collections.abc import AsyncIterator

import pytest

from sidecar.errors import AccessDenied, TransientError
from sidecar.sessions import Role, Sessions
from tests.direct.cast import LOGIN, Project

USERS = "select count(*) from public.users"


@pytest.fixture
async def sessions(project: Project) -> AsyncIterator[Sessions]:
    sessions = Sessions(project.login_url)
    yield sessions
    await sessions.close()


async def test_a_reading_transaction_sees_one_state_however_long_it_lasts(project: Project, sessions: Sessions) -> None:
    async with sessions.reading(Role.DETECTOR) as connection:
        before = (await connection.exec_driver_sql(USERS)).scalar()
        await project.sql("delete from public.users")
        assert (await connection.exec_driver_sql(USERS)).scalar() == before
    assert (await project.sql(USERS)) == [(0,)]


async def test_a_reading_transaction_cannot_write_whatever_its_role_may(sessions: Sessions) -> None:
    async def write() -> None:
        async with sessions.reading(Role.FIXER) as connection:
            await connection.exec_driver_sql("create table public.mine (id integer)")

    with pytest.raises(TransientError, match="25006"):
        await write()


async def test_a_statement_that_row_level_security_would_filter_is_an_error(
    project: Project, sessions: Sessions
) -> None:
    await project.sql("alter role sidecar_detector nobypassrls")

    async def read() -> None:
        async with sessions.reading(Role.DETECTOR) as connection:
            await connection.exec_driver_sql(USERS)

    with pytest.raises(AccessDenied, match="row-level security"):
        await read()


async def test_a_limit_below_a_second_is_a_limit(sessions: Sessions) -> None:
    async def sleep() -> None:
        async with sessions.reading(Role.DETECTOR, seconds=0.05) as connection:
            await connection.exec_driver_sql("select pg_sleep(60)")

    with pytest.raises(TransientError, match="57014"):
        await sleep()


async def test_nothing_that_a_transaction_set_outlives_it(sessions: Sessions) -> None:
    asked = "select current_user, current_setting('statement_timeout'), pg_backend_pid()"
    async with sessions.reading(Role.DETECTOR, seconds=7) as connection:
        inside = tuple((await connection.exec_driver_sql(asked)).one())
    assert inside[:2] == (Role.DETECTOR, "7s")
    async with sessions.owning() as connection:
        await connection.exec_driver_sql("reset statement_timeout")  # to what the session has
        assert tuple((await connection.exec_driver_sql(asked)).one()) == (LOGIN, "0", inside[2])
