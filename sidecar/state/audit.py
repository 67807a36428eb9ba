"""The audit trail: one row for each change, in the change's own transaction, chained by hashes."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.audit import GENESIS, row_hash
from sidecar.domain.check import JSON
from sidecar.domain.plan import canonical
from sidecar.state.store import one_at_a_time
from sidecar.state.tables import audit

SELF = "sidecar"  # the actor where no person and no lease holder acts


async def append(
    connection: AsyncConnection,
    *,
    at: datetime,
    actor: str,
    verb: str,
    subject: str,
    details: Mapping[str, JSON] | None = None,
) -> None:
    """Add a row that names `subject`. `details` hold counts, names and statuses, never row values or e-mails.

    Comes last in a transaction: from here to its end nobody else appends.
    """
    await one_at_a_time(connection, "audit")
    newest = sa.select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
    last = (await connection.execute(newest)).one_or_none()
    row = {
        "seq": 1 if last is None else last.seq + 1,
        "at": at,
        "actor": actor,
        "verb": verb,
        "object": subject,
        "details": canonical(dict(details or {})),
        "prev_hash": GENESIS if last is None else last.hash,
    }
    await connection.execute(audit.insert().values(**row, hash=row_hash(row)))
