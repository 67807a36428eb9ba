"""End a run without writing: say what became of every row of it, and close its record. Needs no plan."""

from collections.abc import Sequence
from datetime import timedelta

from sidecar.batches import StoredRow
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome, RowResult, Run, RunStatus, Settled
from sidecar.domain.steering import abort_of, pause_of
from sidecar.engine.lease import Lease
from sidecar.engine.writing import owner_of
from sidecar.ports import Clock, Data, State

HELD_FOR = timedelta(hours=24)  # how long a row that the database refused stays out of the next plans


class Ender:
    """Ends interrupted runs."""

    def __init__(self, *, data: Data, state: State, clock: Clock) -> None:
        """Rows in flight are read back from `data`."""
        self._data = data
        self._state = state
        self._clock = clock

    async def end(
        self, run: Run, rule: Rule | None, lease: Lease, outcome: Outcome, why: str, *, unread: bool = False
    ) -> bool:
        """Account for rows in flight and finish the run; False when somebody was quicker.

        Without a rule, or when `unread` is asked for, nobody can read them back: they become `undetermined`, which
        counts against the daily cap. Unwritten rows stay `planned`, and are free for the next plan.

        Raises: LeaseLost; what `Data.read_rows` raises, after which nothing has changed.
        """
        rows = await self._state.rows(run.id)
        if lost := [row.key for row in rows if row.in_flight]:
            readable = None if unread else rule
            settled = await self._whose(readable, run.plan_id, lost)
            await self._state.settle(run.id, lease.name, lease.epoch, settled, self._clock.now())
        await self._hold_back(run, rows)
        now = self._clock.now()
        ended = await self._state.move_run(
            run.id, RunStatus.INTERRUPTED, RunStatus.FINISHED, now, outcome=outcome, detail=why
        )
        for scope in (pause_of(run.id), abort_of(run.id)):  # wishes about a run that is over
            await self._state.unfreeze(scope, "sidecar", now)
        return ended

    async def _whose(self, rule: Rule | None, plan_id: str, lost: Sequence[str]) -> dict[str, Settled]:
        if rule is None:
            return dict.fromkeys(lost, Settled(result=RowResult.UNDETERMINED, reason="not_read_back"))
        present = await self._data.read_rows(rule, lost)
        landed = {key: owner_of(rule, plan_id, present[key]) for key in lost if key in present}
        return {key: Settled(result=RowResult.PLANNED) for key in lost} | landed

    async def _hold_back(self, run: Run, rows: Sequence[StoredRow]) -> None:
        refused = {RowResult.CONFLICT, RowResult.FAILED}
        reasons = {r.key: f"{r.settled.result}:{r.settled.reason}" for r in rows if r.settled.result in refused}
        if reasons:
            now = self._clock.now()
            await self._state.hold(run.rule, reasons, "run", now, now + HELD_FOR)
