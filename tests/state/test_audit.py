"""The trail of changes: complete, chained, append-only, and free of values."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.domain.check import CheckState
from sidecar.domain.plan import PlanStatus
from sidecar.domain.run import Outcome, RowResult, RunStatus, Settled
from sidecar.ports import State
from sidecar.state.open import open_state
from tests.state.audit_reading import first_broken
from tests.state.cast import KEYS, NOW, RULE, TABLE, a_plan, a_run, later, sighting, started, take
from tests.state.conftest import TrailReader

EMAIL = "alice@example.org"
INSERTED = Settled(result=RowResult.INSERTED)

# In this order each one changes something. With each: how many audit rows it adds.
CHANGES: dict[str, tuple[Callable[[State], Awaitable[object]], int]] = {
    "acquire": (lambda s: s.acquire(TABLE, "daemon", 10, NOW), 1),
    "renew": (lambda s: s.renew(TABLE, 1, 10, NOW), 0),
    "save_check": (lambda s: s.save_check("backend", CheckState()), 0),
    "keep": (lambda s: s.keep("log errors", "{}", 0, NOW), 0),
    "spend": (lambda s: s.spend("journey", 5, 5, NOW, later(1)), 1),
    "open_look": (lambda s: s.open_look(RULE, NOW), 1),
    "note": (lambda s: s.note(1, TABLE, [("alice", 1200)], NOW), 0),
    "close_look": (lambda s: s.close_look(1, sighting("alice"), NOW), 1),
    "drop_baseline": (lambda s: s.drop_baseline(RULE, "olga", NOW), 1),
    "attest": (lambda s: s.attest(TABLE, "alice", 424242, f"asked {EMAIL}", "olga", NOW), 1),
    "hold": (lambda s: s.hold(RULE, {"alice": "banned"}, "look", NOW, None), 1),
    "let_go": (lambda s: s.let_go(1, "olga", NOW), 1),
    "save_plan": (lambda s: s.save_plan(a_plan(), PlanStatus.WAITING, "sidecar"), 1),
    "move_plan": (lambda s: s.move_plan("plan-1", PlanStatus.WAITING, PlanStatus.APPROVED, "olga", NOW), 1),
    "start_run": (lambda s: s.start_run(a_run(a_plan(), 1), a_plan(), TABLE, KEYS), 1),
    "intend": (lambda s: s.intend("run-1", TABLE, 1, KEYS[:2], NOW), 1),
    "settle": (lambda s: s.settle("run-1", TABLE, 1, {"alice": INSERTED}, NOW), 1),
    "move_run": (
        lambda s: s.move_run("run-1", RunStatus.APPLYING, RunStatus.INTERRUPTED, NOW, detail=f"saw {EMAIL}"),
        1,
    ),
    "adopt_run": (lambda s: s.adopt_run("run-1", TABLE, 1, NOW), 1),
    "freeze": (lambda s: s.freeze(RULE, "olga", f"asked by {EMAIL}", NOW), 1),
    "unfreeze": (lambda s: s.unfreeze(RULE, "olga", NOW), 1),
    "trust": (lambda s: s.trust(RULE, "d1", "olga", NOW), 1),
    "acquire again": (lambda s: s.acquire(TABLE, "cli", 10, later(11)), 1),
    "interrupt_silent": (lambda s: s.interrupt_silent(TABLE, 2, NOW), 1),
    "release": (lambda s: s.release(TABLE, 2), 1),
}


async def test_every_change_leaves_one_row_and_the_chain_holds(state: State, read_trail: TrailReader) -> None:
    before = 0
    for name, (change, added) in CHANGES.items():
        await change(state)
        rows = await read_trail()
        assert len(rows) - before == added, name
        before = len(rows)
    assert first_broken(await read_trail()) is None


async def test_the_trail_holds_no_mail_address_and_no_amount(state: State, read_trail: TrailReader) -> None:
    for change, _ in CHANGES.values():
        await change(state)
    text = str(await read_trail())
    for secret in ("@", "424242", "1200", "12.50"):
        assert secret not in text


async def test_what_changes_nothing_leaves_no_row(state: State, read_trail: TrailReader) -> None:
    await take(state)
    await started(state, 1)
    before = await read_trail()
    await state.acquire(TABLE, "cli", 10, NOW)
    await state.release(TABLE, 9)
    await state.let_go(7, "olga", NOW)
    await state.unfreeze(RULE, "olga", NOW)
    await state.move_plan("plan-1", PlanStatus.WAITING, PlanStatus.REJECTED, "olga", NOW)
    await state.start_run(a_run(a_plan(), 1, "run-2"), a_plan(), TABLE, KEYS)
    await state.adopt_run("run-1", TABLE, 1, NOW)
    await state.move_run("run-1", RunStatus.INTERRUPTED, RunStatus.FINISHED, NOW, outcome=Outcome.FAILED)
    await state.interrupt_silent(TABLE, 1, NOW)
    assert await read_trail() == before


async def test_a_change_that_fails_leaves_no_row(state: State, read_trail: TrailReader) -> None:
    await started(state, await take(state))
    before = await read_trail()
    with pytest.raises(ValueError, match="does not have one of the keys"):
        await state.settle("run-1", TABLE, 1, {"mallory": INSERTED}, NOW)
    assert await read_trail() == before


@pytest.mark.parametrize("column", ["actor", "verb", "object", "details", "at"])
async def test_a_row_edited_behind_the_triggers_breaks_the_chain(
    state: State, read_trail: TrailReader, column: str
) -> None:
    await started(state, await take(state))
    rows = await read_trail()
    rows[1][column] = 1 if column == "at" else "something else"
    assert first_broken(rows) == 2


async def test_a_row_taken_out_breaks_the_chain(state: State, read_trail: TrailReader) -> None:
    await started(state, await take(state))
    rows = await read_trail()
    assert first_broken([rows[0], *rows[2:]]) == 2


FORBIDDEN = [
    "UPDATE audit SET actor = 'nobody'",
    "DELETE FROM audit WHERE seq = 1",
    "INSERT INTO audit SELECT 1, at, 'x', verb, object, details, prev_hash, hash FROM audit WHERE seq = 1",
    "REPLACE INTO audit SELECT 1, at, 'x', verb, object, details, prev_hash, hash FROM audit WHERE seq = 1",
    "UPDATE snapshots SET amount = '999999'",
    "DELETE FROM snapshots",
    "UPDATE attestations SET amount = '999999'",
    "DELETE FROM attestations",
    "UPDATE batches SET row_count = 0",
    "DELETE FROM batches",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_evidence_and_trail_in_a_file_are_append_only_for_everybody(path: Path, statement: str) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        for change, _ in CHANGES.values():
            await change(state)
    with closing(sqlite3.connect(path)) as stranger, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        stranger.execute(statement)
