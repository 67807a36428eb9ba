"""Rows of runs: announced before they are written, settled afterwards, so that a crash leaves no row unexplained."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.batches import AsPlanned, Batch, StoredRow, Transaction
from sidecar.domain.run import RowResult, RunStatus, Settled
from sidecar.errors import LeaseLost
from sidecar.state import audit, bulk
from sidecar.state.freezes import frozen_by
from sidecar.state.leases import fence
from sidecar.state.store import Store, among, on_postgresql, slices
from sidecar.state.tables import batches, run_rows, runs

# Undone rows were written all the same: taking rows back makes no room for more.
WRITTEN = (RowResult.INSERTED, RowResult.UNDETERMINED, RowResult.UNDONE)


class Rows(Store):
    """What was about to be written, and what became of it."""

    async def intend(self, run_id: str, lease: str, epoch: int, keys: Sequence[str], now: datetime) -> str | None:
        """Announce a batch before it is written: fence, freeze and heartbeat in one transaction.

        Returns who froze the rule, in which case nothing was announced, else None.
        Raises: LeaseLost, also when the run is not `applying` under this epoch; ValueError for a key that is not
        `planned`: a row that landed, or was refused, is never tried again.
        """
        async with self._database.writing() as connection:
            return await intend(connection, run_id, lease, epoch, keys, now)

    async def settle(self, run_id: str, lease: str, epoch: int, results: Mapping[str, Settled], now: datetime) -> None:
        """Record what became of rows. Raises: LeaseLost; ValueError for a key that the run does not have."""
        async with self._database.writing() as connection:
            await settle(connection, run_id, lease, epoch, results, now)

    @contextlib.asynccontextmanager
    async def batch(
        self, run_id: str, lease: str, epoch: int, keys: Sequence[str], now: datetime
    ) -> AsyncIterator[Batch]:
        """Announce a batch, and settle it in a transaction of its own: the data lives elsewhere."""

        async def settle_apart(results: Mapping[str, Settled], at: datetime) -> None:
            await self.settle(run_id, lease, epoch, results, at)

        frozen = await self.intend(run_id, lease, epoch, keys, now)
        yield OpenBatch(frozen=frozen, transaction=None, apart=settle_apart)

    async def rows(self, run_id: str, keys: Sequence[str] | None = None) -> list[StoredRow]:
        """Return a run's rows, or those among `keys`, in the plan's order."""
        query = sa.select(run_rows).where(run_rows.c.run_id == run_id).order_by(run_rows.c.position)
        async with self._database.reading() as connection:
            if keys is not None:
                query = query.where(among(connection, run_rows.c.key, keys))
            return [
                StoredRow(
                    key=row.key,
                    settled=Settled(result=RowResult(row.result), reason=row.reason, written=row.written),
                    in_flight=row.in_flight,
                )
                for row in await connection.execute(query)
            ]

    async def rows_since(self, table: str, since: datetime) -> int:
        """Count rows inserted into the target table since an instant, rows in flight or undetermined included."""
        counts = run_rows.c.result.in_(WRITTEN) | run_rows.c.in_flight
        query = sa.select(sa.func.count()).select_from(run_rows).join(runs, runs.c.id == run_rows.c.run_id)
        query = query.where(runs.c.lease == table, run_rows.c.touched_at >= since, counts)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBatch:
    """A batch under way. Implements `sidecar.ports.Batch`."""

    frozen: str | None
    transaction: Transaction | None
    apart: Callable[[Mapping[str, Settled], datetime], Awaitable[None]]

    async def settle(self, results: Mapping[str, Settled], now: datetime, as_planned: AsPlanned | None = None) -> None:
        """Record what became of the batch's rows. Raises: LeaseLost."""
        digests = as_planned.by_key if as_planned else {}
        landed = {key: Settled(result=RowResult.INSERTED, written=digest) for key, digest in digests.items()}
        await self.apart({**landed, **results}, now)


