"""When a run's money may be summed again: after everybody who could not see its rows has ended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from sidecar.demo.postgres import postgres
from sidecar.demo.premises import temporary_data_dir
from sidecar.domain.run import RowResult, Settled
from sidecar.ports import State
from sidecar.state.open import open_state
from tests.state.cast import KEYS, NOW, TABLE, started, take
from tests.state.in_postgres import execute, make_roles, open_aged

INSERTED = Settled(result=RowResult.INSERTED)


@pytest.fixture
async def memory(memory_url: str, admin_url: str) -> AsyncIterator[State]:
    await execute(admin_url, "CREATE TABLE public.ledger (amount integer)")
    async with open_aged(memory_url) as state:
        await started(state, await take(state))
        yield state


async def write_batch(state: State, *keys: str) -> None:
    async with state.batch("run-1", TABLE, 1, keys, NOW) as batch:
        await batch.settle(dict.fromkeys(keys, INSERTED), NOW)


@asynccontextmanager
async def writer(url: str, statement: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A transaction of the product's, as far as `statement`."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(statement.encode())
        yield connection


async def test_a_run_that_overlapped_nobody_has_passed_its_horizon_at_once(memory: State) -> None:
    await write_batch(memory, "alice")
    assert await memory.horizon_passed("run-1")


async def test_a_run_without_batches_has_nothing_to_wait_for(memory: State, admin_url: str) -> None:
    async with writer(admin_url, "INSERT INTO public.ledger VALUES (1)"):
        assert await memory.horizon_passed("run-1")


# The second has written nothing by then, so it has no number: its UPDATE found no row, and its INSERT is to come.
OVERLAPPING = ["INSERT INTO public.ledger VALUES (1)", "UPDATE public.ledger SET amount = 2"]


@pytest.mark.parametrize("statement", OVERLAPPING, ids=["with a number", "without one"])
async def test_whoever_was_under_way_during_a_batch_holds_the_horizon_until_it_ends(
    memory: State, admin_url: str, statement: str
) -> None:
    async with writer(admin_url, statement) as other:
        await write_batch(memory, "alice")
        assert not await memory.horizon_passed("run-1")
        await other.execute("INSERT INTO public.ledger VALUES (3)")
        assert not await memory.horizon_passed("run-1")
        await other.commit()
        assert await memory.horizon_passed("run-1")


async def test_a_transaction_that_was_prepared_holds_the_horizon_though_its_session_is_gone() -> None:
    with temporary_data_dir() as folder:
        async with postgres(folder) as server:
            await execute(server.url(), "ALTER SYSTEM SET max_prepared_transactions = 2")
        async with postgres(folder) as server:
            url = await make_roles(server, "postgres")
            await execute(server.url(), "CREATE TABLE public.ledger (amount integer)")
            async with open_aged(url) as memory:
                await started(memory, await take(memory))
                async with writer(server.url(), "INSERT INTO public.ledger VALUES (1)") as other:
                    await write_batch(memory, "alice")
                    await other.execute("PREPARE TRANSACTION 'later'")
                assert not await memory.horizon_passed("run-1")
                await execute(server.url(), "COMMIT PREPARED 'later'")
                assert await memory.horizon_passed("run-1")


async def test_whoever_comes_after_the_first_question_is_not_waited_for(memory: State, admin_url: str) -> None:
    async with writer(admin_url, "INSERT INTO public.ledger VALUES (1)") as early:
        await write_batch(memory, "alice")
        assert not await memory.horizon_passed("run-1")
        async with writer(admin_url, "INSERT INTO public.ledger VALUES (2)"):
            await early.commit()
            assert await memory.horizon_passed("run-1")


async def test_a_later_batch_moves_the_horizon(memory: State, admin_url: str) -> None:
    await write_batch(memory, "alice")
    assert await memory.horizon_passed("run-1")
    async with writer(admin_url, "INSERT INTO public.ledger VALUES (1)") as other:
        await write_batch(memory, "bob")
        assert not await memory.horizon_passed("run-1")
        await other.rollback()
        assert await memory.horizon_passed("run-1")


async def test_a_file_has_nobody_to_wait_for(path: Path) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        epoch = await take(state)
        await started(state, epoch)
        await state.intend("run-1", TABLE, epoch, KEYS[:1], NOW)
        assert await state.horizon_passed("run-1")
