"""Read the source again after a run: what was written must be there, and the money must be what the evidence says."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sidecar.domain.comparing import same
from sidecar.domain.credits import Balance, prove_balance
from sidecar.domain.event import VerifyFailed
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Amount, FromBalance, Rule, Value
from sidecar.domain.run import RowResult
from sidecar.engine.work import Work
from sidecar.ports import Data, Reporter, State, StoredRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the source holds. `broken` counts rows by the invariant they break; `drift` is in credits, 0 when well."""

    rows: int
    broken: Mapping[str, int]
    drift: Amount

    @property
    def holds(self) -> bool:
        """Whether every written row is there with its proven balance."""
        return not self.broken


class Verifier:
    """Verifies runs from the source, never from what an insert answered."""

    def __init__(self, *, data: Data, state: State, reporter: Reporter) -> None:
        """Read through `data`; `state` knows the anchors of balances."""
        self._data = data
        self._state = state
        self._reporter = reporter

    async def verify(self, work: Work, keys: Collection[str] | None = None) -> Verified:
        """Compare each inserted row, or those among `keys`, with its plan and its evidence.

        Raises: what `Data` raises.
        """
        written = [r for r in await self._state.rows(work.run.id) if r.settled.result is RowResult.INSERTED]
        written = [r for r in written if keys is None or r.key in keys]
        wrong = await self._compare(work, written)
        if wrong:  # row and ledger are two reads, and a user may spend between them: those are read once more
            wrong = await self._compare(work, [row for row in written if row.key in wrong])
        broken = Counter(invariant for invariant, _ in wrong.values())
        drift: Amount = sum(off for _, off in wrong.values())
        for invariant, count in broken.items():
            self._reporter.emit(VerifyFailed(rule=work.rule.name, run_id=work.run.id, invariant=invariant, rows=count))
        return Verified(rows=len(written), broken=broken, drift=drift)

    async def _compare(self, work: Work, written: Sequence[StoredRow]) -> dict[str, tuple[str, Amount]]:
        """Return the invariant that each wrong row breaks, and by how many credits it is off."""
        rows = {row.key: row for row in work.plan.rows}
        keys = [row.key for row in written]
        present = await self._data.read_rows(work.rule, keys)
        proven = await self._proven(work.rule, keys)
        money = work.rule.balance_column
        wrong: dict[str, tuple[str, Amount]] = {}
        for stored in written:
            row, found = rows[stored.key], present.get(stored.key)
            invariant = _broken(work.rule, row, found, proven.get(stored.key), stored.settled.reason)
            if invariant is not None:
                due = proven.get(stored.key, _amount(row.values.get(money)))
                wrong[stored.key] = (invariant, _amount((found or {}).get(money)) - due)
        return wrong

    async def _proven(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Amount]:
        """Return what the evidence says now: a user who spends at once moves row and ledger alike."""
        source = rule.repair.values[rule.balance_column]
        if not isinstance(source, FromBalance):
            return {}
        anchors = await self._state.anchors(str(rule.detect.expects.table), keys)
        ledger = await self._data.ledger(rule, keys)
        judged = {
            key: prove_balance(source.order, anchors.get(key, ()), ledger.get(key, ()), margin=rule.detect.min_age)
            for key in keys
        }
        return {key: balance.amount for key, balance in judged.items() if isinstance(balance, Balance)}


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


def _amount(value: Value) -> Amount:
    return value if isinstance(value, int | Decimal) and not isinstance(value, bool) else 0
