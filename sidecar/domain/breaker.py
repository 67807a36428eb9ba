"""The breaker of a target table: when writing must stop by itself, and how it may begin again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sidecar.domain.decide import GuardName, Refuse

FAILED_IN_A_ROW = 3
WINDOW_BATCHES = 20
FAILED_PERCENT_AT_MOST = 5
COOL_DOWN = timedelta(minutes=10)
FAILED_PROBES_AT_MOST = 2  # in a row; then a person must look
ACTOR = "breaker"  # who sets the freeze that a person must lift


class BreakerStatus(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"  # runs go on
    OPEN = "open"  # no run begins or goes on
    HALF_OPEN = "half_open"  # the next run writes one row, and no other before that one is verified


EDGES: Mapping[BreakerStatus, frozenset[BreakerStatus]] = {
    BreakerStatus.CLOSED: frozenset(
        {
            # 3 failed batches in a row; over 5 % failed rows in the last 20 batches, or as many as there were; a
            # verification that failed; credits that drifted.
            BreakerStatus.OPEN,
        }
    ),
    BreakerStatus.OPEN: frozenset(
        {
            # A run wants to begin and the cool-down is over; after two half-open failures in a row instead: a person
            # lifted the freeze that the second one set.
            BreakerStatus.HALF_OPEN,
        }
    ),
    BreakerStatus.HALF_OPEN: frozenset(
        {
            BreakerStatus.CLOSED,  # its one row landed, and was verified from the source
            BreakerStatus.OPEN,  # its one row was refused, could not be tried, or did not verify
        }
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One batch that was tried. `rows` is how many were inserted or refused, `failed` how many of them were refused.

    `carried_out` is False when nobody could say what became of it. Rows that somebody else wrote first are not in it.
    """

    rows: int
    failed: int
    carried_out: bool = True

    @property
    def has_failed(self) -> bool:
        """Whether it counts against the table."""
        return self.failed > 0 or not self.carried_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What is remembered of a target table. `rule` is the one whose run opened it, `window` the last batches.

    `failed_probes` counts half-open failures in a row.
    """

    status: BreakerStatus = BreakerStatus.CLOSED
    failed_in_a_row: int = 0
    window: tuple[Tried, ...] = ()
    opened_at: datetime | None = None
    reason: str = ""
    rule: str = ""
    failed_probes: int = 0

    @property
    def needs_person(self) -> bool:
        """Whether time alone does not half-open it any more."""
        return self.status is BreakerStatus.OPEN and self.failed_probes >= FAILED_PROBES_AT_MOST


def after_batch(breaker: Breaker, batch: Tried, rule: str, now: datetime) -> Breaker:
    """Return the breaker after one more batch of a rule's run."""
    if not batch.rows and batch.carried_out:
        return breaker  # nothing was tried: neither for it nor against it
    counted = replace(
        breaker,
        failed_in_a_row=breaker.failed_in_a_row + 1 if batch.has_failed else 0,
        window=(*breaker.window, batch)[-WINDOW_BATCHES:],
    )
    match breaker.status:
        case BreakerStatus.HALF_OPEN if batch.has_failed:
            return _open(counted, "the one row of the half-open breaker failed", rule, now)
        case BreakerStatus.CLOSED if reason := _too_many(counted):
            return _open(counted, reason, rule, now)
        case _:
            return counted  # half-open until the row is verified; open stays open whatever still comes in


def after_verification(breaker: Breaker, *, rows: int, holds: bool, drifted: bool, rule: str, now: datetime) -> Breaker:
    """Return the breaker after `rows` were read again from the source; `drifted` says that credits were off."""
    if not holds or drifted:
        if breaker.status is BreakerStatus.OPEN:
            return breaker
        return _open(breaker, "credits drifted" if drifted else "a verification failed", rule, now)
    if breaker.status is BreakerStatus.HALF_OPEN and rows:
        return Breaker()  # closed, and the past is forgotten: the next batches speak for themselves
    return breaker


def admit(breaker: Breaker, now: datetime, *, frozen: bool) -> Breaker:
    """Return the breaker as a run meets it that wants to begin; `frozen`: the freeze of its rule still stands."""
    if breaker.status is not BreakerStatus.OPEN:
        return breaker
    if breaker.needs_person:  # a person who lifted the freeze has looked; there is nothing more to wait for
        return breaker if frozen else replace(breaker, status=BreakerStatus.HALF_OPEN)
    cooled = breaker.opened_at is None or now >= breaker.opened_at + COOL_DOWN
    return replace(breaker, status=BreakerStatus.HALF_OPEN) if cooled else breaker


def judge_breaker(breaker: Breaker) -> Refuse | None:
    """Refuse every run while the breaker is open, typed and approved ones as well."""
    if breaker.status is not BreakerStatus.OPEN:
        return None
    value = f"the breaker opened: {breaker.reason}"
    waits = f"until {breaker.opened_at + COOL_DOWN:%Y-%m-%d %H:%M:%S} UTC" if breaker.opened_at else "cooling down"
    if breaker.needs_person:
        hint = f"find out why its rows fail, then: sidecar unfreeze {breaker.rule}"
        limit = f"at most {FAILED_PROBES_AT_MOST} half-open failures in a row without a person"
        return Refuse(guard=GuardName.BREAKER_OPEN, value=value, limit=limit, hint=hint)
    hint = f"open {waits}; find out why meanwhile; the next run then writes one row first"
    return Refuse(guard=GuardName.BREAKER_OPEN, value=value, limit="closed", hint=hint)


def _open(breaker: Breaker, reason: str, rule: str, now: datetime) -> Breaker:
    probed = breaker.status is BreakerStatus.HALF_OPEN
    return replace(
        breaker,
        status=BreakerStatus.OPEN,
        failed_in_a_row=0,
        window=(),
        opened_at=now,
        reason=reason,
        rule=rule,
        failed_probes=breaker.failed_probes + 1 if probed else breaker.failed_probes,
    )


def _too_many(breaker: Breaker) -> str:
    """Name the limit that the last batches broke; '' while they broke none. One batch is enough to break one."""
    if breaker.failed_in_a_row >= FAILED_IN_A_ROW:
        return f"{breaker.failed_in_a_row} batches in a row failed"
    rows = sum(batch.rows for batch in breaker.window)
    failed = sum(batch.failed for batch in breaker.window)
    if failed * 100 > FAILED_PERCENT_AT_MOST * rows:
        return f"{failed} of {rows} rows failed in the last {len(breaker.window)} batches"
    return ""
