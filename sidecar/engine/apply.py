"""Write one run's rows in batches: read again, announce, insert, account for every row. Nothing is assumed.

The edge cases, in the order in which they can happen to a batch:
- a row's facts moved since the plan was made: it is left alone (`raced`, or `quarantined` with what bars it now);
- somebody froze the rule: the batch is not announced, the run stops where it is;
- the database refuses the batch: nothing of it was written, halves are tried until the refused row is alone;
- no answer comes: nobody knows. The insert is tried again (existing keys are passed over), then the run stops and the
  rows stay in flight until they can be read back;
- a row is not among the returned ones: read back to tell `raced` from ours and from a row that a trigger swallowed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sidecar.domain.comparing import differing
from sidecar.domain.decide import judge_freeze
from sidecar.domain.event import BatchSettled
from sidecar.domain.finding import FindingClass
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Rule, Value
from sidecar.domain.run import RowResult, Settled
from sidecar.engine.look import Looker, judge_facts
from sidecar.engine.work import Halted, Work
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    RateLimited,
    SchemaMismatch,
    StateUnavailable,
    TransientError,
    WriteRejected,
)
from sidecar.ports import Clock, Data, Landed, Reporter, State

BATCH_ROWS = 100
TRIES_PER_INSERT = 3
WAIT_SECONDS_AT_MOST = 10.0


class _FrozenMeanwhile(Exception):  # no error: a person's wish, on its way out of nested calls
    """Somebody froze the rule between two POSTs of a batch."""


class Applier:
    """Writes the rows of runs."""

    def __init__(
        self,
        *,
        looker: Looker,
        data: Data,
        state: State,
        reporter: Reporter,
        clock: Clock,
        stopping: Callable[[], bool],
    ) -> None:
        """`stopping` is asked between batches: a drain checkpoints there."""
        self._looker = looker
        self._data = data
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._stopping = stopping

    async def apply(self, work: Work) -> Halted | None:
        """Bring every row of the run to an end, or say why it stopped. Raises: LeaseLost, StateUnavailable."""
        try:
            await self.account_in_flight(work)
            rows = {row.key: row for row in work.plan.rows}
            left = [row.key for row in await self._state.rows(work.run.id) if row.settled.result is RowResult.PLANNED]
            done = len(rows) - len(left)
            for start in range(0, len(left), BATCH_ROWS):
                if self._stopping():
                    return Halted(why="stopped by a shutdown; it goes on at the next start", drained=True)
                batch = [rows[key] for key in left[start : start + BATCH_ROWS]]
                if (halted := await self._batch(work, batch, done=done)) is not None:
                    return halted
                done += len(batch)
        except StateUnavailable:
            raise
        except (TransientError, AccessDenied, AnswerMalformed, SchemaMismatch) as error:
            wait_seconds = error.retry_after_seconds if isinstance(error, RateLimited) else None
            return Halted(why=f"lost sight: {error}", retry_after_seconds=wait_seconds)
        return None

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
            self._tell(work, landed, started, done=len(landed))

    async def _batch(self, work: Work, batch: Sequence[PlanRow], *, done: int) -> Halted | None:
        started = self._clock.monotonic()
        attributes: dict[str, str | int | float | bool] = {
            "sidecar.run.id": work.run.id,
            "sidecar.batch.rows": len(batch),
        }
        with self._reporter.span("batch", **attributes):
            settled = await self._read_again(work, batch)
            if settled:
                await self._settle(work, settled)
            going = [row for row in batch if row.key not in settled]
            try:
                settled |= await self._insert(work, going) if going else {}
            except _FrozenMeanwhile as frozen:  # what was written before it stays in flight until it is read back
                return Halted(why=str(frozen), refusal=judge_freeze(str(frozen)))
        self._tell(work, settled, started, done=done + len(batch))
        return None

    def _tell(self, work: Work, settled: Mapping[str, Settled], started: float, *, done: int) -> None:
        self._reporter.emit(
            BatchSettled(
                rule=work.rule.name,
                run_id=work.run.id,
                results=Counter(result.result for result in settled.values()),
                duration_seconds=self._clock.monotonic() - started,
                done=done,
                total=len(work.plan.rows),
                at=self._clock.now(),
            )
        )

    async def _settle(self, work: Work, settled: Mapping[str, Settled]) -> None:
        await self._state.settle(work.run.id, work.lease.name, work.lease.epoch, settled, self._clock.now())

    async def _read_again(self, work: Work, batch: Sequence[PlanRow]) -> dict[str, Settled]:
        """Return the rows that must not be written any more, each with its reason."""
        stale: dict[str, Settled] = {}
        facts = {found.key: found for found in await self._looker.facts(work.rule, [row.key for row in batch])}
        for row in batch:
            finding = judge_facts(work.rule, facts[row.key], work.proof, work.plan.id)
            if finding is None:
                present = facts[row.key].expected_row or {}
                stale[row.key] = whose_row(work, present)
            elif finding.kind is not FindingClass.REPAIRABLE:
                stale[row.key] = Settled(result=RowResult.QUARANTINED, reason=str(finding.kind))
            elif (finding.evidence, finding.values, finding.origins) != (row.evidence, row.values, row.origins):
                stale[row.key] = Settled(result=RowResult.RACED, reason="evidence_moved")
        return stale

    async def _insert(self, work: Work, rows: Sequence[PlanRow]) -> dict[str, Settled]:
        """Insert rows, isolating the ones that the database refuses by halving."""
        try:
            return await self._try_write(work, rows)
        except WriteRejected as error:
            if len(rows) == 1:
                result = RowResult.CONFLICT if error.sqlstate.startswith("23") else RowResult.FAILED
                refused = {rows[0].key: Settled(result=result, reason=error.sqlstate)}
                await self._settle(work, refused)
                return refused
            middle = len(rows) // 2
            return await self._insert(work, rows[:middle]) | await self._insert(work, rows[middle:])

    async def _try_write(self, work: Work, rows: Sequence[PlanRow]) -> dict[str, Settled]:
        """Write, and write again where no answer came: what memory knows as settled by then is left alone."""
        tries, settled, left = 0, dict[str, Settled](), list(rows)
        while left:
            tries += 1
            try:
                settled |= await self._write(work, left)
            except TransientError as error:
                asked = error.retry_after_seconds if isinstance(error, RateLimited) else None
                if tries == TRIES_PER_INSERT or (asked or 0) > WAIT_SECONDS_AT_MOST:
                    raise
                await self._clock.sleep(asked if asked is not None else 0.5 * 2**tries)
                settled |= await self._settled_already(work, left)
            left = [row for row in rows if row.key not in settled]
        return settled

    async def _settled_already(self, work: Work, rows: Sequence[PlanRow]) -> dict[str, Settled]:
        """Ask memory about a batch whose end nobody heard: its transaction may have been committed."""
        keys = {row.key for row in rows}
        known = [row for row in await self._state.rows(work.run.id) if row.key in keys]
        return {row.key: row.settled for row in known if row.settled.result is not RowResult.PLANNED}

    async def _write(self, work: Work, rows: Sequence[PlanRow]) -> dict[str, Settled]:
        """Write one batch: fence and freeze are read, rows announced, inserted and settled, in this order.

        A retry and a half are batches too, so each reads fence and freeze of its own.
        """
        run, lease = work.run, work.lease
        keys = [row.key for row in rows]
        async with self._state.batch(run.id, lease.name, lease.epoch, keys, self._clock.now()) as batch:
            if batch.frozen is not None:
                raise _FrozenMeanwhile(batch.frozen)
            landed = await self._data.insert(work.rule, rows, batch.transaction)
            settled = await self._account(work, rows, landed)
            await batch.settle(settled, self._clock.now())
        return settled

    async def _account(self, work: Work, rows: Sequence[PlanRow], landed: Landed) -> dict[str, Settled]:
        """Say what became of each row: landed, altered on its way, somebody else's, or swallowed."""
        settled: dict[str, Settled] = {}
        for row in rows:
            if row.key in landed.rows:
                altered = differing(row.values, landed.rows[row.key])
                reason = f"altered:{','.join(altered)}" if altered else ""
                written = landed.digests.get(row.key, "")
                settled[row.key] = Settled(result=RowResult.INSERTED, reason=reason, written=written)
        missing = [row.key for row in rows if row.key not in landed.rows]
        present = await self._data.read_rows(work.rule, missing) if missing else {}
        for key in missing:
            swallowed = Settled(result=RowResult.FAILED, reason="not_landed")
            settled[key] = whose_row(work, present[key]) if key in present else swallowed
        return settled


def whose_row(work: Work, present: Mapping[str, Value]) -> Settled:
    """Tell a row of this work's plan from somebody else's."""
    return owner_of(work.rule, work.plan.id, present)


def owner_of(rule: Rule, plan_id: str, present: Mapping[str, Value]) -> Settled:
    """Tell a row of ours from somebody else's by the mark that the rule writes; without a mark nobody can tell."""
    marker = rule.plan_marker
    if marker is None:
        return Settled(result=RowResult.UNDETERMINED, reason="rows_carry_no_mark")
    column, key = marker
    marked = present.get(column)
    if isinstance(marked, dict) and marked.get(key) == plan_id:
        return Settled(result=RowResult.INSERTED)
    return Settled(result=RowResult.RACED, reason="row_exists")
