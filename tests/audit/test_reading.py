"""The audit is read as it is stored, however it is stored."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.domain.audit import ChainBroken, ChainHolds, Flaw
from sidecar.engine.audit_watch import follow_chain
from sidecar.errors import StateUnavailable
from sidecar.ports import State
from sidecar.state.store import AT_ONCE
from tests.audit.cast import chained, head_of, lived, numbered, overwrite, sealed
from tests.state.cast import NOW, RULE


def ignore_types(path: Path, statement: str) -> None:
    """Edit the audit as somebody with the file could."""
    with closing(sqlite3.connect(path, timeout=10)) as stranger:
        stranger.execute("DROP TRIGGER audit_no_update")
        stranger.execute(statement)
        stranger.commit()


async def test_rows_come_in_order_page_by_page_and_from_any_row_on(state: State, path: Path) -> None:
    rows = numbered((await lived(state, 12)) * (AT_ONCE // 6))
    assert len(rows) > 2 * AT_ONCE
    overwrite(path, reversed(chained(rows)))
    read = [row async for row in state.audit_rows()]
    assert read == chained(rows)
    assert [row async for row in state.audit_rows(rows[-3].seq)] == read[-2:]
    assert await follow_chain(state, {}, since=head_of(read[9])) == ChainHolds(
        rows=len(rows) - 9, head=head_of(read[-1])
    )


async def test_rows_that_are_added_while_others_are_read_are_read_as_well(state: State) -> None:
    rows = await lived(state, 6)
    seen: list[int] = []
    async for row in state.audit_rows():
        if not seen:
            await state.trust(RULE, "another", "olga", NOW)
        seen.append(row.seq)
    assert seen == [*(row.seq for row in rows), len(rows) + 1]


async def test_a_row_put_in_before_the_first_one_is_not_passed_over(state: State, path: Path) -> None:
    rows = await lived(state, 6)
    overwrite(path, [sealed(replace(rows[0], seq=-3)), *rows])
    found = await follow_chain(state, {})
    assert isinstance(found, ChainBroken)
    assert (found.seq, found.flaw) == (-3, Flaw.ROW_MISPLACED)


@pytest.mark.parametrize(
    "edit",
    [
        "at = 'yesterday'",
        "at = 1.5",
        f"at = {2**62}",
        "actor = CAST(x'ff' AS TEXT)",
        "details = x'ff00'",
        "hash = CAST(x'ff' AS TEXT)",
        "details = details || char(0)",
    ],
)
async def test_a_value_that_its_column_cannot_hold_is_an_edited_row_and_no_failure_to_read(
    state: State, path: Path, edit: str
) -> None:
    await lived(state, 6)
    ignore_types(path, f"UPDATE audit SET {edit} WHERE seq = 3")  # noqa: S608  # the statements above
    found = await follow_chain(state, {})
    assert isinstance(found, ChainBroken)
    assert (found.seq, found.flaw, found.rows) == (3, Flaw.ROW_CHANGED, 2)


async def test_a_table_that_is_gone_is_not_an_audit_without_rows(state: State, path: Path) -> None:
    await lived(state, 6)
    with closing(sqlite3.connect(path, timeout=10)) as stranger:
        stranger.execute("DROP TABLE audit")
    with pytest.raises(StateUnavailable):
        await follow_chain(state, {})
