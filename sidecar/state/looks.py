"""Looks, and what only a proven look may change: confirmations and the baseline."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.look import Baseline, Counts, Sighting, Unproven
from sidecar.state import audit
from sidecar.state.store import Store, slices
from sidecar.state.tables import baselines, confirmations, looks


class Looks(Store):
    """When Sidecar looked, and what it may conclude from looking again."""

    async def open_look(self, rule: str, at: datetime) -> int:
        """Announce a look and return its id."""
        async with self._database.writing() as connection:
            opened = looks.insert().values(rule=rule, opened_at=at, notes=0).returning(looks.c.id)
            look_id: int = (await connection.execute(opened)).scalar_one()
            await audit.append(
                connection, at=at, actor=audit.SELF, verb="look.opened", subject=rule, details={"look": look_id}
            )
            return look_id

    async def close_look(self, look_id: int, sighting: Sighting | Unproven, at: datetime) -> None:
        """Close a look. When proven: count one confirmation for each candidate, forget the others, adopt the baseline.

        An unproven look neither counts nor resets. Raises: ValueError when the look is not open.
        """
        failure = sighting.failure if isinstance(sighting, Unproven) else None
        candidates = None if isinstance(sighting, Unproven) else len(sighting.candidates)
        async with self._database.writing() as connection:
            closed = looks.update().where(looks.c.id == look_id, looks.c.closed_at.is_(None))
            closed = closed.values(closed_at=at, proven=failure is None, failure=failure, candidates=candidates)
            rule = (await connection.execute(closed.returning(looks.c.rule))).scalar_one_or_none()
            if rule is None:
                raise ValueError(f"look {look_id} is not open")
            if isinstance(sighting, Sighting):
                await _confirm(connection, rule, look_id, sighting)
                await _adopt(connection, rule, sighting, at)
            await audit.append(
                connection,
                at=at,
                actor=audit.SELF,
                verb="look.closed",
                subject=rule,
                details={"look": look_id, "failure": failure, "candidates": candidates},
            )

    async def confirmations(self, rule: str) -> Mapping[str, int]:
        """Return in how many consecutive proven looks each current candidate was seen."""
        query = sa.select(confirmations.c.key, confirmations.c.seen).where(confirmations.c.rule == rule)
        async with self._database.reading() as connection:
            return {row.key: row.seen for row in await connection.execute(query)}

    async def baseline(self, rule: str) -> Baseline | None:
        """Return what the last proven look saw."""
        async with self._database.reading() as connection:
            found = (await connection.execute(sa.select(baselines).where(baselines.c.rule == rule))).one_or_none()
        if found is None:
            return None
        counts = Counts(ledger_rows=found.ledger_rows, expected_rows=found.expected_rows, subjects=found.subjects)
        return Baseline(counts=counts, database=found.database, taken_at=found.taken_at)

    async def drop_baseline(self, rule: str, actor: str, at: datetime) -> None:
        """Accept whatever the next look sees: a person said that the change was meant."""
        async with self._database.writing() as connection:
            await connection.execute(baselines.delete().where(baselines.c.rule == rule))
            await audit.append(connection, at=at, actor=actor, verb="baseline.dropped", subject=rule)


async def _confirm(connection: AsyncConnection, rule: str, look_id: int, sighting: Sighting) -> None:
    """Mark each candidate with this look, then sweep those of the rule that it did not mark."""
    first = insert(confirmations).values(seen=1)
    again = first.on_conflict_do_update(
        index_elements=["rule", "key"],
        set_={"seen": confirmations.c.seen + 1, "look_id": first.excluded.look_id},
        # A key named twice by one look is still one sighting of it.
        where=confirmations.c.look_id != first.excluded.look_id,
    )
    for keys in slices(sighting.candidates):
        await connection.execute(again, [{"rule": rule, "key": key, "look_id": look_id} for key in keys])
    gone = (confirmations.c.rule == rule) & (confirmations.c.look_id != look_id)
    await connection.execute(confirmations.delete().where(gone))


async def _adopt(connection: AsyncConnection, rule: str, sighting: Sighting, at: datetime) -> None:
    counts = sighting.proof.counts
    values = {
        "ledger_rows": counts.ledger_rows,
        "expected_rows": counts.expected_rows,
        "subjects": counts.subjects,
        "database": sighting.proof.database,
        "taken_at": at,
    }
    adopted = insert(baselines).values(rule=rule, **values)
    await connection.execute(adopted.on_conflict_do_update(index_elements=["rule"], set_=values))
