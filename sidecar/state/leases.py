"""Leases with rising epochs, which fence whoever was the holder before."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.steering import Holder
from sidecar.errors import LeaseLost
from sidecar.state import audit
from sidecar.state.store import Store
from sidecar.state.tables import leases


class Leases(Store):
    """Who may write to a target table."""

    async def acquire(self, lease: str, holder: str, ttl_seconds: float, now: datetime) -> int | None:
        """Take the lease if it is free, expired or already ours; return its new epoch, or None when held by another."""
        async with self._database.writing() as connection:
            found = (await connection.execute(sa.select(leases).where(leases.c.name == lease))).one_or_none()
            if found is not None and found.holder not in (None, holder) and found.expires_at > now:
                return None
            epoch: int = 1 if found is None else found.epoch + 1
            values = {"holder": holder, "epoch": epoch, "expires_at": now + timedelta(seconds=ttl_seconds)}
            taken = insert(leases).values(name=lease, **values)
            await connection.execute(taken.on_conflict_do_update(index_elements=["name"], set_=values))
            await audit.append(
                connection, at=now, actor=holder, verb="lease.taken", subject=lease, details={"epoch": epoch}
            )
            return epoch

    async def renew(self, lease: str, epoch: int, ttl_seconds: float, now: datetime) -> None:
        """Extend our lease. Raises: LeaseLost. Leaves no audit row: it happens every few seconds."""
        async with self._database.writing() as connection:
            await fence(connection, lease, epoch)
            extended = leases.update().where(leases.c.name == lease)
            await connection.execute(extended.values(expires_at=now + timedelta(seconds=ttl_seconds)))

    async def release(self, lease: str, epoch: int) -> None:
        """Give the lease back; the epoch stays spent. Nothing happens when it is not ours any more."""
        async with self._database.writing() as connection:
            ours = (leases.c.name == lease) & (leases.c.epoch == epoch) & leases.c.holder.is_not(None)
            holder = await connection.scalar(sa.select(leases.c.holder).where(ours))
            if holder is None:
                return
            await connection.execute(leases.update().where(ours).values(holder=None))
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
    """Return the holder if `epoch` still holds the lease; expired will do, since nobody took it. Raises: LeaseLost."""
    query = sa.select(leases.c.holder).where(leases.c.name == lease, leases.c.epoch == epoch)
    holder: str | None = await connection.scalar(query)
    if holder is None:
        raise LeaseLost(f"the lease on {lease} is not held under epoch {epoch} any more")
    return holder
