"""What people wish for one run, and why a run does not move: its first reason, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sidecar.domain.breaker import Breaker, BreakerStatus
from sidecar.domain.decide import Refuse
from sidecar.domain.run import ACTIVE, Run, RunStatus

EVERYTHING = "*"  # the scope of a freeze that stops all writing


def pause_of(run_id: str) -> str:
    """Return the scope of a freeze that pauses one run. No rule is named so: a name holds no colon."""
    return f"run:{run_id}"


def abort_of(run_id: str) -> str:
    """Return the scope of a freeze that says: nothing more of this run, and end it."""
    return f"abort:{run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A stop that stands. `scope` is a rule, everything (`*`), or the pause or abort of one run."""

    scope: str
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lease, under which epoch, and until when; `name` is None once it was given back."""

    name: str | None
    epoch: int
    expires_at: datetime


class Why(StrEnum):
    """Why a run is where it is. The first that applies speaks."""

    FINISHED = "finished"
    MOVING = "moving"
    HOLDING = "holding"  # its holder waits: for a signal, or for the database to answer faster
    ABORTED = "aborted"  # somebody wants it ended; the next holder accounts for its rows
    PAUSED = "paused"
    FROZEN = "frozen"  # its rule, or everything
    BREAKER_OPEN = "breaker_open"  # the table's breaker
    RULE_REMOVED = "rule_removed"  # no rule of the configuration takes it up
    LEASE_HELD = "lease_held"  # another process works on the table
    HOLDER_DIED = "holder_died"  # nobody renews its lease
    WAITING = "waiting"  # for the next look of its rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Why a run does not move, in one sentence, and what to do about it."""

    why: Why
    detail: str
    next_action: str


def standing_of(
    run: Run,
    *,
    freezes: Sequence[Freeze],
    switch: Refuse | None,
    breaker: Breaker,
    holder: Holder | None,
    rule_known: bool,
    now: datetime,
) -> Standing:
    """Say why a run is where it is. `breaker` and `holder` are those of its table, `switch` is the freeze file's."""
    if run.status is RunStatus.FINISHED:
        return Standing(why=Why.FINISHED, detail=f"ended: {run.outcome}", next_action="nothing")
    held = holder is not None and holder.name is not None and holder.expires_at > now
    mine = held and run.status in ACTIVE and holder is not None and holder.epoch == run.epoch
    quiet = f"last sign {_ago(run.heartbeat_at, now)} ago"
    if (stopped := _stopped(run, freezes, now)) is not None:
        return stopped
    if switch is not None:
        return Standing(why=Why.FROZEN, detail=switch.value, next_action=switch.hint)
    if breaker.status is BreakerStatus.OPEN:
        by_hand = f"look first; then: sidecar unfreeze {breaker.rule}"
        wait = by_hand if breaker.needs_person else "nothing; it half-opens by itself"
        return Standing(why=Why.BREAKER_OPEN, detail=f"of {run.lease}: {breaker.reason}", next_action=wait)
    if mine and run.detail:
        return Standing(why=Why.HOLDING, detail=run.detail, next_action="nothing; it goes on when that passes")
    if mine and holder is not None:
        return Standing(why=Why.MOVING, detail=f"{holder.name} works on it, {quiet}", next_action="nothing")
    if not rule_known:
        end = f"bring the rule back, or end the run: sidecar abort {run.id}"
        return Standing(why=Why.RULE_REMOVED, detail=f"rule {run.rule} is not configured, {quiet}", next_action=end)
    if held and holder is not None:
        detail = f"{holder.name} holds the lease on {run.lease} until {holder.expires_at:%H:%M:%S} UTC"
        return Standing(why=Why.LEASE_HELD, detail=detail, next_action="wait for it")
    at_once = f"the daemon's next look takes it up; at once: sidecar backfill {run.rule}"
    if run.status in ACTIVE:
        return Standing(why=Why.HOLDER_DIED, detail=f"its process is gone, {quiet}", next_action=at_once)
    return Standing(why=Why.WAITING, detail=f"{run.detail or 'interrupted'}, {quiet}", next_action=at_once)


def _stopped(run: Run, freezes: Sequence[Freeze], now: datetime) -> Standing | None:
    """Name the stop that holds the run: an abort before a pause, a pause before a freeze."""
    ways = (
        (abort_of(run.id), Why.ABORTED, f"sidecar abort {run.id}"),
        (pause_of(run.id), Why.PAUSED, f"sidecar resume {run.id}"),
        (EVERYTHING, Why.FROZEN, "sidecar unfreeze"),
        (run.rule, Why.FROZEN, f"sidecar unfreeze {run.rule}"),
    )
    for scope, why, way in ways:
        for freeze in freezes:
            if freeze.scope == scope:
                detail = f"{why} by {freeze.actor} {_ago(freeze.at, now)} ago"
                return Standing(
                    why=why, detail=detail + (f": {freeze.reason}" if freeze.reason else ""), next_action=way
                )
    return None


def _ago(at: datetime, now: datetime) -> str:
    """Render an age in the largest unit that is at least 2."""
    seconds = max(0, int((now - at).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
