"""The life of a run: its statuses, every allowed edge between them, and how it can end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands. Only `finished` is terminal."""

    APPLYING = "applying"  # batches are being written by the holder of the rule's lease
    VERIFYING = "verifying"  # every row is settled; the source is being read again
    INTERRUPTED = "interrupted"  # nobody works on it: a drain, a freeze, or a holder that died
    FINISHED = "finished"


TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.APPLYING: frozenset(
        {
            RunStatus.VERIFYING,  # the last batch is settled
            RunStatus.INTERRUPTED,  # drained, frozen, lost sight, or its holder's lease ran out
            RunStatus.FINISHED,  # a fault that a later try cannot mend (outcome failed)
        }
    ),
    RunStatus.VERIFYING: frozenset(
        {
            RunStatus.INTERRUPTED,  # drained, or the source could not be read
            RunStatus.FINISHED,  # verified, or found wrong
        }
    ),
    RunStatus.INTERRUPTED: frozenset(
        {
            RunStatus.APPLYING,  # resumed under a new lease, after every guard said yes again
            # Abandoned: plan expired or gone, rule or schema changed. Cancelled: somebody aborted it, also where the
            # rule is not configured any more. Rows in flight are accounted for first; unwritten ones stay `planned`.
            RunStatus.FINISHED,
        }
    ),
    RunStatus.FINISHED: frozenset(),
}

ACTIVE = frozenset({RunStatus.APPLYING, RunStatus.VERIFYING})


class Outcome(StrEnum):
    """How a run, or a cycle that needed none, ended. Used verbatim in metric, row, log and document."""

    NOTHING_TO_DO = "nothing_to_do"
    OBSERVED = "observed"  # violations seen, and the mode is observe
    PLANNED = "planned"  # a plan waits for a person
    REPAIRED = "repaired"
    PARTLY_REPAIRED = "partly_repaired"  # some planned rows did not land, each with its reason
    REFUSED = "refused"  # a guard said no
    UNKNOWN = "unknown"  # could not look
    VERIFY_FAILED = "verify_failed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


class RowResult(StrEnum):
    """What became of one planned row."""

    PLANNED = "planned"  # not attempted
    INSERTED = "inserted"
    RACED = "raced"  # somebody else was quicker, or the evidence moved on since the plan
    CONFLICT = "conflict"  # another unique key, a foreign key or a check refused it
    QUARANTINED = "quarantined"
    DEFERRED = "deferred"
    UNDETERMINED = "undetermined"  # after a crash, where nothing in the row tells whose it is
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of one row, and why when it did not land (a reason word, an SQLSTATE).

    `written` is a digest of the whole row as it landed, empty where the path cannot tell: undo compares with it.
    """

    result: RowResult
    reason: str = ""
    written: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A durable run. `epoch` fences its holder: whoever holds a lower one must not write.

    `lease` names the lease that the run works under, which is its target table; memory fills it in.
    """

    id: str
    rule: str
    plan_id: str
    status: RunStatus
    outcome: Outcome | None
    actor: str
    epoch: int
    started_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None = None
    detail: str = ""
    lease: str = ""
    results: Mapping[RowResult, int] = field(default_factory=dict)


def outcome_of(results: Mapping[RowResult, int], *, verified: bool) -> Outcome:
    """Name the outcome of a run whose rows are all settled."""
    if not verified:
        return Outcome.VERIFY_FAILED
    inserted = results.get(RowResult.INSERTED, 0)
    total = sum(results.values())
    if results.get(RowResult.PLANNED, 0):
        return Outcome.ABANDONED
    landed = inserted + results.get(RowResult.RACED, 0)
    return Outcome.REPAIRED if landed == total else Outcome.PARTLY_REPAIRED
