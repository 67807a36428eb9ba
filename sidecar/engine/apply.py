"""Write one run's rows in batches: read again, announce, insert, account for every row. Nothing is assumed.

The edge cases, in the order in which they can happen to a batch:
- a row is held since the plan was made, because a person took it back: it is not brought back (`quarantined`);
- a row's facts moved since the plan was made: it is left alone (`raced`, or `quarantined` with what bars it now);
- somebody froze the rule: the batch is not announced, the run stops where it is;
- the breaker opens on what became of a batch: no other one follows;
- the database refuses the batch: nothing of it was written, halves are tried until the refused row is alone;
- no answer comes: nobody knows. The insert is tried again (existing keys are passed over), then the run stops and the
  rows stay in flight until they can be read back;
- a row is not among the returned ones: read back to tell `raced` from ours and from a row that a trigger swallowed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.batches import StoredRow
from sidecar.domain.breaker import Tried
from sidecar.domain.decide import Refuse
from sidecar.domain.event import BatchSettled
from sidecar.domain.finding import FindingClass
from sidecar.domain.pace import FIRST_ROWS, after, first
from sidecar.domain.plan import PlanRow
from sidecar.domain.run import RowResult, Settled
from sidecar.engine.breaker import Breakers
from sidecar.engine.freshness import Freshness
from sidecar.engine.throttle import Throttle
from sidecar.engine.verify import Verifier
from sidecar.engine.work import Halted, Work
from sidecar.engine.writing import Stopped, Writer, whose_row
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    RateLimited,
    SchemaMismatch,
    StateUnavailable,
    TransientError,
)
from sidecar.ports import Clock, Data, Reporter, State

_AS_PLANNED = Settled(result=RowResult.INSERTED)  # what the database itself compared is not told row by row
STOPPING = "stopped by a shutdown; it goes on at the next start"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """A batch that came to an end. `opened` is the breaker's refusal of any other one."""

    landed: Sequence[str] = ()
    results: Mapping[RowResult, int] = field(default_factory=dict)
    took_seconds: float = 0.0
    troubled: bool = False
    opened: Refuse | None = None


