"""What checks remember from look to look, and the credits that they spent."""

from datetime import datetime

import sqlalchemy as sa

from sidecar.sights import Kept
from sidecar.state import audit
from sidecar.state.store import Store, insert, one_at_a_time
from sidecar.state.tables import keepsakes, spending


class Keepsakes(Store):
    """One text a name, changed by whoever saw it last; and purses that are never overdrawn."""

    async def recall(self, name: str) -> Kept | None:
        """Return what was kept under a name."""
        query = sa.select(keepsakes.c.body, keepsakes.c.version).where(keepsakes.c.name == name)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Kept(body=row.body, version=row.version)

    async def keep(self, name: str, body: str, version: int, at: datetime) -> bool:
        """Keep `body` in the place of version `version` (0: of nothing); False when somebody was quicker.

        Leaves no audit row: it happens at every look of some checks, and decides nothing about money.
        """
        values = {"body": body, "version": version + 1, "at": at}
        async with self._database.writing() as connection:
            if version:
                changed = keepsakes.update().where(keepsakes.c.name == name, keepsakes.c.version == version)
                return (await connection.execute(changed.values(**values))).rowcount == 1
            kept = insert(connection, keepsakes).values(name=name, **values)
            first = kept.on_conflict_do_nothing().returning(keepsakes.c.version)
            return (await connection.execute(first)).one_or_none() is not None

    async def spend(self, purse: str, credits_: int, at_most: int, since: datetime, at: datetime) -> bool:
        """Take credits out of a purse, unless more than `at_most` would then be spent after `since`; say if it did.

        Recorded before anything is spent, so that no crash in between can overdraw it.
        """
        spent = sa.select(sa.func.coalesce(sa.func.sum(spending.c.credits), 0))
        spent = spent.where(spending.c.purse == purse, spending.c.at > since)
        async with self._database.writing() as connection:
            await one_at_a_time(connection, f"purse:{purse}")
            if (await connection.execute(spent)).scalar_one() + credits_ > at_most:
                return False
            await connection.execute(spending.insert().values(purse=purse, credits=credits_, at=at))
            await audit.append(
                connection, at=at, actor=audit.SELF, verb="credits.spent", subject=purse, details={"credits": credits_}
            )
            return True
