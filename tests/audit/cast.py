"""Chains to verify: one that Sidecar's memory wrote, and rows that are written as an attacker with the file could."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sidecar.domain.audit import (
    GENESIS,
    AuditRow,
    Chain,
    ChainBroken,
    ChainHolds,
    Head,
    finish,
    follow,
    keep,
    row_hash,
)
from sidecar.ports import State
from sidecar.state.columns import EPOCH, MICROSECOND
from tests.state.cast import NOW, RULE, TABLE, later

TEXTS = ("actor", "verb", "subject", "details", "prev_hash", "hash")
NO_TEXT = "CAST(x'ff' AS TEXT)"  # what SQLite stores though it is no UTF-8


async def lived(state: State, rows: int) -> list[AuditRow]:
    """Let the memory append at least so many rows, of several kinds; return them as they are read."""
    for turn in range(rows // 6 + 1):
        epoch = await state.acquire(TABLE, f"daemon-{turn}", 10, later(turn * 20))
        assert epoch is not None
        await state.release(TABLE, epoch)
        await state.freeze(RULE, "olga", f"turn {turn}", later(turn))
        await state.attest(TABLE, f"user-{turn}", turn, "invoice", "ömer", later(turn))
        await state.unfreeze(RULE, "anna", later(turn))
        await state.trust(RULE, f"digest-{turn}", "sidecar", NOW)
    return [row async for row in state.audit_rows()]


def sealed(row: AuditRow) -> AuditRow:
    """Return the row with the hash that fits it."""
    return replace(row, hash=row_hash(row.content()))


def with_value(row: AuditRow, column: str, value: str | datetime | None) -> AuditRow:
    changed: Mapping[str, Any] = {column: value}
    return replace(row, **changed)


def chained(rows: Iterable[AuditRow], prev_hash: str = GENESIS) -> list[AuditRow]:
    """Write the rows anew, so that every hash and link fits; their numbers stay."""
    written: list[AuditRow] = []
    for row in rows:
        before = written[-1].hash if written else prev_hash
        written.append(sealed(replace(row, prev_hash=before)))
    return written


def numbered(rows: Sequence[AuditRow], first: int = 1) -> list[AuditRow]:
    return [replace(row, seq=first + place) for place, row in enumerate(rows)]


def head_of(row: AuditRow) -> Head:
    assert row.hash is not None
    return Head(row.seq, row.hash)


def judged(rows: Iterable[AuditRow], heads: Iterable[Head] = ()) -> ChainHolds | ChainBroken:
    """Verify rows without any database."""
    chain, kept = Chain(), keep(heads)
    for row in rows:
        step = follow(chain, row, kept)
        if isinstance(step, ChainBroken):
            return step
        chain = step
    return finish(chain, kept)


def overwrite(path: Path, rows: Iterable[AuditRow]) -> None:
    """Put rows in place of the table's, by plain SQL and without its triggers; None becomes a value of no type."""
    with closing(sqlite3.connect(path, timeout=10)) as stranger:
        triggers = stranger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'")
        for (name,) in triggers.fetchall():
            stranger.execute(f'DROP TRIGGER "{name}"')
        stranger.execute("DELETE FROM audit")
        for row in rows:
            values: list[object] = [getattr(row, name) for name in ("seq", *TEXTS)]
            at = "no instant" if row.at is None else (row.at - EPOCH) // MICROSECOND
            marks = ", ".join(NO_TEXT if value is None else "?" for value in values)
            columns = "seq, actor, verb, object, details, prev_hash, hash, at"
            statement = f"INSERT INTO audit ({columns}) VALUES ({marks}, ?)"  # noqa: S608  # marks alone
            stranger.execute(statement, [*(value for value in values if value is not None), at])
        stranger.commit()


def first_difference(before: Sequence[AuditRow], after: Sequence[AuditRow]) -> int | None:
    """Return the place, from 0, of the first row that is not as it was; None where nothing differs."""
    for place, (was, is_now) in enumerate(zip(before, after, strict=False)):
        if any(getattr(was, field.name) != getattr(is_now, field.name) for field in fields(AuditRow)):
            return place
    return None if len(before) == len(after) else min(len(before), len(after))
