"""Money that a ledger writer raced is put right where that is safe, and told where it is not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg import sql

from sidecar.domain.event import VerifyFailed
from sidecar.domain.rule import Mode
from sidecar.domain.run import Outcome
from sidecar.domain.verification import VerifyResult
from sidecar.engine.cycle import Cycle
from sidecar.errors import AccessDenied
from sidecar.sessions import Role, Sessions
from tests.engine.cast import Stage
from tests.verify.cast import Ground, a_stage, key_of, the_rule

MOVE = """
    insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)
    values (%(user)s, 'bonus', %(amount)s, %(balance)s)
"""
ADD = "update public.users set credits_balance = credits_balance + %(amount)s where id = %(user)s"
BALANCE = "select credits_balance from public.users where id = %s"
RULE = the_rule(verify_again_after_seconds=(0.0,))


@dataclass
class Writer:
    """An application's transaction for user 1 that began before the run's rows were there."""

    connection: psycopg.AsyncConnection

    async def move(self, amount: int, balance: int) -> int:
        """Write a movement to the ledger and add it to the profile; return how many profiles there were."""
        values = {"user": key_of(1), "amount": amount, "balance": balance}
        await self.connection.execute(MOVE, values)
        return (await self.connection.execute(ADD, values)).rowcount


@contextlib.asynccontextmanager
async def raced(ground: Ground, *, amount: int = 50) -> AsyncIterator[tuple[Stage, Writer]]:
    """Let a writer be under way whose UPDATE found no profile."""
    await ground.populate(users=20, orphans=1)
    async with a_stage(ground) as stage, await psycopg.AsyncConnection.connect(ground.url) as connection:
        writer = Writer(connection)
        assert await writer.move(amount, 800 + amount) == 0
        yield stage, writer


async def tick(stage: Stage, ground: Ground, writer: Writer, *, then: str = "") -> Cycle:
    """Repair; once the run waits for whoever could not see its row, `then` happens, and the writer commits."""
    async with asyncio.TaskGroup() as group:
        repairing = group.create_task(stage.repair.tick(RULE))
        while not repairing.done() and not await ground.sql("select 1 from sidecar.horizons"):
            pass  # each turn asks the server
        if then:
            await ground.sql(then, key_of(1))
        await writer.connection.commit()
    return repairing.result()


async def test_a_raced_row_is_corrected_once_the_horizon_has_passed(ground: Ground) -> None:
    async with raced(ground) as (stage, writer):
        cycle = await tick(stage, ground, writer)
        trail = await ground.sql("select object, details from sidecar.audit where verb = 'row.corrected'")
        rows = await stage.state.rows(cycle.run_id or "")
        [again] = await stage.reverifier.due(RULE)
    assert cycle.outcome is Outcome.REPAIRED
    assert cycle.verified is not None
    assert (cycle.verified.corrected, cycle.verified.drift, cycle.verified.holds) == (1, 0, True)
    assert await ground.sql(BALANCE, key_of(1)) == [(850,)]
    assert [name for name, _ in trail] == [f"{cycle.run_id}/{key_of(1)}"]
    assert "850" not in trail[0][1].replace(rows[0].settled.written, "")  # digests, and no amount in clear
    assert f'"after":"{rows[0].settled.written}"' in trail[0][1]
    assert (again.result, again.corrected) == (VerifyResult.HELD, 0)


async def test_a_corrected_row_can_be_undone(ground: Ground) -> None:
    async with raced(ground) as (stage, writer):
        cycle = await tick(stage, ground, writer)
        run = await stage.state.run(cycle.run_id or "")
        assert run is not None
        made = await stage.undo.plan(RULE, run, "olga", kept=False)
    assert made.counts == {"removable": 1}


async def test_a_writer_who_stays_open_is_left_to_the_next_verification(ground: Ground) -> None:
    async with raced(ground) as (stage, writer):
        cycle = await stage.repair.tick(RULE)  # patience ends before the writer does
        await writer.connection.commit()
        [again] = await stage.reverifier.due(RULE)
    assert cycle.outcome is Outcome.REPAIRED
    assert (again.result, again.corrected, again.drift) == (VerifyResult.HELD, 1, 0)
    assert await ground.sql(BALANCE, key_of(1)) == [(850,)]


@pytest.mark.parametrize(
    "then",
    [
        pytest.param("update public.users set full_name = 'Mine' where id = %s", id="somebody changed the row"),
        pytest.param(
            "with moved as (insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)"
            " values (%s, 'bonus', 5, 855) returning user_id)"
            " update public.users u set credits_balance = credits_balance + 5 from moved where u.id = moved.user_id",
            id="the user moved credits since",
        ),
        pytest.param(
            "insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)"
            " values (%s, 'bonus', 5, 9999)",
            id="the chain does not hold",
        ),
    ],
)
async def test_a_raced_row_that_is_not_as_written_or_not_proven_is_told_and_left(ground: Ground, then: str) -> None:
    async with raced(ground) as (stage, writer):
        cycle = await tick(stage, ground, writer, then=then)
        kept = await ground.sql(BALANCE, key_of(1))
    assert cycle.outcome is Outcome.VERIFY_FAILED
    assert cycle.verified is not None
    assert cycle.verified.corrected == 0
    assert kept in ([(800,)], [(805,)])
    assert stage.reporter.told(VerifyFailed)


async def test_a_ledger_that_its_users_may_write_corrects_nothing(ground: Ground) -> None:
    await ground.sql("grant insert on public.credit_transactions to authenticated")
    await ground.populate(users=20, orphans=1)
    async with a_stage(ground) as stage, await psycopg.AsyncConnection.connect(ground.url) as connection:
        by_hand = replace(RULE, mode=Mode.APPROVE)
        await stage.repair.plan(by_hand, "olga")
        stored = await stage.approve_newest()
        assert await Writer(connection).move(50, 850) == 0
        async with asyncio.TaskGroup() as group:
            applying = group.create_task(stage.repair.apply(by_hand, stored, "olga"))
            while not applying.done() and not await ground.sql(BALANCE, key_of(1)):
                pass  # each turn asks the server
            await connection.commit()
    cycle = applying.result()
    assert cycle.outcome is Outcome.VERIFY_FAILED
    assert await ground.sql(BALANCE, key_of(1)) == [(800,)]


async def test_a_freeze_stops_a_correction_too(ground: Ground) -> None:
    async with raced(ground) as (stage, writer):
        await stage.repair.tick(RULE)
        await writer.connection.commit()
        await stage.state.freeze("*", "olga", "stop", stage.clock.now())
        [again] = await stage.reverifier.due(RULE)
    assert (again.result, again.corrected) == (VerifyResult.FAILED, 0)
    assert await ground.sql(BALANCE, key_of(1)) == [(800,)]


async def test_a_zombie_corrects_nothing(ground: Ground) -> None:
    async with raced(ground) as (stage, writer):
        cycle = await stage.repair.tick(RULE)
        await writer.connection.commit()
        epoch = await stage.state.acquire("public.users", "heir", 10.0, stage.clock.now())
        assert epoch is not None
        with pytest.raises(Exception, match="not held under epoch"):
            async with stage.state.correction(cycle.run_id or "", "public.users", epoch - 1, stage.clock.now()):
                pass


@pytest.mark.parametrize(
    "column",
    ["id", "email", "full_name", "avatar_url", "is_active", "current_plan", "metadata", "created_at", "updated_at"],
)
async def test_postgresql_refuses_the_fixer_every_other_update(ground: Ground, column: str) -> None:
    await ground.populate(users=2, orphans=0)
    sessions = Sessions(ground.login_url)
    try:
        statement = sql.SQL("update public.users set {0} = {0}").format(sql.Identifier(column))
        with pytest.raises(AccessDenied, match="42501"):
            async with sessions.writing(Role.FIXER) as connection:
                await connection.exec_driver_sql(statement.as_string())
        async with sessions.writing(Role.FIXER) as connection:
            done = await connection.exec_driver_sql("update public.users set credits_balance = credits_balance")
            assert done.rowcount == 2
    finally:
        await sessions.close()


async def test_a_row_that_bears_the_plan_s_mark_and_was_never_planned_is_an_alarm(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(RULE)
        await ground.sql(
            "update public.users set metadata = (select metadata from public.users where id = %s) where id = %s",
            key_of(1),
            key_of(9),
        )
        [again] = await stage.reverifier.due(RULE)
    assert cycle.outcome is Outcome.REPAIRED
    assert (again.result, again.broken) == (VerifyResult.FAILED, {"row_extra": 1})


async def test_a_second_row_for_one_user_is_an_alarm(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    async with a_stage(ground) as stage:
        cycle = await stage.repair.tick(RULE)
        assert cycle.plan is not None
        assert stage.direct is not None
        assert await stage.direct.unplanned(RULE, [key_of(1)], cycle.plan.id) == {}
        await ground.sql("alter table public.generations drop constraint generations_user_id_fkey")
        await ground.sql("alter table public.users drop constraint users_pkey, drop constraint users_email_key")
        await ground.sql("insert into public.users select * from public.users where id = %s", key_of(1))
        assert await stage.direct.unplanned(RULE, [key_of(1)], cycle.plan.id) == {"row_doubled": 1}
