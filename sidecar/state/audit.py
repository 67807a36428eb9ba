"""The audit trail: one row for each change, in the change's own transaction, chained by hashes."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.domain.check import JSON
from sidecar.domain.plan import canonical
from sidecar.state.tables import audit

GENESIS = "0" * 64
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
    """Add a row that names `subject`. `details` hold counts, names and statuses, never row values or e-mails."""
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


def row_hash(row: Mapping[str, object]) -> str:
    """Hash every column but `hash` itself, in canonical JSON; the hash before is one of them."""
    return hashlib.sha256(canonical({k: v for k, v in row.items() if k != "hash"}).encode()).hexdigest()
