"""A balance from evidence, or the reason why there is none. Nothing in here may invent a number."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby, permutations
from typing import TypeAlias

from sidecar.domain.rule import Amount, Origin

OrderValue: TypeAlias = datetime | int | str
Step: TypeAlias = tuple[Amount, Amount]  # an amount and the balance after it
DATE_RESOLUTION = timedelta(seconds=2)  # a snapshot bears an HTTP `Date`: cut to the second, and renewed late
READINGS_TRIED_AT_MOST = 6  # rows tied in time; more of them (over 720 orders) count as ambiguous unread


class NoBalance(StrEnum):
    """Why a balance is not proven. Each of these sends the row to a person."""

    NO_EVIDENCE = "no_evidence"  # nothing recorded carries a balance
    CHAIN_BROKEN = "chain_broken"  # a recorded balance does not follow from the one before
    CHAIN_AMBIGUOUS = "chain_ambiguous"  # rows tied in time can be read in two orders
    OPENING_UNEXPLAINED = "opening_unexplained"  # the first row starts from credits that no row explains
    BALANCE_NEGATIVE = "balance_negative"  # the proven balance is below zero
    EVIDENCE_CONTRADICTED = "evidence_contradicted"  # the ledger goes on from another number than was attested or seen


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One recorded movement.

    `order` holds the values of the rule's order columns: instants and integers say what came first; text (a uuid)
    only tells rows apart.
    """

    order: tuple[OrderValue, ...]
    created_at: datetime | None
    amount: Amount | None
    balance_after: Amount | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A balance that somebody vouched for (attested) or that Sidecar saw itself (snapshot), at an instant."""

    origin: Origin
    balance: Amount
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A proven balance and where it came from.

    `rests_on_ledger` says that ledger rows are part of the number, be it as rows younger than an anchor.
    """

    amount: Amount
    origin: Origin
    rests_on_ledger: bool


def prove_balance(
    order: Sequence[Origin], anchors: Sequence[Anchor], ledger: Sequence[LedgerRow], *, margin: timedelta
) -> Balance | NoBalance:
    """Return the balance from the first origin in `order` that has evidence, or why none is proven.

    An anchor counts from its instant on: later ledger rows must go on from it in one unbroken chain. Where the
    first origin that has evidence is contradicted, lower ones are not asked: conflict is for a person.
    `margin` is how much older than a snapshot a row may look that the snapshot did not see: `created_at` is when its
    transaction began, and clocks differ. Shape: `anchors` and `ledger` belong to one subject, in any order.
    """
    for origin in order:
        if origin is Origin.LEDGER and ledger:
            return _settle(_follow(0, ledger), origin, rests_on_ledger=True)
        anchor = _latest(anchors, origin)
        if anchor is None:
            continue
        found = _go_on_from(anchor, ledger, margin)
        newer = _latest([a for a in anchors if a.at > anchor.at - DATE_RESOLUTION], Origin.SNAPSHOT)
        if newer is not None and newer is not anchor and isinstance(found, Balance):
            seen_since = _go_on_from(newer, ledger, margin)
            if not isinstance(seen_since, Balance) or seen_since.amount != found.amount:
                return NoBalance.EVIDENCE_CONTRADICTED  # what a person said then is not what Sidecar saw later
        return found
    return NoBalance.NO_EVIDENCE


def _latest(anchors: Sequence[Anchor], origin: Origin) -> Anchor | None:
    return max((anchor for anchor in anchors if anchor.origin is origin), key=lambda anchor: anchor.at, default=None)


def _settle(found: Amount | NoBalance, origin: Origin, *, rests_on_ledger: bool) -> Balance | NoBalance:
    if isinstance(found, NoBalance):
        return found
    if found < 0:
        return NoBalance.BALANCE_NEGATIVE
    return Balance(amount=found, origin=origin, rests_on_ledger=rests_on_ledger)


def _go_on_from(anchor: Anchor, ledger: Sequence[LedgerRow], margin: timedelta) -> Balance | NoBalance:
    """Follow the rows younger than the anchor. A row without an instant cannot be placed, so it contradicts."""
    if any(row.created_at is None for row in ledger) or _may_have_missed(anchor, ledger, margin):
        return NoBalance.EVIDENCE_CONTRADICTED
    later = [row for row in ledger if row.created_at is not None and row.created_at > anchor.at]
    found = _follow(anchor.balance, later)
    if isinstance(found, NoBalance):
        return NoBalance.EVIDENCE_CONTRADICTED
    return _settle(found, anchor.origin, rests_on_ledger=bool(later))


def _may_have_missed(anchor: Anchor, ledger: Sequence[LedgerRow], margin: timedelta) -> bool:
    """Say whether a movement just before a snapshot may have been under way, unseen, while the snapshot was taken.

    It was seen when the last movement before the snapshot ends exactly where the snapshot stands.
    """
    before = [row for row in ledger if row.created_at is not None and row.created_at <= anchor.at]
    close = any(row.created_at is not None and row.created_at > anchor.at - margin for row in before)
    if anchor.origin is not Origin.SNAPSHOT or not close:
        return False
    last = max(_instants(row) for row in before)
    return all(row.balance_after != anchor.balance for row in before if _instants(row) == last)


def _follow(opening: Amount, ledger: Sequence[LedgerRow]) -> Amount | NoBalance:
    """Walk the chain from `opening`: each balance must be the one before plus the amount, in exactly one reading."""
    if any(row.balance_after is None or row.amount is None for row in ledger):
        return NoBalance.NO_EVIDENCE
    steps = [(_instants(row), (row.amount or 0, row.balance_after or 0)) for row in ledger]
    steps.sort(key=lambda step: step[0])
    groups = [[values for _, values in tied] for _, tied in groupby(steps, key=lambda step: step[0])]
    found = _walk(opening, groups)
    if found is NoBalance.CHAIN_BROKEN and _holds_from_another_start(groups):
        return NoBalance.OPENING_UNEXPLAINED
    return found


def _walk(opening: Amount, groups: Sequence[Sequence[Step]]) -> Amount | NoBalance:
    """Walk groups of rows tied in time, one after the other."""
    balance = opening
    for tied in groups:
        end = _readings(balance, tied)
        if isinstance(end, NoBalance):
            return end
        balance = end
    return balance


def _holds_from_another_start(groups: Sequence[Sequence[Step]]) -> bool:
    """Tell an unexplained opening from a chain that does not hold at all. Any of the first tied rows may be first."""
    return any(not isinstance(_walk(after - amount, groups), NoBalance) for amount, after in groups[0])


def _instants(row: LedgerRow) -> tuple[datetime | int, ...]:
    """Keep the part of the order that says what came first. A uuid does not."""
    return tuple(value for value in row.order if not isinstance(value, str))


def _readings(balance: Amount, tied: Sequence[Step]) -> Amount | NoBalance:
    """Return where the tied rows lead from `balance`, if exactly one order of them holds."""
    if len(tied) > READINGS_TRIED_AT_MOST:
        return NoBalance.CHAIN_AMBIGUOUS
    held = {order for order in permutations(tied) if _holds(balance, order)}
    if not held:
        return NoBalance.CHAIN_BROKEN
    if len(held) > 1:
        return NoBalance.CHAIN_AMBIGUOUS
    return held.pop()[-1][1]


def _holds(balance: Amount, rows: Sequence[Step]) -> bool:
    for amount, after in rows:
        if after != balance + amount:
            return False
        balance = after
    return True
