"""What the engine needs from the world. Adapters implement these; the engine never imports an adapter."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from sidecar.afterwards import Afterwards
from sidecar.batches import Batch, Landed, StoredRow, Transaction
from sidecar.domain.audit import AuditRow
from sidecar.domain.breaker import Breaker
from sidecar.domain.check import Check, Observation
from sidecar.domain.credits import LedgerRow
from sidecar.domain.decide import Refuse
from sidecar.domain.event import Event
from sidecar.domain.look import Catalogue, Facts, Sighting, Unproven
from sidecar.domain.pace import Reading, Signal
from sidecar.domain.plan import Plan, PlanRow, PlanStatus
from sidecar.domain.rule import Rule, Value
from sidecar.domain.run import Outcome, Run, RunStatus, Settled
from sidecar.domain.steering import Freeze, Holder
from sidecar.domain.survey import Survey, Surveyed
from sidecar.sights import BalanceBook, Notebook, Sights


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> datetime:
        """Return the wall clock as aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Probe(Protocol):
    """Looks once, and answers with an observation whatever happens; only bugs and cancellation escape as exceptions."""

    async def __call__(self, check: Check) -> Observation:
        """Look within `check.timeout_seconds`."""
        ...


class Connectivity(Protocol):
    """Whether the network of Sidecar itself is there."""

    async def connected(self) -> bool:
        """Ask now, or take a fresh answer; never raises."""
        ...


class FreezeSwitch(Protocol):
    """A switch outside of Sidecar's memory that stops all writing."""

    async def thrown(self) -> Refuse | None:
        """Return why nothing may be written: `frozen`, or `freeze_unreadable` while nobody can say; None when off."""
        ...


class Signals(Protocol):
    """Numbers that say whether the database can bear more work."""

    async def read(self, signal: Signal) -> Reading:
        """Read one signal now; never raises: what cannot be read is a reading without a value."""
        ...


class Reporter(Protocol):
    """Hears what happened. Must never raise and never wait."""

    def emit(self, event: Event) -> None:
        """Take note of one event."""
        ...

    def span(self, name: str, **attributes: str | float | bool) -> AbstractContextManager[None]:
        """Open a span; HTTP calls made inside it become its children."""
        ...


class Data(Protocol):
    """The user's data, read and written through one path. Errors are ours (`sidecar.errors`).

    Every method may raise TransientError, AccessDenied, AnswerMalformed or SchemaMismatch.
    """

    @property
    def batch_rows_at_most(self) -> int:
        """How many rows one `insert` may take."""
        ...

    async def sight(self, rule: Rule, book: BalanceBook, look_id: int) -> Sighting | Unproven:
        """Read evidence and expected rows whole, prove it, and return the keys without their row.

        Changed balances go to `book` on the way. The comparison with the last proven look is not made here.
        """
        ...

    async def facts(self, rule: Rule, keys: Sequence[str]) -> list[Facts]:
        """Read everything about each key, by key, in the order of `keys`; `anchors` are left empty."""
        ...

    async def moved(self, rule: Rule, rows: Sequence[PlanRow]) -> frozenset[str]:
        """Return the keys of planned rows whose facts, but for `anchors`, may be others than they were planned by.

        All of them where the path cannot tell without reading the facts again.
        """
        ...

    async def catalogue(self, rule: Rule) -> Catalogue:
        """Return what the database says about the rule's tables, or a catalogue with `visible=False`."""
        ...

    async def insert(self, rule: Rule, rows: Sequence[PlanRow], transaction: Transaction | None) -> Landed:
        """Insert rows that do not exist yet, atomically; rows whose key exists are left as they are.

        In `transaction` when there is one: then nothing has happened before that commits.

        Raises: WriteRejected when the database refused, and so wrote nothing.
        TargetUnreachable after which nobody knows whether it was written.
        """
        ...

    async def ledger(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Sequence[LedgerRow]]:
        """Return every ledger row of each key; a key without any may be absent."""
        ...

    async def read_rows(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Mapping[str, Value]]:
        """Return the expected rows that exist among `keys`: the key column and every column of `repair.values`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a path would send for a rule: statements or requests, parameters not filled in, without any value.

    `explain` is the plan that the database chose for the detection, empty where it cannot be asked.
    """

    sql: tuple[str, ...]
    explain: str


