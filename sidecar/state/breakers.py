"""Breakers of target tables: what opened them outlives the process that saw it."""

import json
from datetime import datetime

import sqlalchemy as sa

from sidecar.domain.breaker import ACTOR, Breaker, BreakerStatus, Tried
from sidecar.domain.check import JSON
from sidecar.state import audit
from sidecar.state.leases import fence
from sidecar.state.store import Store
from sidecar.state.tables import breakers, freezes


class Breakers(Store):
    """One breaker for each target table, named like the table's lease."""

    async def breaker(self, table: str) -> Breaker:
        """Return the breaker of a table; one that was never needed is closed."""
        async with self._database.reading() as connection:
            found = (await connection.execute(sa.select(breakers).where(breakers.c.target == table))).one_or_none()
        if found is None:
            return Breaker()
        return Breaker(
            status=BreakerStatus(found.status),
            failed_in_a_row=found.failed_in_a_row,
            window=tuple(Tried(rows=r, failed=f, carried_out=c) for r, f, c in json.loads(found.recent)),
            opened_at=found.opened_at,
            reason=found.reason,
            rule=found.rule,
            failed_probes=found.failed_probes,
        )

    async def save_breaker(self, lease: str, epoch: int, breaker: Breaker, now: datetime) -> None:
        """Keep the breaker of the lease's table; where it comes to need a person, freeze its rule as well.

        Both are one transaction: no crash leaves a breaker that waits for a freeze nobody set. Raises: LeaseLost.
        """
        values = {
            "status": breaker.status,
            "failed_in_a_row": breaker.failed_in_a_row,
            "recent": json.dumps([[tried.rows, tried.failed, tried.carried_out] for tried in breaker.window]),
            "opened_at": breaker.opened_at,
            "reason": breaker.reason,
            "rule": breaker.rule,
            "failed_probes": breaker.failed_probes,
        }
        of_table = breakers.c.target == lease
        async with self._database.writing() as connection:
            holder = await fence(connection, lease, epoch)
            before = await connection.scalar(sa.select(breakers.c.status).where(of_table))
            if before is None:
                await connection.execute(breakers.insert().values(target=lease, **values))
            else:
                await connection.execute(breakers.update().where(of_table).values(**values))
            if breaker.status == (before or BreakerStatus.CLOSED):
                return
            if breaker.needs_person:
                frozen = {"scope": breaker.rule, "actor": ACTOR, "reason": breaker.reason, "at": now}
                await connection.execute(freezes.insert().values(**frozen))
                await audit.append(connection, at=now, actor=ACTOR, verb="freeze.set", subject=breaker.rule)
            details: dict[str, JSON] = {
                "reason": breaker.reason,
                "rule": breaker.rule,
                "failed_probes": breaker.failed_probes,
            }
            await audit.append(
                connection, at=now, actor=holder, verb=f"breaker.{breaker.status}", subject=lease, details=details
            )
