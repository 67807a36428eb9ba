"""The switch that stops all writing."""

import textwrap
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.steering import EVERYTHING, Freeze, abort_of, pause_of
from sidecar.state import audit
from sidecar.state.store import Store
from sidecar.state.tables import freezes

REASON_CHARACTERS_AT_MOST = 160


class Freezes(Store):
    """Who stopped what."""

    async def freeze(self, scope: str, actor: str, reason: str, at: datetime) -> None:
        """Stop all writing of a scope: a rule, everything (`*`), or one run (`pause_of`, `abort_of`)."""
        async with self._database.writing() as connection:
            await connection.execute(freezes.insert().values(scope=scope, actor=actor, reason=reason, at=at))
            await audit.append(connection, at=at, actor=actor, verb="freeze.set", subject=scope)

    async def unfreeze(self, scope: str, actor: str, at: datetime) -> bool:
        """Lift a freeze of exactly that scope; False when there was none."""
        lifted = freezes.update().where(freezes.c.scope == scope, freezes.c.lifted_at.is_(None))
        async with self._database.writing() as connection:
            if not (await connection.execute(lifted.values(lifted_at=at, lifted_by=actor))).rowcount:
                return False
            await audit.append(connection, at=at, actor=actor, verb="freeze.lifted", subject=scope)
            return True

    async def frozen(self, rule: str) -> str | None:
        """Return who froze the rule or everything and why, as one short text, or None."""
        async with self._database.reading() as connection:
            return await frozen_by(connection, rule)

    async def freezes(self) -> list[Freeze]:
        """Return every freeze, pause and abort that stands, oldest first."""
        query = sa.select(freezes).where(freezes.c.lifted_at.is_(None)).order_by(freezes.c.id)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).all()
        return [Freeze(scope=row.scope, actor=row.actor, reason=row.reason, at=row.at) for row in found]


async def frozen_by(connection: AsyncConnection, rule: str, run_id: str | None = None) -> str | None:
    """Answer `frozen` inside a transaction, for one run of the rule also whether it is paused or aborted.

    The widest and oldest freeze speaks.
    """
    of_run = {} if run_id is None else {pause_of(run_id): "paused", abort_of(run_id): "aborted"}
    scopes = [rule, EVERYTHING, *of_run]
    query = sa.select(freezes).where(freezes.c.scope.in_(scopes), freezes.c.lifted_at.is_(None))
    query = query.order_by((freezes.c.scope == EVERYTHING).desc(), freezes.c.id).limit(1)
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        return None
    if found.scope in of_run:
        what = f"{of_run[found.scope]} run {run_id}"
    else:
        what = "froze everything" if found.scope == EVERYTHING else f"froze {found.scope}"
    reason = textwrap.shorten(found.reason, REASON_CHARACTERS_AT_MOST, placeholder=" …")
    return f"{found.actor} {what}" + (f": {reason}" if reason else "")