class Applier:
    """Writes the rows of runs."""

    def __init__(
        self,
        *,
        freshness: Freshness,
        writer: Writer,
        verifier: Verifier,
        breakers: Breakers,
        throttle: Throttle,
        data: Data,
        state: State,
        reporter: Reporter,
        clock: Clock,
        stopping: Callable[[], bool],
    ) -> None:
        """`stopping` is asked between batches: a drain checkpoints there."""
        self._freshness = freshness
        self._writer = writer
        self._verifier = verifier
        self._breakers = breakers
        self._throttle = throttle
        self._data = data
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._stopping = stopping

    async def apply(self, work: Work) -> Halted | None:
        """Bring every row of the run to an end, or say why it stopped. Raises: LeaseLost, StateUnavailable.

        Returns None as well where what was written does not verify: then nothing more of it is to be written.
        """
        try:
            await self.account_in_flight(work)
            return await self._write_rest(work)
        except Stopped as stopped:  # what was written before it stays in flight until it is read back
            return _refused(stopped.refusal)
        except StateUnavailable:
            raise
        except (TransientError, AccessDenied, AnswerMalformed, SchemaMismatch) as error:
            wait_seconds = error.retry_after_seconds if isinstance(error, RateLimited) else None
            return Halted(why=f"lost sight: {error}", retry_after_seconds=wait_seconds)

    async def _write_rest(self, work: Work) -> Halted | None:
        """Write what is left: one row, verified, then batches that grow while the database bears them."""
        rows, stored = {row.key: row for row in work.plan.rows}, await self._state.rows(work.run.id)
        left = await self._not_held(work, [rows[r.key] for r in stored if r.settled.result is RowResult.PLANNED])
        if not left:
            return None
        if (refusal := await self._breakers.admit(work.rule, work.lease)) is not None:
            return _refused(refusal)
        if not await self._verifies(work, _last_written(stored, self._data.batch_rows_at_most)):
            return None
        pace, is_canary = first(self._data.batch_rows_at_most), True
        while left:
            if (halted := await self._may_go_on(work)) is not None:
                return halted
            size = FIRST_ROWS if is_canary else pace.rows
            batch, left = left[:size], left[size:]
            ended = await self._batch(work, batch, done=len(rows) - len(left))
            if ended.opened is not None and left:
                return _refused(ended.opened)
            pace = after(pace, ended.took_seconds, troubled=ended.troubled)
            if is_canary and left and ended.landed:
                if not await self._verifies(work, ended.landed):
                    return None
                is_canary = False
        return None

    async def _not_held(self, work: Work, left: Sequence[PlanRow]) -> list[PlanRow]:
        """Leave out what is held since the plan was made: a person took the row back, or the database refused it."""
        entries = await self._state.held(work.rule.name, self._clock.now())
        held = {entry.key for entry in entries if entry.source == "run"}
        barred = Settled(result=RowResult.QUARANTINED, reason=str(FindingClass.WRITE_REJECTED))
        if settled := {row.key: barred for row in left if row.key in held}:
            await self._settle(work, settled)
        return [row for row in left if row.key not in settled]

    async def _may_go_on(self, work: Work) -> Halted | None:
        """Wait while a signal says so, and checkpoint for a drain."""
        if (refusal := await self._throttle.wait(work)) is not None:
            return _refused(refusal)
        return Halted(why=STOPPING, drained=True) if self._stopping() else None

    async def _verifies(self, work: Work, keys: Sequence[str]) -> bool:
        """Read rows of this run again from the source before another one is written, and tell the breaker."""
        if not keys:
            return True
        verified = await self._verifier.verify(work, frozenset(keys))
        if set(verified.broken) == {"ledger_changed"} and await self._breakers.is_closed(work.lease):
            return True  # somebody spent credits just now: the verification of the whole run judges, or corrects, that
        await self._breakers.verified(work.rule, work.lease, verified)
        return verified.holds

    async def account_in_flight(self, work: Work) -> None:
        """Say what became of rows whose batch was announced and never settled: a holder died between the two."""
        lost = [row.key for row in await self._state.rows(work.run.id) if row.in_flight]
        if not lost:
            return
        started = self._clock.monotonic()
        present = await self._data.read_rows(work.rule, lost)
        landed = {key: whose_row(work, present[key]) for key in lost if key in present}
        await self._settle(work, {key: Settled(result=RowResult.PLANNED) for key in lost} | landed)
        if landed:
            self._tell(work, _counted(landed), started, done=len(landed))

    async def _batch(self, work: Work, batch: Sequence[PlanRow], *, done: int) -> _Ended:
        """Read a batch again, write what still holds, and tell. `done` rows are settled when it has ended."""
        started = self._clock.monotonic()
        attributes: dict[str, str | int | float | bool] = {
            "sidecar.run.id": work.run.id,
            "sidecar.batch.rows": len(batch),
        }
        with self._reporter.span("batch", **attributes):
            settled = await self._freshness.stale(work, batch)
            if settled:
                await self._settle(work, settled)
            going = [row for row in batch if row.key not in settled]
            ended = await self._write(work, going) if going else _Ended()
        self._tell(work, _counted(settled) + Counter(ended.results), started, done=done)
        return ended

    async def _write(self, work: Work, rows: Sequence[PlanRow]) -> _Ended:
        """Write rows, and let the breaker count them as one batch."""
        try:
            written = await self._writer.write(work, rows)
        except (StateUnavailable, RateLimited):  # our memory's fault, and a wish to be left alone: nobody's failure
            raise
        except (TransientError, AccessDenied, AnswerMalformed, SchemaMismatch):
            await self._breakers.tried(work.rule, work.lease, Tried(rows=0, failed=0, carried_out=False))
            raise
        results = _counted(written.settled)
        results[RowResult.INSERTED] += written.as_planned
        failed = results[RowResult.CONFLICT] + results[RowResult.FAILED]
        tried = Tried(rows=results[RowResult.INSERTED] + failed, failed=failed)
        return _Ended(
            landed=[row.key for row in rows if written.settled.get(row.key, _AS_PLANNED).result is RowResult.INSERTED],
            results=results,
            took_seconds=written.took_seconds,
            troubled=written.troubled,
            opened=await self._breakers.tried(work.rule, work.lease, tried),
        )

    def _tell(self, work: Work, results: Mapping[RowResult, int], started: float, *, done: int) -> None:
        self._reporter.emit(
            BatchSettled(
                rule=work.rule.name,
                run_id=work.run.id,
                results=results,
                duration_seconds=self._clock.monotonic() - started,
                done=done,
                total=len(work.plan.rows),
                at=self._clock.now(),
            )
        )

    async def _settle(self, work: Work, settled: Mapping[str, Settled]) -> None:
        await self._state.settle(work.run.id, work.lease.name, work.lease.epoch, settled, self._clock.now())


def _counted(settled: Mapping[str, Settled]) -> Counter[RowResult]:
    return Counter(result.result for result in settled.values())


def _refused(refusal: Refuse) -> Halted:
    return Halted(why=refusal.value, refusal=refusal)


def _last_written(stored: Sequence[StoredRow], rows_at_most: int) -> list[str]:
    """Return what a holder before us wrote last, at most one batch: it may have died before it verified its canary."""
    return [row.key for row in stored if row.settled.result is RowResult.INSERTED][-rows_at_most:]
