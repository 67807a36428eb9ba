"""Undo plans, their approval, and the transaction in which rows are removed again."""

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.plan import PlanStatus, canonical
from sidecar.domain.run import RowResult
from sidecar.domain.undo import Removal, StoredUndo, UndoPlan, UndoRow
from sidecar.errors import LeaseLost
from sidecar.sessions import Role
from sidecar.state import audit
from sidecar.state.freezes import frozen_by
from sidecar.state.leases import fence
from sidecar.state.store import Store, slices
from sidecar.state.tables import quarantine, run_rows, runs, undo_rows, undos

HELD_REASON = "undone"  # a person took the row back: the next look must not put it there again
HELD_SOURCE = "run"


class Undos(Store):
    """What was to be taken back, and what was."""

    async def save_undo(self, plan: UndoPlan, status: PlanStatus, actor: str) -> None:
        """Store an undo plan. Older ones of the same run that wait become rejected."""
        async with self._database.writing() as connection:
            waiting = undos.update().where(undos.c.run_id == plan.run_id, undos.c.status == PlanStatus.WAITING)
            await connection.execute(waiting.values(status=PlanStatus.REJECTED))
            lease = sa.select(runs.c.lease).where(runs.c.id == plan.run_id)
            await connection.execute(
                undos.insert().values(
                    id=plan.id,
                    run_id=plan.run_id,
                    lease=(await connection.execute(lease)).scalar_one(),
                    status=status,
                    hash=plan.hash,
                    approver=actor if status is PlanStatus.APPROVED else None,
                    created_at=plan.created_at,
                    body=_body(plan),
                )
            )
            rows = [
                {"undo_id": plan.id, "key": r.key, "position": n, "written": r.written, "standing": r.standing}
                for n, r in enumerate(plan.rows)
            ]
            for some in slices(rows):
                await connection.execute(undo_rows.insert(), some)
            await audit.append(
                connection,
                at=plan.created_at,
                actor=actor,
                verb="undo.planned",
                subject=plan.id,
                details={"run": plan.run_id, "status": status, "hash": plan.hash, "rows": dict(plan.counts)},
            )

    async def undo(self, undo_id: str) -> StoredUndo | None:
        """Return one undo plan."""
        async with self._database.reading() as connection:
            found = (await connection.execute(sa.select(undos).where(undos.c.id == undo_id))).one_or_none()
            return None if found is None else await _restore(connection, found)

    async def undos(self, run_id: str) -> list[StoredUndo]:
        """Return the undo plans of a run, newest first."""
        query = sa.select(undos).where(undos.c.run_id == run_id).order_by(undos.c.created_at.desc(), undos.c.id.desc())
        async with self._database.reading() as connection:
            return [await _restore(connection, row) for row in (await connection.execute(query)).all()]

    async def move_undo(self, undo_id: str, before: PlanStatus, after: PlanStatus, actor: str, at: datetime) -> bool:
        """Change an undo plan's status if it still is `before`; False when somebody was quicker."""
        moved = undos.update().where(undos.c.id == undo_id, undos.c.status == before).values(status=after)
        if after is PlanStatus.APPROVED:
            moved = moved.values(approver=actor)
        async with self._database.writing() as connection:
            if (await connection.execute(moved)).rowcount != 1:
                return False
            await audit.append(
                connection, at=at, actor=actor, verb=f"undo.{after}", subject=undo_id, details={"before": before}
            )
            return True

    async def undone_since(self, table: str, since: datetime) -> int:
        """Count the rows that undo plans removed from the target table since an instant."""
        query = sa.select(sa.func.count()).select_from(undo_rows).join(undos, undos.c.id == undo_rows.c.undo_id)
        query = query.where(
            undos.c.lease == table, undo_rows.c.touched_at >= since, undo_rows.c.standing == Removal.UNDONE
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one()

    @contextlib.asynccontextmanager
    async def undo_batch(self, undo_id: str, lease: str, epoch: int, now: datetime) -> AsyncIterator["OpenUndo"]:
        """Hold a transaction open in which rows are removed: fence, approval and freeze are read on the way in.

        Raises: LeaseLost, also when the plan is not approved, or not of this lease.
        """
        async with self._database.sharing(Role.FIXER) as connection:
            holder = await fence(connection, lease, epoch)
            query = sa.select(undos.c.run_id, runs.c.rule).join(runs, runs.c.id == undos.c.run_id)
            query = query.where(undos.c.id == undo_id, undos.c.lease == lease, undos.c.status == PlanStatus.APPROVED)
            found = (await connection.execute(query)).one_or_none()
            if found is None:
                raise LeaseLost(f"undo plan {undo_id} is not approved under the lease on {lease}")
            yield OpenUndo(
                frozen=await frozen_by(connection, found.rule),
                transaction=connection,
                undo_id=undo_id,
                run_id=found.run_id,
                rule=found.rule,
                holder=holder,
                now=now,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUndo:
    """A batch of an undo under way. Implements `sidecar.afterwards.UndoBatch`."""

    frozen: str | None
    transaction: AsyncConnection
    undo_id: str
    run_id: str
    rule: str
    holder: str
    now: datetime

    async def settle(self, results: Mapping[str, Removal]) -> None:
        """Record what became of the rows, and keep what was undone from being repaired again until a person says so."""
        settled = undo_rows.update().where(
            undo_rows.c.undo_id == self.undo_id,
            undo_rows.c.key == sa.bindparam("row_key"),
            undo_rows.c.standing == Removal.REMOVABLE,
        )
        settled = settled.values(standing=sa.bindparam("row_standing"), touched_at=self.now)
        for some in slices(list(results.items())):
            rows = [{"row_key": key, "row_standing": standing} for key, standing in some]
            if (await self.transaction.execute(settled, rows)).rowcount != len(rows):
                raise ValueError(f"undo plan {self.undo_id} does not list one of the rows as removable")
        undone = [key for key, standing in results.items() if standing is Removal.UNDONE]
        for part in slices(undone):
            of_run = (run_rows.c.run_id == self.run_id) & run_rows.c.key.in_(part)
            changed = run_rows.update().where(of_run, run_rows.c.result == RowResult.INSERTED)
            if (await self.transaction.execute(changed.values(result=RowResult.UNDONE))).rowcount != len(part):
                raise ValueError(f"run {self.run_id} did not insert one of the rows")
            held = (quarantine.c.rule == self.rule) & (quarantine.c.source == HELD_SOURCE)
            await self.transaction.execute(quarantine.delete().where(held, quarantine.c.key.in_(part)))
            await self.transaction.execute(quarantine.insert(), [self._held(key) for key in part])
        counts = Counter(str(standing) for standing in results.values())
        await audit.append(
            self.transaction,
            at=self.now,
            actor=self.holder,
            verb="undo.settled",
            subject=self.undo_id,
            details={"run": self.run_id, "results": dict(counts)},
        )

    def _held(self, key: str) -> dict[str, object]:
        held = {"rule": self.rule, "source": HELD_SOURCE, "key": key, "reason": HELD_REASON}
        return {**held, "since_at": self.now, "until_at": None, "generation": 0}


def _body(plan: UndoPlan) -> str:
    return canonical(
        {
            "rule": plan.rule,
            "rule_digest": plan.rule_digest,
            "schema_fingerprint": plan.schema_fingerprint,
            "database": plan.database,
            "author": plan.author,
            "expires_at": plan.expires_at,
            "subjects": plan.subjects,
        }
    )


async def _restore(connection: AsyncConnection, row: sa.Row[Any]) -> StoredUndo:
    body = json.loads(row.body)
    query = sa.select(undo_rows).where(undo_rows.c.undo_id == row.id).order_by(undo_rows.c.position)
    plan = UndoPlan(
        id=row.id,
        run_id=row.run_id,
        created_at=row.created_at,
        rows=tuple(
            UndoRow(key=found.key, written=found.written, standing=Removal(found.standing))
            for found in await connection.execute(query)
        ),
        **{**body, "expires_at": datetime.fromisoformat(body["expires_at"])},
    )
    return StoredUndo(plan=plan, status=PlanStatus(row.status), approver=row.approver, whole=plan.hash == row.hash)