@runtime_checkable
class Describes(Protocol):
    """What some paths to the data can tell beside `Data`."""

    async def describe(self, rule: Rule) -> Description:
        """Say what a look and a write would send. Raises: what `Data` raises."""
        ...


class Surveys(Protocol):
    """The user's data, read for rules that only report."""

    async def survey(self, survey: Survey) -> Surveyed | Unproven:
        """Read and prove what a survey asks for.

        Raises: TransientError, AccessDenied, AnswerMalformed, SchemaMismatch, WriteRejected.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """A plan with its standing."""

    plan: Plan
    status: PlanStatus
    approver: str | None


class State(Sights, Notebook, Afterwards, Protocol):
    """What Sidecar remembers. Every method is one transaction; changing ones append an audit row in it.

    Raises: StateUnavailable when memory cannot be read or written; LeaseLost where an epoch no longer holds.
    """

    async def acquire(self, lease: str, holder: str, ttl_seconds: float, now: datetime) -> int | None:
        """Take the lease if it is free, expired or already ours; return its new epoch, or None when held by another.

        Where machines share a database, leases run by that database's clock, and `now` only dates the audit row.
        """
        ...

    async def renew(self, lease: str, epoch: int, ttl_seconds: float, now: datetime) -> None:
        """Extend our lease. Raises: LeaseLost."""
        ...

    async def release(self, lease: str, epoch: int) -> None:
        """Give the lease back; the epoch stays spent."""
        ...

    async def holder(self, lease: str) -> Holder | None:
        """Return who holds a lease, expired or not; None for one that nobody ever took."""
        ...

    async def silent_rules(self, now: datetime) -> list[str]:
        """Return the rules of runs that are under way under a lease that ran out, or that nobody holds."""
        ...

    async def claim_tick(self, rule: str, every_seconds: float, holder: str, now: datetime) -> bool:
        """Take the rule's tick; True for exactly one caller in an interval, so that one replica looks.

        The last taker may come again after 0.9 of the interval. Timed like leases.
        """
        ...

    async def save_plan(self, plan: Plan, status: PlanStatus, actor: str) -> None:
        """Store a new plan. Older waiting plans of the same rule become rejected: they were overtaken."""
        ...

    async def plan(self, plan_id: str) -> StoredPlan | None:
        """Return one plan."""
        ...

    async def plans(self, rule: str | None = None, status: PlanStatus | None = None) -> list[StoredPlan]:
        """Return plans, newest first, at most 100."""
        ...

    async def move_plan(self, plan_id: str, before: PlanStatus, after: PlanStatus, actor: str, at: datetime) -> bool:
        """Change a plan's status if it still is `before`; False when somebody was quicker."""
        ...

    async def start_run(self, run: Run, plan: Plan, lease: str, keys: Iterable[str]) -> bool:
        """Take the approved plan and store the run with its rows as `planned`, in one fenced transaction.

        Returns False, and stores nothing, when the plan is not `approved` any more: a plan is applied at most once.
        """
        ...

    async def adopt_run(self, run_id: str, lease: str, epoch: int, now: datetime) -> bool:
        """Move an interrupted run to `applying` under a new epoch; False when it is not interrupted any more."""
        ...

    async def intend(self, run_id: str, lease: str, epoch: int, keys: Sequence[str], now: datetime) -> str | None:
        """Announce a batch before it is written: fence, freeze and heartbeat in one transaction.

        Returns who froze the rule, or paused or aborted the run, in which case nothing was announced, else None.
        Raises: LeaseLost.
        """
        ...

    async def settle(self, run_id: str, lease: str, epoch: int, results: Mapping[str, Settled], now: datetime) -> None:
        """Record what became of rows. Raises: LeaseLost."""
        ...

    def batch(
        self, run_id: str, lease: str, epoch: int, keys: Sequence[str], now: datetime
    ) -> AbstractAsyncContextManager[Batch]:
        """Hold a batch open: `intend` on the way in, its `settle` before the way out.

        Where memory and data share a database all of it is one transaction: leaving the block commits, an error out of
        the block undoes everything. Raises: what `intend` raises.
        """
        ...

    async def rows(self, run_id: str, keys: Sequence[str] | None = None) -> list[StoredRow]:
        """Return a run's rows, or those among `keys` (of one batch at most), in the plan's order."""
        ...

    async def move_run(
        self,
        run_id: str,
        before: RunStatus,
        after: RunStatus,
        now: datetime,
        *,
        outcome: Outcome | None = None,
        detail: str = "",
        verify_at: Sequence[datetime] = (),
    ) -> bool:
        """Change a run's status along an allowed edge if it still is `before`; False when somebody was quicker.

        With the end of a run, further verifications of it become due at `verify_at`.

        Raises: ValueError for an edge that `TRANSITIONS` does not have.
        """
        ...

    async def interrupt_silent(self, lease: str, epoch: int, now: datetime) -> list[str]:
        """Mark active runs of an older epoch as interrupted; return their ids. Only a lease holder asks."""
        ...

    async def run(self, run_id: str) -> Run | None:
        """Return one run with its results counted."""
        ...

    async def runs(self, rule: str | None = None, *, unfinished: bool = False, limit: int = 50) -> list[Run]:
        """Return runs, newest first."""
        ...

    async def horizon_passed(self, run_id: str) -> bool:
        """Say whether every transaction has ended that may have written without seeing the run's rows.

        Those are the ones that were under way when this was first asked after the run's last batch. True where memory
        and data live apart: then nobody can tell.
        """
        ...

    async def overlap_ended_at(self, run_id: str) -> datetime | None:
        """Return the database's instant since which whatever begins sees the run's rows; None where nobody knows."""
        ...

    async def rows_since(self, table: str, since: datetime) -> int:
        """Count rows inserted into the target table since an instant, rows in flight or undetermined included."""
        ...

    async def freeze(self, scope: str, actor: str, reason: str, at: datetime) -> None:
        """Stop all writing of a scope: a rule, everything (`*`), or one run (`pause_of`, `abort_of`)."""
        ...

    async def unfreeze(self, scope: str, actor: str, at: datetime) -> bool:
        """Lift a freeze of exactly that scope; False when there was none."""
        ...

    async def frozen(self, rule: str) -> str | None:
        """Return who froze the rule or everything and why, as one short text, or None."""
        ...

    async def freezes(self) -> list[Freeze]:
        """Return every freeze, pause and abort that stands, oldest first."""
        ...

    def audit_rows(self, after_seq: int | None = None) -> AsyncIterator[AuditRow]:
        """Yield the audit's rows after `after_seq`, or all, ascending: what is stored, also where it is wrong."""
        ...

    async def breaker(self, table: str) -> Breaker:
        """Return the breaker of a target table; one that was never needed is closed."""
        ...

    async def save_breaker(self, lease: str, epoch: int, breaker: Breaker, now: datetime) -> None:
        """Keep the breaker of the lease's table; where it comes to need a person, freeze its rule as well.

        Raises: LeaseLost.
        """
        ...

    async def restored_often(self, rule: str, times: int, since: datetime) -> frozenset[str]:
        """Return the keys that the rule restored at least `times` since an instant, and since their last release."""
        ...

    async def note_run(self, run_id: str, lease: str, epoch: int, detail: str, now: datetime) -> None:
        """Say why a run that has a holder waits ('' when it goes on). Raises: LeaseLost."""
        ...

    async def trusted(self, rule: str) -> str | None:
        """Return the digest of rule and schema under which a plan of this rule was last verified (or first seen)."""
        ...

    async def trust(self, rule: str, digest: str, actor: str, at: datetime) -> None:
        """Adopt a digest of rule and schema."""
        ...
