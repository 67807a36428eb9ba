"""Looks, and what only a proven look may change: confirmations and the baseline."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.look import Baseline, Counts, Sighting, Unproven
from sidecar.state import audit, bulk
from sidecar.state.store import Store, insert, one_at_a_time
from sidecar.state.tables import baselines, confirmations, cutoffs, looks

OPENING = "opening of looks"  # whoever asks for the newest look must not miss one that is being opened


class Looks(Store):
    """When Sidecar looked, and what it may conclude from looking again."""

    async def open_look(self, rule: str, at: datetime) -> int:
        """Announce a look and return its id."""
        async with self._database.writing() as connection:
            await one_at_a_time(connection, OPENING)
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
            rule = await connection.scalar(sa.select(looks.c.rule).where(looks.c.id == look_id)) or ""
            await one_at_a_time(connection, f"rule:{rule}")
            closed = looks.update().where(looks.c.id == look_id, looks.c.closed_at.is_(None))
            closed = closed.values(
                closed_at=at,
                proven=failure is None,
                failure=failure,
                candidates=candidates,
                read_at=sighting.proof.read_at if isinstance(sighting, Sighting) else None,
            )
            if (await connection.execute(closed)).rowcount != 1:
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
        query = sa.select(confirmations.c.key, confirmations.c.seen)
        query = query.where(confirmations.c.rule == rule, confirmations.c.seen > 0)
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
        """Accept whatever the next look sees: a person said that the change was meant.

        It may be another database by now. So what the rule's looks confirmed and noted is no evidence any more, and
        neither are the balances that other rules noted in the database of its baseline.
        """
        async with self._database.writing() as connection:
            await one_at_a_time(connection, f"rule:{rule}")
            await _cut_off(connection, rule)
            await connection.execute(baselines.delete().where(baselines.c.rule == rule))
            await audit.append(connection, at=at, actor=actor, verb="baseline.dropped", subject=rule)


async def _confirm(connection: AsyncConnection, rule: str, look_id: int, sighting: Sighting) -> None:
    """Mark each key without its row with this look, then sweep those of the rule that it did not mark."""
    for keys, first, again in (
        (sighting.candidates, 1, confirmations.c.seen + 1),
        (sighting.young, 0, sa.literal(0)),
    ):
        new = insert(connection, confirmations)
        counted = new.on_conflict_do_update(
            index_elements=["rule", "key"],
            set_={"seen": again, "look_id": new.excluded.look_id},
            # A candidate that the same look calls young as well is still one sighting of it.
            where=confirmations.c.look_id != new.excluded.look_id,
        )
        common = {"rule": rule, "look_id": look_id, "first_look_id": look_id, "seen": first}
        await bulk.add(connection, counted, [{**common, "key": key} for key in dict.fromkeys(keys)])
    gone = (confirmations.c.rule == rule) & (confirmations.c.look_id != look_id)
    await connection.execute(confirmations.delete().where(gone))


async def _cut_off(connection: AsyncConnection, rule: str) -> None:
    """Forget the rule's confirmations, and mark what was noted so far; the notes themselves are append-only."""
    await connection.execute(confirmations.delete().where(confirmations.c.rule == rule))
    await one_at_a_time(connection, OPENING)
    newest = await connection.scalar(sa.select(sa.func.max(looks.c.id)))
    dropped = sa.select(baselines.c.database).where(baselines.c.rule == rule).scalar_subquery()
    beside = await connection.scalars(sa.select(baselines.c.rule).where(baselines.c.database == dropped))
    marked = insert(connection, cutoffs)
    marked = marked.on_conflict_do_update(index_elements=["rule"], set_={"look_id": marked.excluded.look_id})
    for name in sorted({rule, *beside}):
        await connection.execute(marked.values(rule=name, look_id=newest or 0))


async def _adopt(connection: AsyncConnection, rule: str, sighting: Sighting, at: datetime) -> None:
    counts = sighting.proof.counts
    values = {
        "ledger_rows": counts.ledger_rows,
        "expected_rows": counts.expected_rows,
        "subjects": counts.subjects,
        "database": sighting.proof.database,
        "taken_at": at,
    }
    adopted = insert(connection, baselines).values(rule=rule, **values)
    await connection.execute(adopted.on_conflict_do_update(index_elements=["rule"], set_=values))
