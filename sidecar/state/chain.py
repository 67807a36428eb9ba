"""The audit's rows in their order, as they are stored: whoever verifies them must see what was done to them."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from sidecar.domain.audit import AuditRow
from sidecar.state.columns import EPOCH, MICROSECOND
from sidecar.state.store import AT_ONCE, Store
from sidecar.state.tables import audit

_TEXTS = (audit.c.actor, audit.c.verb, audit.c.object, audit.c.details, audit.c.prev_hash, audit.c.hash)
_AT = sa.type_coerce(audit.c.at, sa.BigInteger).label("at")
_AS_TEXT = sa.select(audit.c.seq, _AT, *_TEXTS)
# SQLite lets a stranger store text that is no UTF-8, and its driver then fails to read the whole page.
_AS_BYTES = sa.select(audit.c.seq, _AT, *(sa.cast(column, sa.LargeBinary).label(column.name) for column in _TEXTS))


class Trail(Store):
    """The audit, read."""

    async def audit_rows(self, after_seq: int | None = None) -> AsyncIterator[AuditRow]:
        """Yield the rows after `after_seq`, or all, ascending. Page by page, so that no long reader is held."""
        while page := await self._audit_page(after_seq):
            for row in page:
                yield _row(row)
            after_seq = page[-1].seq

    async def _audit_page(self, after_seq: int | None) -> Sequence[sa.Row[Any]]:
        async with self._database.reading() as connection:
            query = _AS_BYTES if connection.dialect.name == "sqlite" else _AS_TEXT
            # No lower bound at first: a row that was put in before the first one must be seen.
            rest = query if after_seq is None else query.where(audit.c.seq > after_seq)
            return (await connection.execute(rest.order_by(audit.c.seq).limit(AT_ONCE))).all()


def _row(row: sa.Row[Any]) -> AuditRow:
    return AuditRow(
        seq=row.seq,
        at=_instant(row.at),
        actor=_text(row.actor),
        verb=_text(row.verb),
        subject=_text(row.object),
        details=_text(row.details),
        prev_hash=_text(row.prev_hash),
        hash=_text(row.hash),
    )


def _instant(stored: object) -> datetime | None:
    try:
        return EPOCH + stored * MICROSECOND if isinstance(stored, int) else None
    except OverflowError:
        return None


def _text(stored: object) -> str | None:
    try:
        return stored.decode() if isinstance(stored, bytes) else stored if isinstance(stored, str) else None
    except UnicodeDecodeError:
        return None
