"""The switch that stops all writing."""

import textwrap
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.state import audit
from sidecar.state.store import Store
from sidecar.state.tables import freezes

EVERYTHING = "*"
REASON_CHARACTERS_AT_MOST = 160


class Freezes(Store):
    """Who stopped what."""

    async def freeze(self, scope: str, actor: str, reason: str, at: datetime) -> None:
        """Stop all writing for a rule, or for everything (scope `*`)."""
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


async def frozen_by(connection: AsyncConnection, rule: str) -> str | None:
    """Answer `frozen` inside a transaction; the widest and oldest freeze speaks."""
    query = sa.select(freezes).where(freezes.c.scope.in_([rule, EVERYTHING]), freezes.c.lifted_at.is_(None))
    query = query.order_by((freezes.c.scope == EVERYTHING).desc(), freezes.c.id).limit(1)
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        return None
    what = "everything" if found.scope == EVERYTHING else found.scope
    reason = textwrap.shorten(found.reason, REASON_CHARACTERS_AT_MOST, placeholder=" …")
    return f"{found.actor} froze {what}: {reason}"
