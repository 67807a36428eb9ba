"""The trial of I17: whatever is done to a chain that Sidecar wrote is found."""

import random
from collections import Counter
from pathlib import Path

import pytest

from sidecar.domain.audit import AuditRow, ChainBroken, ChainHolds, Head, keep
from sidecar.engine.audit_watch import follow_chain
from sidecar.ports import State
from tests.audit.cast import first_difference, head_of, judged, lived, overwrite
from tests.audit.tampering import EVERY, WITH_HEAD
from tests.state.audit_reading import first_broken, trail

ROWS = 200
TRIALS = 2000
IN_FULL = (pytest.mark.soak, pytest.mark.timeout(600))
THROUGH_THE_FILE = [pytest.param(TRIALS // 20), pytest.param(TRIALS, marks=IN_FULL)]


def tampered(rng: random.Random, rows: list[AuditRow], number: int) -> tuple[str, list[AuditRow], list[Head], int]:
    """Return what was done, the rows after it, the heads that somebody kept, and the first place that differs."""
    name = list(EVERY)[number % len(EVERY)]
    while True:
        after = EVERY[name](rng, rows)
        if (place := first_difference(rows, after)) is not None:
            return name, after, [head_of(rows[-1])] if name in WITH_HEAD else [], place


def held(found: ChainHolds | ChainBroken, place: int) -> bool:
    """Say whether it was found, and no row before the tampering was blamed."""
    return isinstance(found, ChainBroken) and found.rows >= place


async def test_every_tampering_with_copies_of_the_rows_is_found(state: State, path: Path) -> None:
    rows = await lived(state, ROWS)
    assert len(rows) >= ROWS
    assert (judged(rows), first_broken(trail(path))) == (ChainHolds(rows=len(rows), head=head_of(rows[-1])), None)
    rng, found, missed = random.Random(17), Counter[str](), list[str]()
    for number in range(TRIALS):
        name, after, heads, place = tampered(rng, rows, number)
        if held(judged(after, heads), place):
            found[name] += 1
        else:
            missed.append(name)
    print(f"tampering: {found.total()} of {TRIALS} found (copies of {len(rows)} rows; {dict(found)})")
    assert (missed, found.total()) == ([], TRIALS)


@pytest.mark.parametrize("trials", THROUGH_THE_FILE)
async def test_every_tampering_with_the_file_is_found(state: State, path: Path, trials: int) -> None:
    rows = await lived(state, ROWS)
    rng, found, missed = random.Random(71), 0, list[str]()
    for number in range(trials):
        name, after, heads, place = tampered(rng, rows, number)
        overwrite(path, after)
        if held(await follow_chain(state, keep(heads)), place):
            found += 1
        else:
            missed.append(name)
    print(f"tampering with the file: {found} of {trials} found (SQLite, {len(rows)} rows)")
    assert (missed, found) == ([], trials)
    overwrite(path, rows)
    heads = [head_of(row) for row in rows]
    assert await follow_chain(state, keep(heads)) == ChainHolds(rows=len(rows), head=heads[-1])
