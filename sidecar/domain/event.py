"""What happened, as values. The engine emits them; telemetry turns them into metrics, log lines and notifications.

No event carries a key, a token, an e-mail or a row value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sidecar.domain.breaker import BreakerStatus
from sidecar.domain.check import Check, CheckState, Flip, Observation, Verdict
from sidecar.domain.decide import Refuse
from sidecar.domain.look import Counts, ProofFailure
from sidecar.domain.run import Outcome, RowResult


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckObserved:
    """A check was probed and its standing verdict updated."""

    check: Check
    observation: Observation
    state: CheckState
    flip: Flip | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TickStarted:
    """A tick was handed over. `lag_seconds` is how late, against the scheduled instant. `name` is its own."""

    kind: str  # check | rule | audit
    name: str
    lag_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TickMissed:
    """A tick did not lead to work. `cause`: overlap (the last one still runs), misfire (too late) or error."""

    kind: str
    name: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFinished:
    """A rule looked at the data. `violations` is None while unproven: no count is better than a wrong one."""

    rule: str
    failure: ProofFailure | None
    detail: str
    violations: Mapping[str, int] | None
    counts: Counts | None
    oldest_at: datetime | None
    taken_at: datetime
    duration_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade:
    """A plan was made. `waiting` says that a person must approve it."""

    rule: str
    plan_id: str
    rows: int
    waiting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A run took its plan (or, `resumed`, took up where a dead holder stopped)."""

    rule: str
    run_id: str
    plan_id: str
    rows: int
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettled:
    """Every row of a batch is accounted for. `done` of `total` rows of the run are settled by now."""

    rule: str
    run_id: str
    results: Mapping[RowResult, int]
    duration_seconds: float
    done: int
    total: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CapMeasured:
    """How much of a cap is used, as a ratio (0..1). `window`: run or day."""

    rule: str
    window: str
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyFailed:
    """The source does not hold what was written. `invariant` is one of those of the metric."""

    rule: str
    run_id: str
    invariant: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationMade:
    """A run was verified again. `number` counts from 1; `corrected` rows were raced and put right; drift in credits."""

    rule: str
    run_id: str
    number: int
    holds: bool
    rows: int
    corrected: int
    drift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoFinished:
    """An undo plan was made (`applied` False) or carried out. `rows` counts rows by how they stand now."""

    rule: str
    run_id: str
    undo_id: str
    applied: bool
    rows: Mapping[str, int]
    refusal: Refuse | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleFinished:
    """A rule's cycle ended, with or without a run. `drift` is credits restored minus credits expected, in credits."""

    rule: str
    run_id: str | None
    outcome: Outcome
    results: Mapping[RowResult, int]
    refusal: Refuse | None
    detail: str
    drift: float | None
    duration_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeRead:
    """Whether a rule is frozen, as read in this cycle."""

    rule: str
    frozen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRead:
    """Whether the breaker of a rule's table is open or half-open, as read in this cycle."""

    rule: str
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerMoved:
    """A run of the rule moved the breaker of its table. `reason` is why it opened last."""

    rule: str
    before: BreakerStatus
    after: BreakerStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeld:
    """A run waits before its next batch; `reason` is the first one."""

    rule: str
    run_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageRecurred:
    """A look found `users` whom the rule restored again and again: it leaves them alone now."""

    rule: str
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TickPostponed:
    """A rule rests longer than its interval. `cause`: asked (Retry-After), cost (its looks are dear) or blind."""

    rule: str
    cause: str
    rest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseMoved:
    """This process took a lease under `epoch`, or holds it no longer. `lost` says that another one took over."""

    lease: str
    epoch: int
    held: bool
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditChecked:
    """The audit's chain was followed, over `rows` rows.

    Healthy: `seq` and `hash` are its head. Unhealthy: `flaw` and `detail` say what is wrong first, at row `seq`.
    Unknown: it could not be read; `detail` says why.
    """

    verdict: Verdict
    seq: int | None = None
    hash: str = ""
    rows: int = 0
    flaw: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigLoaded:
    """A configuration was put in force at the start or by a reload; with `problems` it was refused instead.

    After a refused reload the last good configuration goes on. `digest` is that of the configuration in force.
    `by` is who asked: the start, a signal, or a token's name.
    """

    at: datetime
    by: str
    digest: str
    checks: int
    rules: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleChanged:
    """The daemon changed phase: started, stopping, drained, stopped. `detail` is one short sentence."""

    phase: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCaught:
    """Something of ours broke and was contained at a boundary. `error_type` is a class name; `where` a task name."""

    where: str
    error_type: str
    detail: str


Event: TypeAlias = (
    CheckObserved
    | TickStarted
    | TickMissed
    | LookFinished
    | PlanMade
    | RunStarted
    | BatchSettled
    | CapMeasured
    | VerifyFailed
    | VerificationMade
    | UndoFinished
    | CycleFinished
    | FreezeRead
    | BreakerRead
    | BreakerMoved
    | RunHeld
    | DamageRecurred
    | TickPostponed
    | LeaseMoved
    | AuditChecked
    | ConfigLoaded
    | LifecycleChanged
    | FaultCaught
)
