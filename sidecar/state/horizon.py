"""Whether transactions that could not see a run's rows, and may have written beside them, have ended."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.state.columns import EPOCH
from sidecar.state.rows import newest_batch
from sidecar.state.store import Store, insert
from sidecar.state.tables import horizons

# Numbers of transactions are 64 bits wide and unsigned; two thousand years of them fit into a bigint.
_bigint = sa.BigInteger
_snapshot = sa.func.pg_current_snapshot()
_xmin = sa.cast(sa.cast(sa.func.pg_snapshot_xmin(_snapshot), sa.Text), _bigint)
_xmax = sa.cast(sa.cast(sa.func.pg_snapshot_xmax(_snapshot), sa.Text), _bigint)
_locks = sa.table("pg_locks", sa.column("locktype"), sa.column("virtualxid"), sa.column("pid"), schema="pg_catalog")
# Every transaction holds its virtual id as long as it lasts, also one that has written nothing yet.
_under_way = sa.select(_locks.c.virtualxid).where(
    _locks.c.locktype == "virtualxid", _locks.c.pid != sa.func.pg_backend_pid()
)


class Horizon(Store):
    """The end of every transaction that overlapped a run's batches."""

    async def horizon_passed(self, run_id: str) -> bool:
        """Say whether every transaction has ended that was under way when this was first asked after the last batch.

        A batch is committed before anybody can ask. So whoever could not see its rows is among them, with or without a
        number yet (an UPDATE that found no row has none), prepared or not, in any database of the server. Later
        transactions see the rows. One that stays open for hours holds the answer back: False never says who it is.
        """
        async with self._database.writing() as connection:
            newest = await newest_batch(connection, run_id)
            if not newest:
                return True
            seen = await self._seen(connection, run_id, newest)
            ended = sa.select(_xmin >= seen.next_xid, ~sa.exists(_under_way.where(_is_among(seen.others))))
            return all((await connection.execute(ended)).one())

    async def overlap_ended_at(self, run_id: str) -> datetime | None:
        """Return the database's instant at which the horizon was first asked for after the run's last batch.

        Whatever began later saw the run's rows. None before that, and where there is no horizon to ask for.
        """
        query = sa.select(horizons.c.asked_at).where(horizons.c.run_id == run_id)
        async with self._database.reading() as connection:
            newest = await newest_batch(connection, run_id)
            asked_at: datetime | None = await connection.scalar(query.where(horizons.c.batch == newest))
            return asked_at

    async def _seen(self, connection: AsyncConnection, run_id: str, newest: int) -> sa.Row[Any, Any]:
        """Return who was under way when this was first asked after batch `newest`: by now, if nobody asked before."""
        stored = sa.select(horizons.c.next_xid, horizons.c.others).where(
            horizons.c.run_id == run_id, horizons.c.batch == newest
        )
        if (found := (await connection.execute(stored)).one_or_none()) is not None:
            return found
        ids = list((await connection.scalars(_under_way)).all())
        asked_at = self._database.clock(EPOCH)
        values = {"batch": newest, "next_xid": _xmax, "others": " ".join(ids), "asked_at": asked_at}
        noted = insert(connection, horizons).values(run_id=run_id, **values)
        # A replica that asks at the same time notes at most more of them.
        noted = noted.on_conflict_do_update(index_elements=["run_id"], set_=values)
        return (await connection.execute(noted.returning(horizons.c.next_xid, horizons.c.others))).one()


def _is_among(others: str) -> sa.ColumnElement[bool]:
    return _locks.c.virtualxid.in_(others.split())