async def intend(
    connection: AsyncConnection, run_id: str, lease: str, epoch: int, keys: Sequence[str], now: datetime
) -> str | None:
    """Answer `Rows.intend` inside a transaction."""
    holder, who = await permit(connection, run_id, lease, epoch)
    if who is not None:
        return who
    await beat(connection, run_id, now)
    number = await _announce(connection, run_id, epoch, keys, now)
    await audit.append(
        connection,
        at=now,
        actor=holder,
        verb="batch.announced",
        subject=run_id,
        details={"batch": number, "epoch": epoch, "rows": len(keys)},
    )
    return None


async def permit(connection: AsyncConnection, run_id: str, lease: str, epoch: int) -> tuple[str, str | None]:
    """Return the lease's holder and who froze the rule, if anybody did. Raises: LeaseLost.

    Until the transaction ends nobody takes the lease, and nobody else moves the run or writes its rows.
    """
    holder = await fence(connection, lease, epoch)
    ours = (runs.c.id == run_id) & (runs.c.lease == lease) & (runs.c.epoch == epoch)
    query = sa.select(runs.c.rule).where(ours, runs.c.status == RunStatus.APPLYING)
    rule = await connection.scalar(query.with_for_update(key_share=True))
    if rule is None:
        raise LeaseLost(f"run {run_id} is not applying under epoch {epoch} of the lease on {lease}")
    return holder, await frozen_by(connection, rule, run_id)


async def settle(
    connection: AsyncConnection, run_id: str, lease: str, epoch: int, results: Mapping[str, Settled], now: datetime
) -> None:
    """Do what `Rows.settle` does inside a transaction."""
    holder = await fence(connection, lease, epoch)
    if await connection.scalar(sa.select(runs.c.lease).where(runs.c.id == run_id)) != lease:
        raise ValueError(f"run {run_id} does not stand under the lease on {lease}")
    await beat(connection, run_id, now)
    await put_down(connection, run_id, results, {"in_flight": False, "touched_at": now})
    counts = Counter(str(s.result) for s in results.values())
    await audit.append(
        connection, at=now, actor=holder, verb="batch.settled", subject=run_id, details={"results": dict(counts)}
    )


async def put_down(
    connection: AsyncConnection, run_id: str, results: Mapping[str, Settled], common: Mapping[str, object]
) -> None:
    """Write results into the run's rows, and `common` into each. Raises: ValueError for a key that it does not have."""
    rows = [{"key": key, "result": s.result, "reason": s.reason, "written": s.written} for key, s in results.items()]
    of_run = run_rows.update().where(run_rows.c.run_id == run_id).values(**common)
    if on_postgresql(connection):
        # So that the planner finds these rows by the index, and does not read the whole run to join it.
        of_run = of_run.where(among(connection, run_rows.c.key, list(results)))
    if await bulk.change(connection, of_run, "key", rows) != len(rows):
        raise ValueError(f"run {run_id} does not have one of the keys")


async def beat(connection: AsyncConnection, run_id: str, now: datetime) -> None:
    """Say that the run lives."""
    await connection.execute(runs.update().where(runs.c.id == run_id).values(heartbeat_at=now))


async def newest_batch(connection: AsyncConnection, run_id: str) -> int:
    """Return the number of the run's newest batch, 0 before the first."""
    newest = sa.select(sa.func.coalesce(sa.func.max(batches.c.number), 0)).where(batches.c.run_id == run_id)
    number: int = (await connection.execute(newest)).scalar_one()
    return number


async def _announce(connection: AsyncConnection, run_id: str, epoch: int, keys: Sequence[str], now: datetime) -> int:
    number = await newest_batch(connection, run_id) + 1
    batch = {"run_id": run_id, "number": number, "epoch": epoch, "announced_at": now, "row_count": len(keys)}
    await connection.execute(batches.insert().values(**batch))
    planned = (run_rows.c.run_id == run_id) & (run_rows.c.result == RowResult.PLANNED)
    announced = run_rows.update().where(planned).values(in_flight=True, batch=number, touched_at=now)
    for some in slices(keys):
        if (await connection.execute(announced.where(run_rows.c.key.in_(some)))).rowcount != len(some):
            raise ValueError(f"run {run_id}: one of the keys is not planned any more")
    return number
