"""The audit's chain: what a row's hash covers, and whether rows in their order are the chain that was written.

Hash and link show what was done to rows in the middle. That the tail was cut, or that everything was written anew with
hashes that fit, only a head shows that was kept somewhere else.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

GENESIS = "0" * 64  # stands for the hash before the first row
# What `domain.plan.canonical` makes of numbers and text, made once: a chain has millions of rows.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def row_hash(row: Mapping[str, object]) -> str:
    """Hash every column but `hash` itself, in canonical JSON; the hash before is one of them."""
    plain = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items() if k != "hash"}
    return hashlib.sha256(_canonical(plain).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One row as it is stored. `details` is JSON as text. None: what is stored there is not of the column's type."""

    seq: int
    at: datetime | None
    actor: str | None
    verb: str | None
    subject: str | None  # the column `object`
    details: str | None
    prev_hash: str | None
    hash: str | None

    def content(self) -> dict[str, object]:
        """Return what the row's hash covers."""
        return {
            "seq": self.seq,
            "at": self.at,
            "actor": self.actor,
            "verb": self.verb,
            "object": self.subject,
            "details": self.details,
            "prev_hash": self.prev_hash,
        }


@dataclass(frozen=True, slots=True)
class Head:
    """A row of the chain by its number and hash. Kept outside the table, it vouches for every row up to it."""

    seq: int
    hash: str


Kept: TypeAlias = Mapping[int, frozenset[str]]  # what kept heads say the hash of a row must be, by its number


def keep(heads: Iterable[Head]) -> Kept:
    """Gather heads by row. Two that disagree on one row are both held against it, so that one of them fails."""
    kept: dict[int, frozenset[str]] = {}
    for head in heads:
        kept[head.seq] = kept.get(head.seq, frozenset()) | {head.hash}
    return kept


class Flaw(StrEnum):
    """What is wrong with a chain."""

    ROW_CHANGED = "row_changed"  # a row is not what its hash was taken of
    ROW_MISSING = "row_missing"  # numbers are left out
    ROW_MISPLACED = "row_misplaced"  # a number that was passed comes again
    LINK_BROKEN = "link_broken"  # a row does not name the hash of the row before
    REWRITTEN = "rewritten"  # hashes and links fit, and a kept head says that another row stood here
    TAIL_CUT = "tail_cut"  # the chain ends before a row that a kept head names
    EMPTIED = "emptied"  # no row at all, and a head was kept


@dataclass(frozen=True, slots=True)
class Chain:
    """How far a chain was followed: `rows` of them, the last one with this `seq` and `hash` (None: not seen yet)."""

    rows: int = 0
    seq: int = 0
    hash: str | None = GENESIS


def just_before(head: Head) -> Chain:
    """Return where to stand to go on from `head`, so that its own row is looked at again."""
    return Chain(seq=head.seq - 1, hash=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHolds:
    """Every row followed is as it was written, up to `head`; None when there was no row."""

    rows: int
    head: Head | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainBroken:
    """The first thing that is wrong, at row `seq`; `rows` were followed before it. `detail` is for a person."""

    seq: int
    flaw: Flaw
    detail: str
    rows: int


def follow(chain: Chain, row: AuditRow, kept: Kept) -> Chain | ChainBroken:
    """Take one row more, or say what is wrong with it."""
    if row.seq != chain.seq + 1:
        return _out_of_order(chain, row)
    if row_hash(row.content()) != row.hash:
        return _broken(chain, row, Flaw.ROW_CHANGED, "it is not what its hash was taken of: it was edited")
    if chain.hash is not None and row.prev_hash != chain.hash:
        detail = f"it does not follow from row {chain.seq}: one of the two was put in another's place"
        return _broken(chain, row, Flaw.LINK_BROKEN, detail)
    if any(hash_ != row.hash for hash_ in kept.get(row.seq, ())):
        detail = "a kept head has another hash for it: the chain was written anew, or the head is of another memory"
        return _broken(chain, row, Flaw.REWRITTEN, detail)
    return Chain(chain.rows + 1, row.seq, row.hash)


def finish(chain: Chain, kept: Kept) -> ChainHolds | ChainBroken:
    """Say what a chain that was followed to its end comes to."""
    newest = max(kept, default=0)
    if newest > chain.seq:
        flaw = Flaw.TAIL_CUT if chain.seq else Flaw.EMPTIED
        ends = f"the trail ends before it, and a head was kept of row {newest}"
        return ChainBroken(seq=chain.seq + 1, flaw=flaw, detail=f"{ends}: what was between is gone", rows=chain.rows)
    head = Head(chain.seq, chain.hash) if chain.rows and chain.hash is not None else None
    return ChainHolds(rows=chain.rows, head=head)


def _out_of_order(chain: Chain, row: AuditRow) -> ChainBroken:
    expected = chain.seq + 1
    if row.seq < expected:
        detail = f"it stands where row {expected} should: it was put in, or rows changed places"
        return _broken(chain, row, Flaw.ROW_MISPLACED, detail)
    gone = "it is" if row.seq == expected + 1 else f"it and the rows up to {row.seq - 1} are"
    detail = f"{gone} missing: the next one is row {row.seq}"
    return ChainBroken(seq=expected, flaw=Flaw.ROW_MISSING, detail=detail, rows=chain.rows)


def _broken(chain: Chain, row: AuditRow, flaw: Flaw, detail: str) -> ChainBroken:
    return ChainBroken(seq=row.seq, flaw=flaw, detail=detail, rows=chain.rows)
