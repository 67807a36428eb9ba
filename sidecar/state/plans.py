"""Plans and their standing."""

import asyncio
import base64
import zlib
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from sidecar.domain.plan import Plan, PlanStatus, from_text, to_text
from sidecar.errors import PlanInvalid
from sidecar.ports import StoredPlan
from sidecar.state import audit
from sidecar.state.store import Store, one_at_a_time
from sidecar.state.tables import plans

PLANS_AT_MOST = 100
LONG_CHARACTERS = 100_000  # some two hundred rows
PACKED = "zlib:"  # no plan begins like this: its text is JSON


class Plans(Store):
    """What was proposed, and what people said to it."""

    async def save_plan(self, plan: Plan, status: PlanStatus, actor: str) -> None:
        """Store a new plan. Older waiting plans of the same rule become rejected: they were overtaken.

        Raises: ValueError when a plan of this id is stored already.
        """
        # Seconds for a plan of 100,000 rows: before the transaction, which must not idle, and beside the event loop.
        digest = await asyncio.to_thread(lambda: plan.hash)
        row = {
            "id": plan.id,
            "rule": plan.rule,
            "status": status,
            "hash": digest,
            "approver": actor if status is PlanStatus.APPROVED else None,
            "created_at": plan.created_at,
            "body": await asyncio.to_thread(packed, plan),
        }
        async with self._database.writing() as connection:
            await one_at_a_time(connection, f"rule:{plan.rule}")
            if await connection.scalar(sa.select(plans.c.id).where(plans.c.id == plan.id)):
                raise ValueError(f"plan {plan.id} is stored already")
            overtaken = plans.update().where(plans.c.rule == plan.rule, plans.c.status == PlanStatus.WAITING)
            overtaken = overtaken.values(status=PlanStatus.REJECTED)
            rejected = list((await connection.scalars(overtaken.returning(plans.c.id))).all())
            await connection.execute(plans.insert().values(**row))
            await audit.append(
                connection,
                at=plan.created_at,
                actor=actor,
                verb="plan.saved",
                subject=plan.id,
                details={"rule": plan.rule, "status": status, "hash": digest, "overtaken": rejected},
            )

    async def plan(self, plan_id: str) -> StoredPlan | None:
        """Return one plan."""
        async with self._database.reading() as connection:
            found = (await connection.execute(sa.select(plans).where(plans.c.id == plan_id))).one_or_none()
        return None if found is None else await asyncio.to_thread(_restore, found)

    async def plans(self, rule: str | None = None, status: PlanStatus | None = None) -> list[StoredPlan]:
        """Return plans, newest first, at most 100."""
        query = sa.select(plans).order_by(plans.c.created_at.desc(), plans.c.id.desc()).limit(PLANS_AT_MOST)
        if rule is not None:
            query = query.where(plans.c.rule == rule)
        if status is not None:
            query = query.where(plans.c.status == status)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).all()
        return [await asyncio.to_thread(_restore, row) for row in found]

    async def move_plan(self, plan_id: str, before: PlanStatus, after: PlanStatus, actor: str, at: datetime) -> bool:
        """Change a plan's status if it still is `before`; False when somebody was quicker."""
        moved = plans.update().where(plans.c.id == plan_id, plans.c.status == before).values(status=after)
        if after is PlanStatus.APPROVED:
            moved = moved.values(approver=actor)
        async with self._database.writing() as connection:
            if (await connection.execute(moved)).rowcount != 1:
                return False
            await audit.append(
                connection,
                at=at,
                actor=actor,
                verb=f"plan.{after}",
                subject=plan_id,
                details={"before": before},
            )
            return True


def packed(plan: Plan) -> str:
    """Return the plan's text, a long one compressed: 60 MB of it took seconds of a write transaction."""
    text = to_text(plan)
    if len(text) < LONG_CHARACTERS:
        return text
    return PACKED + base64.b64encode(zlib.compress(text.encode(), 1)).decode()


def unpacked(body: str) -> str:
    """Read either back. Raises: PlanInvalid when it is neither."""
    if not body.startswith(PACKED):
        return body
    try:
        return zlib.decompress(base64.b64decode(body.removeprefix(PACKED), validate=True)).decode()
    except (ValueError, zlib.error) as error:
        raise PlanInvalid(f"a stored plan cannot be read: {type(error).__name__}") from error


def _restore(row: sa.Row[Any]) -> StoredPlan:
    return StoredPlan(plan=from_text(unpacked(row.body)), status=PlanStatus(row.status), approver=row.approver)
