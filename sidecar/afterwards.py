"""Ports for what comes after a run: verification, correction, undo. Part of `sidecar.ports`, apart for its size."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from sidecar.batches import Transaction
from sidecar.domain.plan import PlanStatus
from sidecar.domain.rule import Amount, Rule
from sidecar.domain.undo import Removal, StoredUndo, UndoPlan
from sidecar.domain.verification import Verification


class Direct(Protocol):
    """What can be done to written rows only in the database itself. Errors are those of `Data`."""

    async def unplanned(self, rule: Rule, keys: Sequence[str], plan_id: str) -> Mapping[str, int]:
        """Count rows that nobody planned, by invariant: `row_doubled` and `row_extra`; empty when all is well."""
        ...

    async def correct(
        self, rule: Rule, key: str, *, was: Amount, written: str, amount: Amount, transaction: Transaction
    ) -> str | None:
        """Set one row's money if the row still has the digest `written` and holds `was`; return its new digest."""
        ...

    async def standing(self, rule: Rule, written: Mapping[str, str]) -> Mapping[str, Removal]:
        """Say of each key, mapped to the digest of its row as it landed, whether the row could be removed now."""
        ...

    async def remove(self, rule: Rule, written: Mapping[str, str], transaction: Transaction) -> Mapping[str, Removal]:
        """Delete the rows that are still as written and without dependants; say of each key what became of it."""
        ...


class Correction(Protocol):
    """A transaction in which rows of a run are corrected, fenced by the lease. `frozen` says who forbids it."""

    @property
    def frozen(self) -> str | None:
        """Who froze the rule: then nothing may be written."""
        ...

    @property
    def transaction(self) -> Transaction:
        """The transaction that the rows must be corrected in."""
        ...

    async def corrected(self, key: str, before: str, after: str) -> None:
        """Adopt the digest of a row that was corrected, with an audit row that names both digests."""
        ...


class UndoBatch(Protocol):
    """A transaction in which rows of a run are removed, fenced by the lease. `frozen` says who forbids it."""

    @property
    def frozen(self) -> str | None:
        """Who froze the rule: then nothing may be removed."""
        ...

    @property
    def transaction(self) -> Transaction:
        """The transaction that the rows must be removed in."""
        ...

    async def settle(self, results: Mapping[str, Removal]) -> None:
        """Record what became of the rows, and keep what was undone from being repaired again."""
        ...


class Afterwards(Protocol):
    """What memory holds about finished runs; part of `State`."""

    async def note_verification(self, verification: Verification, actor: str) -> None:
        """Record what a verification found, with an audit row."""
        ...

    async def verifications(self, run_id: str) -> list[Verification]:
        """Return a run's verifications, made and due, in their order."""
        ...

    async def verifications_due(self, rule: str, now: datetime) -> list[Verification]:
        """Return the verifications of a rule's runs that are due by now, oldest first."""
        ...

    def correction(self, run_id: str, lease: str, epoch: int, now: datetime) -> AbstractAsyncContextManager[Correction]:
        """Hold a transaction open in which rows of a run are corrected. Raises: LeaseLost."""
        ...

    async def save_undo(self, plan: UndoPlan, status: PlanStatus, actor: str) -> None:
        """Store an undo plan. Older ones of the same run that wait become rejected."""
        ...

    async def undo(self, undo_id: str) -> StoredUndo | None:
        """Return one undo plan."""
        ...

    async def undos(self, run_id: str) -> list[StoredUndo]:
        """Return the undo plans of a run, newest first."""
        ...

    async def move_undo(self, undo_id: str, before: PlanStatus, after: PlanStatus, actor: str, at: datetime) -> bool:
        """Change an undo plan's status if it still is `before`; False when somebody was quicker."""
        ...

    async def undone_since(self, table: str, since: datetime) -> int:
        """Count the rows that undo plans removed from the target table since an instant."""
        ...

    def undo_batch(self, undo_id: str, lease: str, epoch: int, now: datetime) -> AbstractAsyncContextManager[UndoBatch]:
        """Hold a transaction open in which rows are removed: fence and freeze on the way in. Raises: LeaseLost."""
        ...
