"""How often a rule restored one and the same user, and who was told that it may do so again."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.run import RowResult
from sidecar.state.store import Store
from sidecar.state.tables import pardons, run_rows, runs


class Attempts(Store):
    """Counted from the rows of runs themselves: a second count could only come to differ."""

    async def restored_often(self, rule: str, times: int, since: datetime) -> frozenset[str]:
        """Return the keys that the rule restored at least `times` since an instant, and since their last release."""
        restored = run_rows.c.result.in_([RowResult.INSERTED, RowResult.UNDETERMINED])
        query = (
            sa.select(run_rows.c.key)
            .join(runs, runs.c.id == run_rows.c.run_id)
            .outerjoin(pardons, (pardons.c.rule == runs.c.rule) & (pardons.c.key == run_rows.c.key))
            .where(runs.c.rule == rule, run_rows.c.touched_at >= since, restored)
            .where(pardons.c.at.is_(None) | (run_rows.c.touched_at > pardons.c.at))
            .group_by(run_rows.c.key)
            .having(sa.func.count() >= times)
        )
        async with self._database.reading() as connection:
            return frozenset((await connection.scalars(query)).all())


async def pardon(connection: AsyncConnection, rule: str, key: str, at: datetime) -> None:
    """Let earlier restorations of a key count no more: a person released it."""
    of_key = (pardons.c.rule == rule) & (pardons.c.key == key)
    if not (await connection.execute(pardons.update().where(of_key).values(at=at))).rowcount:
        await connection.execute(pardons.insert().values(rule=rule, key=key, at=at))
