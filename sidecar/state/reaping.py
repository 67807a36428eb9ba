"""Runs that nobody works on, although nobody said that they stopped."""

from datetime import datetime

import sqlalchemy as sa

from sidecar.domain.run import ACTIVE
from sidecar.state.store import Store
from sidecar.state.tables import leases, runs


class Reaping(Store):
    """What a dead holder left."""

    async def silent_rules(self, now: datetime) -> list[str]:
        """Return the rules of runs that are under way under a lease that ran out, or that nobody holds."""
        let_go = leases.c.holder.is_(None) | (leases.c.expires_at <= self._database.clock(now))
        query = sa.select(runs.c.rule).distinct().join(leases, leases.c.name == runs.c.lease)
        query = query.where(runs.c.status.in_(sorted(ACTIVE)), let_go).order_by(runs.c.rule)
        async with self._database.reading() as connection:
            return list((await connection.scalars(query)).all())
