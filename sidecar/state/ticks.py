"""Ticks of rules, so that of any number of replicas one looks at a time."""

from datetime import datetime

import sqlalchemy as sa

from sidecar.state.store import Store, insert
from sidecar.state.tables import ticks

EARLY = 0.9  # of the interval: ticks carry jitter, and who looked last should not lose its turn to it


class Ticks(Store):
    """Whose turn it is."""

    async def claim_tick(self, rule: str, every_seconds: float, holder: str, now: datetime) -> bool:
        """Take the rule's tick; True for exactly one caller in an interval. Leaves no audit row.

        The last taker may come again after 0.9 of the interval. A tick that lies further ahead than one interval was
        taken before the clock was set back, and bars nobody.
        """
        every = round(every_seconds * 1_000_000)
        clock = self._database.clock(now)
        due_after = sa.case((ticks.c.holder == holder, round(every * EARLY)), else_=every)
        is_due = (ticks.c.at <= clock - due_after) | (ticks.c.at > clock + every)
        async with self._database.writing() as connection:
            claimed = insert(connection, ticks).values(rule=rule, holder=holder, at=clock)
            claimed = claimed.on_conflict_do_update(
                index_elements=["rule"], set_={"holder": holder, "at": clock}, where=is_due
            )
            taken = await connection.scalar(claimed.returning(ticks.c.rule))
            return taken is not None
