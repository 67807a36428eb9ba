"""Rows held back, and why."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.finding import FindingClass
from sidecar.sights import Quarantined
from sidecar.state import audit, bulk
from sidecar.state.attempts import pardon
from sidecar.state.store import Store, insert, one_at_a_time
from sidecar.state.tables import quarantine

LOOK = "look"


class Quarantine(Store):
    """What waits for a person."""

    async def hold(
        self, rule: str, reasons: Mapping[str, str], source: str, at: datetime, until_at: datetime | None
    ) -> None:
        """Quarantine keys with their reasons. For source `look` this replaces the rule's whole set of that source."""
        async with self._database.writing() as connection:
            await one_at_a_time(connection, f"rule:{rule}")
            of_source = (quarantine.c.rule == rule) & (quarantine.c.source == source)
            newest = sa.select(sa.func.coalesce(sa.func.max(quarantine.c.generation), 0)).where(of_source)
            generation = (await connection.execute(newest)).scalar_one() + 1
            common = {"rule": rule, "source": source, "since_at": at, "until_at": until_at, "generation": generation}
            rows = [{**common, "key": key, "reason": reason} for key, reason in reasons.items()]
            await bulk.add(connection, _upsert(connection), rows)
            released = 0
            if source == LOOK:
                stale = quarantine.delete().where(of_source, quarantine.c.generation < generation)
                released = (await connection.execute(stale)).rowcount
            await audit.append(
                connection,
                at=at,
                actor=audit.SELF,
                verb="quarantine.held",
                subject=rule,
                details={"source": source, "reasons": dict(Counter(reasons.values())), "released": released},
            )

    async def held(self, rule: str | None, now: datetime) -> list[Quarantined]:
        """Return what is in quarantine now, oldest first."""
        query = sa.select(quarantine).order_by(quarantine.c.since_at, quarantine.c.id)
        query = query.where(quarantine.c.until_at.is_(None) | (quarantine.c.until_at > now))
        if rule is not None:
            query = query.where(quarantine.c.rule == rule)
        async with self._database.reading() as connection:
            return [
                Quarantined(
                    id=row.id,
                    rule=row.rule,
                    key=row.key,
                    reason=row.reason,
                    source=row.source,
                    since_at=row.since_at,
                    until_at=row.until_at,
                )
                for row in await connection.execute(query)
            ]

    async def let_go(self, quarantine_id: int, actor: str, at: datetime) -> bool:
        """Release one row; False when there is no such entry."""
        gone = quarantine.delete().where(quarantine.c.id == quarantine_id)
        async with self._database.writing() as connection:
            found = (await connection.execute(gone.returning(quarantine))).one_or_none()
            if found is None:
                return False
            if found.reason == FindingClass.RECURRING:
                await pardon(connection, found.rule, found.key, at)
            await audit.append(
                connection,
                at=at,
                actor=actor,
                verb="quarantine.released",
                subject=found.rule,
                details={"key": found.key, "reason": found.reason, "source": found.source},
            )
            return True


def _upsert(connection: AsyncConnection) -> sa.Insert:
    """Insert, or hold on to a row that is held already: it keeps its id, and its age unless it had run out."""
    fresh = insert(connection, quarantine)
    new = fresh.excluded
    since_at = sa.case((quarantine.c.until_at <= new.since_at, new.since_at), else_=quarantine.c.since_at)
    return fresh.on_conflict_do_update(
        index_elements=["rule", "source", "key"],
        set_={"reason": new.reason, "until_at": new.until_at, "generation": new.generation, "since_at": since_at},
    )
