"""Batches on PostgreSQL: one transaction holds the announcement, the rows, what became of them and the audit."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.batches import AsPlanned, Batch
from sidecar.domain.run import RowResult, Settled
from sidecar.errors import StateUnavailable
from sidecar.sessions import Role
from sidecar.state import audit
from sidecar.state.meaning import unavailable
from sidecar.state.premises import MEMORY
from sidecar.state.rows import beat, newest_batch, permit, put_down
from sidecar.state.store import Store, among
from sidecar.state.tables import batches, run_rows

XID = sa.cast(sa.cast(sa.func.pg_current_xact_id(), sa.Text), sa.BigInteger)


class SharedBatches(Store):
    """Batches that are there whole or not at all."""

    @contextlib.asynccontextmanager
    async def batch(
        self, run_id: str, lease: str, epoch: int, keys: Sequence[str], now: datetime
    ) -> AsyncIterator[Batch]:
        """Hold one transaction open: leaving the block commits it, an error out of the block undoes all of it.

        The end may be unknown: TargetUnreachable out of the commit. Memory itself says then what happened.
        """
        async with self._database.sharing(Role.FIXER) as connection:
            with unavailable():
                holder, frozen = await permit(connection, run_id, lease, epoch)
                number = 0 if frozen is not None else await _announce(connection, run_id, epoch, keys, now)
            batch = SharedBatch(connection, run_id, number, keys, frozen)
            yield batch
            if frozen is None:
                with unavailable():
                    await batch.close(holder, epoch, now)


class SharedBatch:
    """A batch under way in a transaction of its own. Implements `sidecar.ports.Batch`."""

    def __init__(
        self, connection: AsyncConnection, run_id: str, number: int, keys: Sequence[str], frozen: str | None
    ) -> None:
        """Write the run's batch `number`, announced with `keys` unless it is `frozen`."""
        self.frozen = frozen
        self.transaction = connection
        self._run_id = run_id
        self._number = number
        self._keys = keys
        self._settled: dict[str, Settled] = {}
        self._as_planned: list[AsPlanned] = []
        self._settled_at: datetime | None = None

    async def settle(self, results: Mapping[str, Settled], now: datetime, as_planned: AsPlanned | None = None) -> None:
        """Record what became of the batch's rows. The transaction has held the lease since it began."""
        common = {"in_flight": False, "batch": self._number, "touched_at": now}
        with unavailable():
            if results:
                await put_down(self.transaction, self._run_id, results, common)
            if as_planned is not None:
                await _put_down_as_planned(self.transaction, self._run_id, as_planned, common)
                self._as_planned.append(as_planned)
        self._settled |= results
        self._settled_at = now

    async def close(self, holder: str, epoch: int, announced_at: datetime) -> None:
        """Leave nothing unexplained, and tell the audit last: from here to the commit nobody else can."""
        as_planned = sum(part.count for part in self._as_planned)
        if len(self._settled) + as_planned != len(self._keys):
            known = self._settled.keys() | {key for part in self._as_planned for key in part.by_key}
            await self._leave_in_flight([key for key in self._keys if key not in known], announced_at)
        await beat(self.transaction, self._run_id, self._settled_at or announced_at)
        await audit.append(
            self.transaction,
            at=announced_at,
            actor=holder,
            verb="batch.announced",
            subject=self._run_id,
            details={"batch": self._number, "epoch": epoch, "rows": len(self._keys)},
        )
        if self._settled_at is not None:
            counts = Counter(str(settled.result) for settled in self._settled.values())
            if as_planned:
                counts[str(RowResult.INSERTED)] += as_planned
            await audit.append(
                self.transaction,
                at=self._settled_at,
                actor=holder,
                verb="batch.settled",
                subject=self._run_id,
                details={"results": dict(counts)},
            )

    async def _leave_in_flight(self, keys: Sequence[str], now: datetime) -> None:
        """Announce what was not settled, as the other path does: it may have been written."""
        if keys:
            left = (run_rows.c.run_id == self._run_id) & among(self.transaction, run_rows.c.key, keys)
            announced = run_rows.update().where(left).values(in_flight=True, batch=self._number, touched_at=now)
            await self.transaction.execute(announced)


async def _put_down_as_planned(
    connection: AsyncConnection, run_id: str, as_planned: AsPlanned, common: Mapping[str, object]
) -> None:
    """Write down rows that landed as planned, in one statement over the text that the database made of them."""
    given = sa.func.json_each_text(sa.cast(sa.literal(as_planned.digests), sa.JSON)).table_valued("key", "value")
    landed = run_rows.update().where(run_rows.c.run_id == run_id, run_rows.c.key == given.c.key)
    landed = landed.values(result=RowResult.INSERTED, reason="", written=given.c.value, **common)
    if (await connection.execute(landed)).rowcount != as_planned.count:
        raise ValueError(f"run {run_id} does not have one of the keys")


async def _announce(connection: AsyncConnection, run_id: str, epoch: int, keys: Sequence[str], now: datetime) -> int:
    """Claim the rows and count the batch. Raises: ValueError for a key that is not `planned`; StateUnavailable."""
    of_batch = (run_rows.c.run_id == run_id) & among(connection, run_rows.c.key, keys)
    planned = sa.select(run_rows.c.key).where(of_batch, run_rows.c.result == RowResult.PLANNED)
    # Whoever works on rows of the run waits for its row in `runs`, so only a stranger can keep these: do not wait.
    claim = planned.with_for_update(key_share=True, skip_locked=True).cte("claimed").prefix_with("MATERIALIZED")
    claimed = await connection.scalar(sa.select(sa.func.count()).select_from(claim))
    if claimed != len(keys):
        if await connection.scalar(sa.select(sa.func.count()).select_from(planned.subquery())) == len(keys):
            raise StateUnavailable(f"{MEMORY}: somebody else keeps rows of run {run_id} locked")
        raise ValueError(f"run {run_id}: one of the keys is not planned any more")
    number = await newest_batch(connection, run_id) + 1
    batch = {"run_id": run_id, "number": number, "epoch": epoch, "announced_at": now, "row_count": len(keys)}
    await connection.execute(batches.insert().values(**batch, xid=XID))
    return number
