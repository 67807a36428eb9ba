"""Read the source again after a run: what was written must be there, and the money must be what the evidence says."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sidecar.afterwards import Direct
from sidecar.batches import StoredRow
from sidecar.domain.comparing import same
from sidecar.domain.event import VerifyFailed
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Amount, Rule, Value
from sidecar.domain.run import RowResult
from sidecar.domain.verification import Verification, VerifyResult
from sidecar.engine.correct import Corrector, Raced
from sidecar.engine.evidence import amount_of, prove_now
from sidecar.engine.work import Work
from sidecar.ports import Clock, Data, FreezeSwitch, Reporter, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the source holds. `broken` counts rows by the invariant they break; `drift` is in credits, 0 when well.

    `corrected` counts rows whose money a writer of the ledger had raced.
    """

    rows: int
    broken: Mapping[str, int]
    drift: Amount
    corrected: int = 0

    @property
    def holds(self) -> bool:
        """Whether every written row is there with its proven balance."""
        return not self.broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A row that is not as it should be, and by how many credits. `proven` is what the evidence says, if it does."""

    invariant: str
    off: Amount
    proven: Amount | None


class Verifier:
    """Verifies runs from the source, never from what an insert answered."""

    def __init__(
        self,
        *,
        data: Data,
        state: State,
        switch: FreezeSwitch,
        reporter: Reporter,
        clock: Clock,
        direct: Direct | None = None,
    ) -> None:
        """Read through `data`; `state` knows the anchors of balances. Without `direct` nothing is ever corrected.

        `switch` stops corrections from outside of `state`.
        """
        self._data = data
        self._state = state
        self._reporter = reporter
        self._clock = clock
        self._direct = direct
        self._corrector = (
            None if direct is None else Corrector(direct=direct, data=data, state=state, switch=switch, clock=clock)
        )

    async def verify(self, work: Work, keys: Collection[str] | None = None) -> Verified:
        """Compare each inserted row, or those among `keys`, with its plan and its evidence.

        Where the database itself is at hand, nothing is judged before every transaction has ended that could not see
        the rows, or patience has; what such a one wrote to the ledger is put right. Raises: what `Data` raises.
        """
        every = await self._state.rows(work.run.id, None if keys is None else sorted(keys))
        written = [row for row in every if row.settled.result is RowResult.INSERTED]
        corrector = self._corrector if written else None
        whole = keys is None
        is_settled = whole and corrector is not None and await corrector.horizon_passed(work.run.id)
        wrong = await self._compare(work, written)
        if wrong:  # row and ledger are two reads, and a user may spend between them: those are read once more
            wrong = await self._compare(work, [row for row in written if row.key in wrong])
        corrected: Collection[str] = ()
        if (
            wrong
            and corrector is not None
            and (is_settled or (not whole and await corrector.horizon_passed(work.run.id)))
        ):
            corrected = await corrector.correct(work, _raced(work, written, wrong))
        if corrected:
            wrong = await self._compare(work, [row for row in written if row.key in wrong])
        broken = Counter(found.invariant for found in wrong.values())
        if self._direct is not None and whole:
            broken.update(await self._direct.unplanned(work.rule, [row.key for row in every], work.plan.id))
        self._tell(work, broken)
        drift: Amount = sum(found.off for found in wrong.values())
        return Verified(rows=len(written), broken=broken, drift=drift, corrected=len(corrected))

    def _tell(self, work: Work, broken: Mapping[str, int]) -> None:
        for invariant, count in broken.items():
            self._reporter.emit(VerifyFailed(rule=work.rule.name, run_id=work.run.id, invariant=invariant, rows=count))

    async def note(self, work: Work, number: int, due_at: datetime, verified: Verified) -> None:
        """Remember what a verification of the whole run found; the run's own outcome stays as it was."""
        made = Verification(
            run_id=work.run.id,
            number=number,
            due_at=due_at,
            done_at=self._clock.now(),
            result=VerifyResult.HELD if verified.holds else VerifyResult.FAILED,
            rows=verified.rows,
            broken=dict(verified.broken),
            drift=verified.drift,
            corrected=verified.corrected,
        )
        await self._state.note_verification(made, "sidecar")

    async def _compare(self, work: Work, written: Sequence[StoredRow]) -> dict[str, Wrong]:
        """Return what is wrong with rows, by key."""
        rows = {row.key: row for row in work.plan.rows}
        keys = [row.key for row in written]
        present = await self._data.read_rows(work.rule, keys)
        proven = await self._proven(work, [rows[key] for key in keys])
        money = work.rule.balance_column
        wrong: dict[str, Wrong] = {}
        for stored in written:
            row, found, due = rows[stored.key], present.get(stored.key), proven.get(stored.key)
            invariant = _broken(work.rule, row, found, due, stored.settled.reason)
            if invariant is not None:
                expected = (amount_of(row.values.get(money)) or 0) if due is None else due
                off = (amount_of((found or {}).get(money)) or 0) - expected
                wrong[stored.key] = Wrong(invariant=invariant, off=off, proven=due)
        return wrong

    async def _proven(self, work: Work, rows: Sequence[PlanRow]) -> Mapping[str, Amount]:
        """Return what the evidence says now: a user who spends at once moves row and ledger alike."""
        proven = await prove_now(self._state, self._data, work, rows)
        return {key: found.amount for key, found in proven.items()}


def _raced(work: Work, written: Sequence[StoredRow], wrong: Mapping[str, Wrong]) -> list[Raced]:
    """Return the rows that still hold what was written while their evidence has moved on."""
    rows = {row.key: row for row in work.plan.rows}
    return [
        Raced(planned=rows[row.key], written=row.settled.written, proven=found.proven)
        for row in written
        if (found := wrong.get(row.key)) is not None
        and found.invariant == "ledger_changed"
        and found.proven is not None
        and row.settled.written
    ]


def _broken(
    rule: Rule, row: PlanRow, found: Mapping[str, Value] | None, proven: Amount | None, reason: str
) -> str | None:
    if found is None:
        return "row_missing"
    if reason.startswith("altered:"):
        return "value_differs"
    balance = found.get(rule.balance_column)
    if proven is not None and same(proven, balance):
        return None
    # The row still holds what was written, and the evidence says otherwise by now: a movement came in between.
    return "ledger_changed" if same(row.values[rule.balance_column], balance) else "value_differs"
