"""Put right the money of rows that a writer of the ledger raced. Nothing else that exists is ever updated.

How money is raced: a writer adds a movement to the ledger and to the profile in one transaction, and ours inserts the
profile in between. The writer's UPDATE finds no row, our evidence does not hold his movement, and both commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sidecar.afterwards import Correction, Direct
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Amount, Mode
from sidecar.engine.evidence import Proven, amount_of, prove_now
from sidecar.engine.work import Work
from sidecar.errors import WriteRejected
from sidecar.ports import Clock, Data, FreezeSwitch, State

HORIZON_SECONDS_AT_MOST = 10.0  # how long a run waits for transactions that could not see its rows; then later looks do
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Raced:
    """A row as it was written, and the balance that its evidence has proven by two readings since."""

    planned: PlanRow
    written: str
    proven: Amount


class Corrector:
    """Corrects rows of one run at a time."""

    def __init__(self, *, direct: Direct, data: Data, state: State, switch: FreezeSwitch, clock: Clock) -> None:
        """Correct through `direct`, in a transaction of `state`; `switch` freezes everything from outside of it."""
        self._direct = direct
        self._data = data
        self._state = state
        self._switch = switch
        self._clock = clock

    async def horizon_passed(self, run_id: str) -> bool:
        """Wait until whoever could not see the run's rows has ended; False when patience ended first."""
        until = self._clock.monotonic() + HORIZON_SECONDS_AT_MOST
        while not await self._state.horizon_passed(run_id):
            if self._clock.monotonic() >= until:
                return False
            await self._clock.sleep(POLL_SECONDS)
        return True

    async def correct(self, work: Work, raced: Sequence[Raced]) -> list[str]:
        """Correct the rows that may be, and return their keys. Ask only once the horizon has passed.

        Raises: LeaseLost; what `Data` raises.
        """
        overlap_ended_at = await self._state.overlap_ended_at(work.run.id)
        if not raced or overlap_ended_at is None or not _is_open(work) or await self._switch.thrown() is not None:
            return []
        proven = await prove_now(self._state, self._data, work, [row.planned for row in raced])
        due = [row for row in raced if _may(row, proven.get(row.planned.key), overlap_ended_at)]
        run, lease = work.run, work.lease
        try:
            async with self._state.correction(run.id, lease.name, lease.epoch, self._clock.now()) as correction:
                if correction.frozen is not None:
                    return []
                return [row.planned.key for row in due if await self._correct(work, row, correction)]
        except WriteRejected:  # a check of the table says no: the verification tells it as it is
            return []

    async def _correct(self, work: Work, row: Raced, correction: Correction) -> bool:
        key, was = row.planned.key, amount_of(row.planned.values[work.rule.balance_column])
        if was is None:
            return False
        after = await self._direct.correct(
            work.rule, key, was=was, written=row.written, amount=row.proven, transaction=correction.transaction
        )
        if after is not None:
            await correction.corrected(key, row.written, after)
        return after is not None


def _is_open(work: Work) -> bool:
    """Say whether rule and schema allow a correction at all: both may have changed since the run."""
    catalogue = work.proof.catalogue
    if work.rule.mode is Mode.OBSERVE or not catalogue.visible:
        return False
    if catalogue.fingerprint != work.plan.schema_fingerprint:
        return False  # nobody has read the trigger that came since, and the UPDATE would set it off
    return not catalogue.ledger_writers  # what its users may write is no evidence that nobody reads first


def _may(row: Raced, proven: Proven | None, overlap_ended_at: datetime) -> bool:
    """Say whether the evidence, in one unbroken chain, still proves what two readings did.

    A movement that began once the row could be seen has moved the row as well, or will: it may be of an application
    that writes ledger and profile one after the other. Both instants are the database's.
    """
    if proven is None or proven.amount != row.proven:
        return False
    return all(found.created_at is not None and found.created_at <= overlap_ended_at for found in proven.ledger)
