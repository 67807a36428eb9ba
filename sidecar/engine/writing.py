"""Write one batch: announce, insert, account for every row, isolate what the database refuses. Nothing is assumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidecar.domain.comparing import differing
from sidecar.domain.decide import Refuse, judge_freeze
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Rule, Value
from sidecar.domain.run import RowResult, Settled
from sidecar.engine.work import Work
from sidecar.errors import RateLimited, TransientError, WriteRejected
from sidecar.ports import Clock, Data, FreezeSwitch, Landed, State

TRIES_PER_INSERT = 3
WAIT_SECONDS_AT_MOST = 10.0


class Stopped(Exception):  # no error: somebody's wish, on its way out of nested calls
    """Somebody stopped all writing between two requests of a batch."""

    def __init__(self, refusal: Refuse) -> None:
        """Carry who it was, and what to do."""
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of each row; `troubled`: something was refused on the way, or had to be tried again."""

    settled: Mapping[str, Settled]
    took_seconds: float
    troubled: bool


@dataclass(slots=True)
class _Trouble:
    seen: bool = False


class Writer:
    """Writes batches."""

    def __init__(self, *, data: Data, state: State, switch: FreezeSwitch, clock: Clock) -> None:
        """`switch` freezes everything from outside of `state`."""
        self._data = data
        self._state = state
        self._switch = switch
        self._clock = clock

    async def write(self, work: Work, rows: Sequence[PlanRow]) -> Written:
        """Bring every row to an end. Raises: Stopped; LeaseLost; what `Data` raises, and then rows are in flight."""
        started, trouble = self._clock.monotonic(), _Trouble()
        settled = await self._insert(work, rows, trouble)
        took_seconds = self._clock.monotonic() - started
        return Written(settled=settled, took_seconds=took_seconds, troubled=trouble.seen)

    async def _insert(self, work: Work, rows: Sequence[PlanRow], trouble: _Trouble) -> dict[str, Settled]:
        """Insert rows, isolating the ones that the database refuses by halving."""
        try:
            return await self._try_write(work, rows, trouble)
        except WriteRejected as error:
            trouble.seen = True
            if len(rows) == 1:
                result = RowResult.CONFLICT if error.sqlstate.startswith("23") else RowResult.FAILED
                reason = f"{error.sqlstate}:{error.constraint}" if error.constraint else error.sqlstate
                refused = {rows[0].key: Settled(result=result, reason=reason)}
                run, lease = work.run, work.lease
                await self._state.settle(run.id, lease.name, lease.epoch, refused, self._clock.now())
                return refused
            middle = len(rows) // 2
            first = await self._insert(work, rows[:middle], trouble)
            return first | await self._insert(work, rows[middle:], trouble)

    async def _try_write(self, work: Work, rows: Sequence[PlanRow], trouble: _Trouble) -> dict[str, Settled]:
        """Write, and write again where no answer came: what memory knows as settled by then is left alone."""
        tries, settled, left = 0, dict[str, Settled](), list(rows)
        while left:
            tries += 1
            try:
                settled |= await self._write(work, left)
            except TransientError as error:
                trouble.seen = True
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
        """Write one batch: fence and freezes are read, rows announced, inserted and settled, in this order.

        A retry and a half are batches too, so each reads fence and freezes of its own.
        """
        run, lease = work.run, work.lease
        keys = [row.key for row in rows]
        if (refusal := await self._switch.thrown()) is not None:
            raise Stopped(refusal)
        async with self._state.batch(run.id, lease.name, lease.epoch, keys, self._clock.now()) as batch:
            if (refusal := judge_freeze(batch.frozen)) is not None:
                raise Stopped(refusal)
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
