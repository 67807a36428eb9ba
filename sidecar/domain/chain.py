"""The chain of a ledger, movement by movement, as a person reads it. Decides nothing: `credits` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sidecar.domain.credits import LedgerRow
from sidecar.domain.rule import Amount


class Link(StrEnum):
    """How a movement stands to the one before it."""

    OPENS = "opens"  # the first, from zero
    OPENS_UNEXPLAINED = "opens_unexplained"  # the first, from credits that no row explains
    FOLLOWS = "follows"
    BREAKS = "breaks"  # its balance is not the one before plus its amount
    TIED = "tied"  # at the same instant as another, so that what came first must come out of the numbers
    UNREADABLE = "unreadable"  # without an amount, a balance or an instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """A movement and its verdict; `expected` is the balance that would follow, None where there is none to expect."""

    row: LedgerRow
    link: Link
    expected: Amount | None = None


def walk(ledger: Sequence[LedgerRow]) -> list[Movement]:
    """Return the movements in the order of their instants, each with how it stands to the one before."""
    moments = [_moment(row) for row in ledger]
    ordered = sorted(zip(moments, ledger, strict=True), key=lambda pair: (pair[0], str(pair[1].order)))
    told: list[Movement] = []
    before: Amount | None = None
    for place, (moment, row) in enumerate(ordered):
        link, expected = _link(row, before, is_first=place == 0)
        if link is Link.BREAKS and moments.count(moment) > 1:
            link = Link.TIED
        told.append(Movement(row=row, link=link, expected=expected))
        before = row.balance_after if row.balance_after is not None else before
    return told


def _link(row: LedgerRow, before: Amount | None, *, is_first: bool) -> tuple[Link, Amount | None]:
    if row.amount is None or row.balance_after is None:
        return Link.UNREADABLE, None
    if is_first or before is None:
        opening = row.balance_after - row.amount
        return (Link.OPENS, row.amount) if opening == 0 else (Link.OPENS_UNEXPLAINED, row.amount)
    expected = before + row.amount
    return (Link.FOLLOWS if row.balance_after == expected else Link.BREAKS), expected


def _moment(row: LedgerRow) -> tuple[float, ...]:
    """Return what of a row's order says what came first; a uuid does not."""
    return tuple(
        value.timestamp() if isinstance(value, datetime) else float(value)
        for value in row.order
        if not isinstance(value, str)
    )
