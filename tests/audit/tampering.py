"""Everything that somebody with the file could do to a chain, drawn at random."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

from sidecar.domain.audit import AuditRow
from tests.audit.cast import TEXTS, chained, numbered, sealed, with_value

Rows: TypeAlias = Sequence[AuditRow]
Tampering: TypeAlias = Callable[[random.Random, Rows], list[AuditRow]]


def edited(rng: random.Random, row: AuditRow, columns: Sequence[str] = (*TEXTS, "at")) -> AuditRow:
    """Change one column, by as little as it takes or altogether."""
    column = rng.choice(columns)
    value = getattr(row, column)
    if rng.random() < 0.1:
        return with_value(row, column, None)
    if column == "at":
        return replace(row, at=value + timedelta(microseconds=rng.choice([1, -1, 3_600_000_000])))
    place = rng.randrange(len(value))
    other = rng.choice([c for c in "0aZ é{" if c != value[place]])
    texts = [value[:place] + other + value[place + 1 :], value + " ", value[1:], ""]
    return with_value(row, column, rng.choice(texts))


def edit(rng: random.Random, rows: Rows) -> list[AuditRow]:
    place = rng.randrange(len(rows))
    return [*rows[:place], edited(rng, rows[place]), *rows[place + 1 :]]


def edit_and_seal(rng: random.Random, rows: Rows) -> list[AuditRow]:
    """Give an edited row the hash that fits it; of the last one nobody could tell without a head."""
    place = rng.randrange(len(rows) - 1)
    content = ("actor", "verb", "subject", "details", "at")
    return [*rows[:place], sealed(edited(rng, rows[place], content)), *rows[place + 1 :]]


def _middle(rng: random.Random, rows: Rows) -> tuple[list[AuditRow], list[AuditRow]]:
    start = rng.randrange(len(rows) - 1)
    end = rng.randint(start + 1, min(start + 5, len(rows) - 1))
    return list(rows[:start]), list(rows[end:])


def delete(rng: random.Random, rows: Rows) -> list[AuditRow]:
    before, after = _middle(rng, rows)
    return before + after


def delete_and_renumber(rng: random.Random, rows: Rows) -> list[AuditRow]:
    before, after = _middle(rng, rows)
    return before + numbered(after, len(before) + 1)


def delete_and_chain(rng: random.Random, rows: Rows) -> list[AuditRow]:
    """Write what follows a deletion anew; only its numbers tell."""
    before, after = _middle(rng, rows)
    return chained(before + after)


def swap(rng: random.Random, rows: Rows) -> list[AuditRow]:
    one, other = sorted(rng.sample(range(len(rows)), 2))
    swapped = list(rows)
    swapped[one], swapped[other] = replace(rows[other], seq=rows[one].seq), replace(rows[one], seq=rows[other].seq)
    if rng.random() < 0.5:
        swapped[one], swapped[other] = sealed(swapped[one]), sealed(swapped[other])
    return swapped


def insert(rng: random.Random, rows: Rows) -> list[AuditRow]:
    """Put a row in, with every later one moved on by one number, or before the first one."""
    model = replace(rng.choice(rows), actor="mallory")
    if rng.random() < 0.2:
        return [sealed(replace(model, seq=-rng.randrange(9))), *rows]
    place = rng.randrange(len(rows))
    before = rows[place - 1].hash if place else rows[0].prev_hash
    forged = sealed(replace(model, seq=place + 1, prev_hash=before))
    return [*rows[:place], forged, *numbered(rows[place:], place + 2)]


def cut_tail(rng: random.Random, rows: Rows) -> list[AuditRow]:
    return list(rows[: rng.choice([0, len(rows) - 1, rng.randrange(len(rows))])])


def rewrite(rng: random.Random, rows: Rows) -> list[AuditRow]:
    """Edit a row and write everything from it on anew."""
    return chained(edit_and_seal(rng, rows))


def rewrite_shorter(rng: random.Random, rows: Rows) -> list[AuditRow]:
    """Take rows out of the middle and write the rest anew, numbers included."""
    return chained(delete_and_renumber(rng, rows))


INSIDE: Mapping[str, Tampering] = {
    "edit": edit,
    "edit, hash made to fit": edit_and_seal,
    "delete": delete,
    "delete, numbers closed up": delete_and_renumber,
    "delete, chain made to fit": delete_and_chain,
    "swap": swap,
    "insert": insert,
}
# Numbers, hashes and links all fit: only a head that was kept elsewhere shows these.
WITH_HEAD: Mapping[str, Tampering] = {
    "tail cut": cut_tail,
    "rewritten": rewrite,
    "rewritten shorter": rewrite_shorter,
}
EVERY: Mapping[str, Tampering] = {**INSIDE, **WITH_HEAD}
