"""The memory through a real pgbouncer in transaction mode, whose clients share server connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest

from sidecar.errors import LeaseLost
from sidecar.ports import State
from sidecar.state.open import open_state
from tests.pooler import pooled
from tests.state import test_batches, test_leases, test_looks, test_plans, test_quarantine, test_runs, test_ticks
from tests.state.cast import KEYS, NOW, RULE, TABLE, started, take
from tests.state.in_postgres import open_aged

Contract = Callable[[State], Awaitable[None]]

CORE: list[Contract] = [
    test_batches.test_a_batch_that_was_settled_is_remembered_with_what_was_written,
    test_batches.test_an_error_out_of_a_batch_comes_out_as_itself,
    test_batches.test_a_zombie_opens_no_batch,
    test_leases.test_every_taking_spends_a_new_epoch,
    test_leases.test_a_renewed_lease_keeps_others_out_for_longer,
    test_looks.test_consecutive_proven_looks_confirm_and_a_gap_forgets,
    test_looks.test_ten_thousand_candidates_are_confirmed_and_forgotten,
    test_plans.test_a_plan_is_applied_at_most_once,
    test_plans.test_a_new_plan_overtakes_the_rules_waiting_ones,
    test_quarantine.test_a_proven_look_replaces_the_rules_whole_set,
    test_runs.test_a_batch_is_announced_then_settled,
    test_runs.test_a_run_left_by_a_dead_holder_is_interrupted_and_adopted,
    test_runs.test_the_daily_cap_counts_what_landed_or_may_have_landed,
    test_ticks.test_one_replica_in_an_interval_looks,
]

# What a transaction of ours binds to itself, and what names the server connection that it ran on.
LEFT_BEHIND = """
SELECT pg_backend_pid(), current_user, session_user, current_setting('statement_timeout'),
  current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'),
  current_setting('row_security'), current_setting('search_path'), current_setting('timezone'),
  current_setting('transaction_read_only'), current_setting('transaction_isolation'),
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), (SELECT count(*) FROM pg_prepared_statements)
"""


@pytest.fixture
async def narrow_url(memory_url: str) -> AsyncIterator[str]:
    """The memory by way of a pooler that has one server connection for everybody."""
    async with pooled(memory_url, server_connections=1) as url:
        yield url


@pytest.mark.parametrize("contract", CORE, ids=[contract.__name__.removeprefix("test_") for contract in CORE])
async def test_the_contract_holds_through_a_pooler(contract: Contract, narrow_url: str) -> None:
    async with open_aged(narrow_url) as state:
        await contract(state)
        assert await state.frozen(RULE) is None  # still of use afterwards


async def left_behind(url: str) -> tuple[object, ...]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=None) as connection:
        found = await (await connection.execute(LEFT_BEHIND.encode())).fetchone()
    assert found is not None
    return found


async def test_the_next_client_of_the_same_connection_finds_nothing_of_ours(narrow_url: str) -> None:
    before = await left_behind(narrow_url)
    async with open_state(narrow_url) as state:
        epoch = await take(state)
        await started(state, epoch)
        assert await left_behind(narrow_url) == before
        async with state.batch("run-1", TABLE, epoch, KEYS[:2], NOW):
            pass
        assert await left_behind(narrow_url) == before
        with pytest.raises(LeaseLost):
            await state.renew(TABLE, epoch + 1, 10, NOW)
        assert [row.in_flight for row in await state.rows("run-1")] == [True, True, False, False, False]
        assert await left_behind(narrow_url) == before
    assert await left_behind(narrow_url) == before


async def test_many_replicas_share_few_connections(memory_url: str) -> None:
    async with pooled(memory_url, server_connections=2) as url, open_aged(url) as one, open_aged(url) as other:
        epochs = await asyncio.gather(*[(one, other)[n % 2].acquire(TABLE, f"replica-{n}", 10, NOW) for n in range(12)])
        assert sorted(epochs, key=str) == [1, *[None] * 11]
