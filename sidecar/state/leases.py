"""Leases with rising epochs, which fence whoever was the holder before."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.steering import Holder
from sidecar.errors import LeaseLost
from sidecar.state import audit
from sidecar.state.store import Store, insert
from sidecar.state.tables import leases


class Leases(Store):
    """Who may write to a target table."""

    async def acquire(self, lease: str, holder: str, ttl_seconds: float, now: datetime) -> int | None:
        """Take the lease if it is free, expired or already ours; return its new epoch, or None when held by another."""
        async with self._database.writing() as connection:
            clock = self._database.clock(now)
            values = {"holder": holder, "expires_at": clock + _microseconds(ttl_seconds)}
            taken = insert(connection, leases).values(name=lease, epoch=1, **values)
            taken = taken.on_conflict_do_update(
                index_elements=["name"],
                set_={**values, "epoch": leases.c.epoch + 1},
                where=leases.c.holder.is_(None) | (leases.c.holder == holder) | (leases.c.expires_at <= clock),
            )
            epoch: int | None = await connection.scalar(taken.returning(leases.c.epoch))
            if epoch is None:
                return None
            await audit.append(
                connection, at=now, actor=holder, verb="lease.taken", subject=lease, details={"epoch": epoch}
            )
            return epoch

    async def renew(self, lease: str, epoch: int, ttl_seconds: float, now: datetime) -> None:
        """Extend our lease. Raises: LeaseLost. Leaves no audit row: it happens every few seconds."""
        async with self._database.writing() as connection:
            extended = leases.update().where(_ours(lease, epoch))
            expires_at = self._database.clock(now) + _microseconds(ttl_seconds)
            if (await connection.execute(extended.values(expires_at=expires_at))).rowcount != 1:
                raise _lost(lease, epoch)

    async def release(self, lease: str, epoch: int) -> None:
        """Give the lease back; the epoch stays spent. Nothing happens when it is not ours any more."""
        async with self._database.writing() as connection:
            ours = sa.select(leases.c.holder).where(_ours(lease, epoch)).with_for_update(key_share=True)
            holder = await connection.scalar(ours)
            if holder is None:
                return
            await connection.execute(leases.update().where(_ours(lease, epoch)).values(holder=None))
            # The port hands in no instant here; nothing but the audit row depends on this one.
            at = datetime.now(UTC)
            await audit.append(
                connection, at=at, actor=holder, verb="lease.released", subject=lease, details={"epoch": epoch}
            )

    async def holder(self, lease: str) -> Holder | None:
        """Return who holds a lease, expired or not; None for one that nobody ever took."""
        query = sa.select(leases).where(leases.c.name == lease)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).one_or_none()
        return None if found is None else Holder(name=found.holder, epoch=found.epoch, expires_at=found.expires_at)


async def fence(connection: AsyncConnection, lease: str, epoch: int) -> str:
    """Return the holder if `epoch` still holds the lease; expired will do, since nobody took it. Raises: LeaseLost.

    Until this transaction ends nobody takes the lease: on PostgreSQL the epoch is part of a key, which FOR KEY SHARE
    keeps as it is, while a renewal, which leaves keys alone, need not wait. SQLite has one writer at a time anyhow.
    """
    query = sa.select(leases.c.holder).where(_ours(lease, epoch)).with_for_update(read=True, key_share=True)
    holder: str | None = await connection.scalar(query)
    if holder is None:
        raise _lost(lease, epoch)
    return holder


def _ours(lease: str, epoch: int) -> sa.ColumnElement[bool]:
    return (leases.c.name == lease) & (leases.c.epoch == epoch) & leases.c.holder.is_not(None)


def _lost(lease: str, epoch: int) -> LeaseLost:
    return LeaseLost(f"the lease on {lease} is not held under epoch {epoch} any more")


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
