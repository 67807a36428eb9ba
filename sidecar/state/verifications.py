"""Verifications of runs, made and due, and the transaction in which a raced row's money is put right."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.run import RowResult
from sidecar.domain.verification import AT_ONCE, Verification, VerifyResult
from sidecar.sessions import Role
from sidecar.state import audit
from sidecar.state.freezes import frozen_by
from sidecar.state.leases import fence
from sidecar.state.store import Store
from sidecar.state.tables import run_rows, runs, verifications


class Verifications(Store):
    """What was read again after runs, and what still is to be."""

    async def note_verification(self, verification: Verification, actor: str) -> None:
        """Record what a verification found, with an audit row."""
        same = (verifications.c.run_id == verification.run_id) & (verifications.c.number == verification.number)
        row = _columns(verification)
        async with self._database.writing() as connection:
            if not (await connection.execute(verifications.update().where(same).values(**row))).rowcount:
                await connection.execute(verifications.insert().values(**row))
            await audit.append(
                connection,
                at=verification.done_at or verification.due_at,
                actor=actor,
                verb=f"verification.{verification.result}",
                subject=verification.run_id,
                details={
                    "number": verification.number,
                    "rows": verification.rows,
                    "broken": dict(verification.broken),
                    "corrected": verification.corrected,
                },
            )

    async def verifications(self, run_id: str) -> list[Verification]:
        """Return a run's verifications, made and due, in their order."""
        query = sa.select(verifications).where(verifications.c.run_id == run_id).order_by(verifications.c.number)
        async with self._database.reading() as connection:
            return [_restore(row) for row in await connection.execute(query)]

    async def verifications_due(self, rule: str, now: datetime) -> list[Verification]:
        """Return the verifications of a rule's runs that are due by now, oldest first."""
        query = sa.select(verifications).join(runs, runs.c.id == verifications.c.run_id)
        query = query.where(verifications.c.result == VerifyResult.DUE, verifications.c.due_at <= now)
        query = query.where(runs.c.rule == rule).order_by(verifications.c.due_at, verifications.c.run_id)
        async with self._database.reading() as connection:
            return [_restore(row) for row in await connection.execute(query)]

    @contextlib.asynccontextmanager
    async def correction(self, run_id: str, lease: str, epoch: int, now: datetime) -> AsyncIterator["OpenCorrection"]:
        """Hold a transaction open in which rows of a run are corrected. Raises: LeaseLost."""
        async with self._database.sharing(Role.FIXER) as connection:
            holder = await fence(connection, lease, epoch)
            query = sa.select(runs.c.rule).where(runs.c.id == run_id, runs.c.lease == lease)
            frozen = await frozen_by(connection, (await connection.execute(query)).scalar_one())
            correction = OpenCorrection(frozen=frozen, transaction=connection, run_id=run_id)
            yield correction
            for key, digests in correction.adopted.items():  # the audit last: from here to the commit nobody else can
                await audit.append(
                    connection,
                    at=now,
                    actor=holder,
                    verb="row.corrected",
                    subject=f"{run_id}/{key}",
                    details=dict(digests),
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCorrection:
    """A correction under way. Implements `sidecar.afterwards.Correction`."""

    frozen: str | None
    transaction: AsyncConnection
    run_id: str
    adopted: dict[str, Mapping[str, str]] = field(default_factory=dict)

    async def corrected(self, key: str, before: str, after: str) -> None:
        """Adopt the digest of a row that was corrected; its audit row names both digests and no amount.

        Raises: ValueError when the run did not insert a row with that digest.
        """
        ours = (run_rows.c.run_id == self.run_id) & (run_rows.c.key == key)
        ours &= (run_rows.c.result == RowResult.INSERTED) & (run_rows.c.written == before)
        adopted = run_rows.update().where(ours).values(written=after, reason="corrected")
        if (await self.transaction.execute(adopted)).rowcount != 1:
            raise ValueError(f"run {self.run_id} wrote no row of that key and digest")
        self.adopted[key] = {"before": before, "after": after}


async def become_due(connection: AsyncConnection, run_id: str, instants: Sequence[datetime]) -> None:
    """Note further verifications of a run, in the transaction that ends it."""
    rows = [
        _columns(Verification(run_id=run_id, number=AT_ONCE + place, due_at=due_at))
        for place, due_at in enumerate(sorted(instants), start=1)
    ]
    if rows:
        await connection.execute(verifications.insert(), rows)


def _columns(made: Verification) -> dict[str, object]:
    return {
        "run_id": made.run_id,
        "number": made.number,
        "due_at": made.due_at,
        "result": made.result,
        "done_at": made.done_at,
        "row_count": made.rows,
        "broken": json.dumps(dict(made.broken), sort_keys=True),
        "drift": made.drift,
        "corrected": made.corrected,
    }


def _restore(row: sa.Row[Any]) -> Verification:
    return Verification(
        run_id=row.run_id,
        number=row.number,
        due_at=row.due_at,
        result=VerifyResult(row.result),
        done_at=row.done_at,
        rows=row.row_count,
        broken=json.loads(row.broken),
        drift=row.drift,
        corrected=row.corrected,
    )
