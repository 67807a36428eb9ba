"""What memory holds about one user: who vouched for a balance and why, and which runs touched the row."""

import sqlalchemy as sa

from sidecar.domain.run import RowResult, Settled
from sidecar.sights import Attested, Touched
from sidecar.state.store import Store
from sidecar.state.tables import attestations, run_rows, runs


class Biographies(Store):
    """The part of memory that explains a user. Decides nothing."""

    async def attested(self, table: str, key: str) -> list[Attested]:
        """Return every balance that a person vouched for, oldest first."""
        query = sa.select(attestations).where(attestations.c.target == table, attestations.c.key == key)
        async with self._database.reading() as connection:
            found = (await connection.execute(query.order_by(attestations.c.at, attestations.c.id))).all()
        return [Attested(amount=row.amount, reason=row.reason, actor=row.actor, at=row.at) for row in found]

    async def touched(self, key: str) -> list[Touched]:
        """Return what became of one key in every run that planned it, oldest first."""
        query = sa.select(run_rows, runs.c.rule, runs.c.started_at).join(runs, runs.c.id == run_rows.c.run_id)
        query = query.where(run_rows.c.key == key).order_by(runs.c.started_at, runs.c.id)
        async with self._database.reading() as connection:
            return [
                Touched(
                    run_id=row.run_id,
                    rule=row.rule,
                    at=row.touched_at or row.started_at,
                    settled=Settled(result=RowResult(row.result), reason=row.reason, written=row.written),
                    in_flight=row.in_flight,
                )
                for row in await connection.execute(query)
            ]
