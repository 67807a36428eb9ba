"""Write one batch: announce, insert, account for every row, isolate what the database refuses. Nothing is assumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.batches import AsPlanned, Landed
from sidecar.domain.comparing import differing
from sidecar.domain.decide import Refuse, judge_freeze
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Rule, Value
from sidecar.domain.run import RowResult, Settled
from sidecar.engine.work import Work
from sidecar.errors import RateLimited, TransientError, WriteRejected
from sidecar.ports import Clock, Data, FreezeSwitch, State

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
    """What became of a batch. `troubled`: something was refused on the way, or had to be tried again.

    `as_planned` rows landed as they were planned, by the database's own word, and are not among `settled`.
    """

    settled: Mapping[str, Settled]
    as_planned: int
    took_seconds: float
    troubled: bool


@dataclass(slots=True)
class _Tally:
    """What is known so far of a batch that is written in pieces."""

    settled: dict[str, Settled] = field(default_factory=dict)
    as_planned: int = 0
    troubled: bool = False


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
        started, tally = self._clock.monotonic(), _Tally()
        await self._insert(work, rows, tally)
        return Written(
            settled=tally.settled,
            as_planned=tally.as_planned,
            took_seconds=self._clock.monotonic() - started,
            troubled=tally.troubled,
        )

    async def _insert(self, work: Work, rows: Sequence[PlanRow], tally: _Tally) -> None:
        """Insert rows, isolating the ones that the database refuses by halving."""
        try:
            await self._try_write(work, rows, tally)
        except WriteRejected as error:
            tally.troubled = True
            if len(rows) == 1:
                result = RowResult.CONFLICT if error.sqlstate.startswith("23") else RowResult.FAILED
                reason = f"{error.sqlstate}:{error.constraint}" if error.constraint else error.sqlstate
                refused = {rows[0].key: Settled(result=result, reason=reason)}
                run, lease = work.run, work.lease
                await self._state.settle(run.id, lease.name, lease.epoch, refused, self._clock.now())
                tally.settled |= refused
                return
            middle = len(rows) // 2
            await self._insert(work, rows[:middle], tally)
            await self._insert(work, rows[middle:], tally)

    async def _try_write(self, work: Work, rows: Sequence[PlanRow], tally: _Tally) -> None:
        """Write, and write again where no answer came: what memory knows as settled by then is left alone."""
        tries, left = 0, list(rows)
        while left:
            tries += 1
            try:
                return await self._write(work, left, tally)
            except TransientError as error:
                tally.troubled = True
                asked = error.retry_after_seconds if isinstance(error, RateLimited) else None
                if tries == TRIES_PER_INSERT or (asked or 0) > WAIT_SECONDS_AT_MOST:
                    raise
                await self._clock.sleep(asked if asked is not None else 0.5 * 2**tries)
                tally.settled |= await self._settled_already(work, left)
            left = [row for row in rows if row.key not in tally.settled]
        return None

    async def _settled_already(self, work: Work, rows: Sequence[PlanRow]) -> dict[str, Settled]:
        """Ask memory about a batch whose end nobody heard: its transaction may have been committed."""
        known = await self._state.rows(work.run.id, [row.key for row in rows])
        return {row.key: row.settled for row in known if row.settled.result is not RowResult.PLANNED}

    async def _write(self, work: Work, rows: Sequence[PlanRow], tally: _Tally) -> None:
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
            await batch.settle(settled, self._clock.now(), landed.as_planned)
        tally.settled |= settled  # only once the batch is committed
        tally.as_planned += landed.as_planned.count if landed.as_planned else 0

    async def _account(self, work: Work, rows: Sequence[PlanRow], landed: Landed) -> dict[str, Settled]:
        """Say what became of each row that did not land as planned: altered, somebody else's, or swallowed."""
        settled: dict[str, Settled] = {}
        planned = {row.key: row for row in rows if row.key in landed.rows}  # a trigger may give a row another key
        for key, row in planned.items():
            altered = differing(row.values, landed.rows[key])
            reason = f"altered:{','.join(altered)}" if altered else ""
            written = landed.digests.get(key, "")
            settled[key] = Settled(result=RowResult.INSERTED, reason=reason, written=written)
        missing = _missing(rows, settled, landed.as_planned)
        present = await self._data.read_rows(work.rule, missing) if missing else {}
        for key in missing:
            swallowed = Settled(result=RowResult.FAILED, reason="not_landed")
            settled[key] = whose_row(work, present[key]) if key in present else swallowed
        return settled


def _missing(rows: Sequence[PlanRow], settled: Mapping[str, Settled], as_planned: AsPlanned | None) -> list[str]:
    """Return the keys that no answer speaks of; the usual case, none, is told by counting."""
    if len(rows) == len(settled) + (as_planned.count if as_planned else 0):
        return []
    keys = as_planned.by_key if as_planned else {}
    return [row.key for row in rows if row.key not in settled and row.key not in keys]


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
