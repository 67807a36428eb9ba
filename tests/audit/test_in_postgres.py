"""The audit of a memory in PostgreSQL, changed by somebody who owns the database."""

from collections.abc import AsyncIterator

import pytest

from sidecar.demo.postgres import PostgresServer
from sidecar.domain.audit import ChainBroken, ChainHolds, Flaw, keep
from sidecar.engine.audit_watch import follow_chain
from sidecar.ports import State
from sidecar.state.open import open_state
from tests.audit.cast import head_of, lived
from tests.state.conftest import memory_template, memory_url
from tests.state.in_postgres import execute

__all__ = ["memory_template", "memory_url"]
OFF = "ALTER TABLE sidecar.audit DISABLE TRIGGER ALL"


@pytest.fixture
async def shared(memory_url: str) -> AsyncIterator[State]:
    async with open_state(memory_url) as state:
        yield state


@pytest.fixture
def owner(postgres_server: PostgresServer, memory_url: str) -> str:
    """The superuser's URL of the same database."""
    return postgres_server.url(memory_url.rpartition("/")[2])


async def test_an_untouched_chain_holds_and_an_edit_a_deletion_and_a_cut_tail_are_found(
    shared: State, owner: str
) -> None:
    rows = await lived(shared, 30)
    head = head_of(rows[-1])
    assert await follow_chain(shared, keep([head])) == ChainHolds(rows=len(rows), head=head)
    for statement, flaw, seq in (
        (f"DELETE FROM sidecar.audit WHERE seq > {len(rows) - 2}", Flaw.TAIL_CUT, len(rows) - 1),  # noqa: S608  # a number
        ("UPDATE sidecar.audit SET details = details || ' ' WHERE seq = 9", Flaw.ROW_CHANGED, 9),
        ("UPDATE sidecar.audit SET at = 9223372036854775807 WHERE seq = 8", Flaw.ROW_CHANGED, 8),
        ("DELETE FROM sidecar.audit WHERE seq = 7", Flaw.ROW_MISSING, 7),
        ("UPDATE sidecar.audit SET seq = 0 WHERE seq = 1", Flaw.ROW_MISPLACED, 0),
        ("TRUNCATE sidecar.audit", Flaw.EMPTIED, 1),
    ):
        await execute(owner, OFF, statement)
        found = await follow_chain(shared, keep([head]))
        assert isinstance(found, ChainBroken), statement
        assert (found.flaw, found.seq) == (flaw, seq), statement
