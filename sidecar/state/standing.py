"""What stands until further notice: verdicts of checks, and the digest under which a rule is trusted."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from sidecar.domain.check import CheckState, Verdict
from sidecar.state import audit
from sidecar.state.store import Store, insert
from sidecar.state.tables import checks, trust


class Standing(Store):
    """Checks and rules."""

    async def save_check(self, check: str, state: CheckState) -> None:
        """Remember a check's standing verdict. Leaves no audit row: it happens at every look of every check."""
        values = {
            "verdict": state.verdict,
            "since_at": state.since,
            "pending": state.pending,
            "streak": state.streak,
        }
        async with self._database.writing() as connection:
            saved = insert(connection, checks).values(name=check, **values)
            await connection.execute(saved.on_conflict_do_update(index_elements=["name"], set_=values))

    async def check_states(self) -> Mapping[str, CheckState]:
        """Return the standing verdicts, by check; `last` is None in each."""
        async with self._database.reading() as connection:
            return {
                row.name: CheckState(
                    verdict=Verdict(row.verdict), since=row.since_at, pending=Verdict(row.pending), streak=row.streak
                )
                for row in await connection.execute(sa.select(checks))
            }

    async def trusted(self, rule: str) -> str | None:
        """Return the digest of rule and schema under which a plan of this rule was last verified (or first seen)."""
        async with self._database.reading() as connection:
            digest: str | None = await connection.scalar(sa.select(trust.c.digest).where(trust.c.rule == rule))
            return digest

    async def trust(self, rule: str, digest: str, actor: str, at: datetime) -> None:
        """Adopt a digest of rule and schema."""
        values = {"digest": digest, "actor": actor, "at": at}
        async with self._database.writing() as connection:
            adopted = insert(connection, trust).values(rule=rule, **values)
            await connection.execute(adopted.on_conflict_do_update(index_elements=["rule"], set_=values))
            await audit.append(
                connection, at=at, actor=actor, verb="rule.trusted", subject=rule, details={"digest": digest}
            )
