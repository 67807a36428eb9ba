"""Runs: started at most once for each plan, moved only along allowed edges, fenced by their lease."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.plan import Plan, PlanStatus
from sidecar.domain.run import ACTIVE, TRANSITIONS, Outcome, RowResult, Run, RunStatus
from sidecar.state import audit, bulk
from sidecar.state.leases import fence
from sidecar.state.store import Store, slices
from sidecar.state.tables import plans, run_rows, runs
from sidecar.state.verifications import become_due


class Runs(Store):
    """The life of every run."""

    async def start_run(self, run: Run, plan: Plan, lease: str, keys: Iterable[str]) -> bool:
        """Take the approved plan and store the run with its rows as `planned`, in one transaction under its epoch.

        Returns False, and stores nothing, when the plan is not `approved` any more, or is not the plan that was
        approved. Raises: LeaseLost; ValueError for a key that the plan does not have.
        """
        rows = _planned(plan, keys)
        digest = await asyncio.to_thread(lambda: plan.hash)  # seconds for 100,000 rows
        approved = (plans.c.id == plan.id) & (plans.c.status == PlanStatus.APPROVED) & (plans.c.hash == digest)
        async with self._database.writing() as connection:
            await fence(connection, lease, run.epoch)
            taken = plans.update().where(approved).values(status=PlanStatus.APPLIED)
            if (await connection.execute(taken)).rowcount != 1:
                return False
            await connection.execute(runs.insert().values(**_columns(run), lease=lease))
            await bulk.add(connection, run_rows.insert(), rows, {**_PLANNED, "run_id": run.id})
            await audit.append(
                connection,
                at=run.started_at,
                actor=run.actor,
                verb="run.started",
                subject=run.id,
                details={"rule": run.rule, "plan": plan.id, "hash": digest, "epoch": run.epoch, "rows": len(rows)},
            )
            return True

    async def adopt_run(self, run_id: str, lease: str, epoch: int, now: datetime) -> bool:
        """Move an interrupted run to `applying` under a new epoch; False when it is not interrupted any more.

        Raises: LeaseLost.
        """
        idle = (runs.c.id == run_id) & (runs.c.lease == lease) & (runs.c.status == RunStatus.INTERRUPTED)
        adopted = runs.update().where(idle).values(status=RunStatus.APPLYING, epoch=epoch, heartbeat_at=now, detail="")
        async with self._database.writing() as connection:
            holder = await fence(connection, lease, epoch)
            if (await connection.execute(adopted)).rowcount != 1:
                return False
            await audit.append(
                connection, at=now, actor=holder, verb="run.adopted", subject=run_id, details={"epoch": epoch}
            )
            return True

    async def move_run(
        self,
        run_id: str,
        before: RunStatus,
        after: RunStatus,
        now: datetime,
        *,
        outcome: Outcome | None = None,
        detail: str = "",
        verify_at: Sequence[datetime] = (),
    ) -> bool:
        """Change a run's status along an allowed edge if it still is `before`; False when somebody was quicker.

        Raises: ValueError for an edge that `TRANSITIONS` does not have, and for an end without an outcome.
        """
        if after not in TRANSITIONS[before]:
            raise ValueError(f"a run cannot go from {before} to {after}")
        finished = after is RunStatus.FINISHED
        if finished != (outcome is not None):
            raise ValueError(f"a run has an outcome exactly when it is finished, not {outcome} when {after}")
        moved = runs.update().where(runs.c.id == run_id, runs.c.status == before)
        moved = moved.values(status=after, heartbeat_at=now, outcome=outcome, detail=detail)
        if finished:
            moved = moved.values(finished_at=now)
        async with self._database.writing() as connection:
            if (await connection.execute(moved)).rowcount != 1:
                return False
            await become_due(connection, run_id, verify_at)
            await audit.append(
                connection,
                at=now,
                actor=audit.SELF,
                verb=f"run.{after}",
                subject=run_id,
                details={"before": before, "outcome": outcome},
            )
            return True

    async def interrupt_silent(self, lease: str, epoch: int, now: datetime) -> list[str]:
        """Mark active runs whose epoch is older than ours as interrupted; return their ids. Only a lease holder asks.

        Raises: LeaseLost.
        """
        silent = (runs.c.lease == lease) & runs.c.status.in_(sorted(ACTIVE)) & (runs.c.epoch < epoch)
        marked = runs.update().where(silent).values(status=RunStatus.INTERRUPTED).returning(runs.c.id)
        async with self._database.writing() as connection:
            holder = await fence(connection, lease, epoch)
            found = sorted((await connection.scalars(marked)).all())
            for run_id in found:
                await audit.append(
                    connection, at=now, actor=holder, verb="run.interrupted", subject=run_id, details={"epoch": epoch}
                )
            return found

    async def run(self, run_id: str) -> Run | None:
        """Return one run with its results counted."""
        found = await self._select(sa.select(runs).where(runs.c.id == run_id))
        return found[0] if found else None

    async def runs(self, rule: str | None = None, *, unfinished: bool = False, limit: int = 50) -> list[Run]:
        """Return runs, newest first."""
        query = sa.select(runs).order_by(runs.c.started_at.desc(), runs.c.id.desc()).limit(limit)
        if rule is not None:
            query = query.where(runs.c.rule == rule)
        if unfinished:
            query = query.where(runs.c.status != RunStatus.FINISHED)
        return await self._select(query)

    async def _select(self, query: sa.Select[Any]) -> list[Run]:
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).all()
            counted = await _count(connection, [row.id for row in found])
        return [_restore(row, counted[row.id]) for row in found]


_PLANNED: Mapping[str, object] = {"result": RowResult.PLANNED, "reason": "", "written": "", "in_flight": False}


def _planned(plan: Plan, keys: Iterable[str]) -> list[dict[str, object]]:
    places = {row.key: place for place, row in enumerate(plan.rows)}
    try:
        return [{"key": key, "position": places[key]} for key in keys]
    except KeyError as error:
        raise ValueError(f"plan {plan.id} has no row for one of the keys") from error


def _columns(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "rule": run.rule,
        "plan_id": run.plan_id,
        "status": run.status,
        "outcome": run.outcome,
        "actor": run.actor,
        "epoch": run.epoch,
        "started_at": run.started_at,
        "heartbeat_at": run.heartbeat_at,
        "finished_at": run.finished_at,
        "detail": run.detail,
    }


async def _count(connection: AsyncConnection, run_ids: Sequence[str]) -> Mapping[str, dict[RowResult, int]]:
    counted: dict[str, dict[RowResult, int]] = defaultdict(dict)
    query = sa.select(run_rows.c.run_id, run_rows.c.result, sa.func.count())
    for some in slices(run_ids):
        grouped = query.where(run_rows.c.run_id.in_(some)).group_by(run_rows.c.run_id, run_rows.c.result)
        for run_id, result, number in await connection.execute(grouped):
            counted[run_id][RowResult(result)] = number
    return counted


def _restore(row: sa.Row[Any], results: Mapping[RowResult, int]) -> Run:
    return Run(
        id=row.id,
        rule=row.rule,
        plan_id=row.plan_id,
        status=RunStatus(row.status),
        outcome=None if row.outcome is None else Outcome(row.outcome),
        actor=row.actor,
        epoch=row.epoch,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
        detail=row.detail,
        lease=row.lease,
        results=results,
    )
