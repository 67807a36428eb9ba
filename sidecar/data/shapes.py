"""From rows in JSON to values of the domain, in the same way whichever path they came by."""

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sidecar.data.premises import instant, require_zone
from sidecar.data.rest import Row
from sidecar.domain.credits import LedgerRow, OrderValue
from sidecar.domain.look import Catalogue, Column
from sidecar.domain.plan import canonical
from sidecar.domain.rule import Amount, LedgerSource, Value
from sidecar.errors import AnswerMalformed


def amount_of(value: Value) -> Amount:
    """Return a balance or an amount. Raises: AnswerMalformed for what is no exact number."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise AnswerMalformed(f"a balance that is not an exact number: {type(value).__name__}")
    return value


def ledger_row_of(source: LedgerSource, row: Row) -> LedgerRow:
    """Read one movement. One that cannot be placed in time has no order and no numbers, so that it proves nothing."""
    try:
        created_at = None if source.created is None else _created_at(source, row[source.created])
        if any(row[name] is None for name in source.order) or (source.created is not None and created_at is None):
            return LedgerRow(order=(), created_at=None, amount=None, balance_after=None)
        order = tuple(
            created_at if name == source.created and created_at else _order_value(row[name]) for name in source.order
        )
        amount, balance = (None if row[n] is None else amount_of(row[n]) for n in (source.amount, source.balance))
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerMalformed(f"{source.table}: {type(error).__name__} in a row") from error
    return LedgerRow(order=order, created_at=created_at, amount=amount, balance_after=balance)


def _created_at(source: LedgerSource, value: Value) -> datetime | None:
    found = instant(value)
    require_zone(source.table, source.created or "", found)
    try:
        return None if found is None else found.astimezone(UTC)
    except OverflowError:  # the last hours before year 1 or after year 9999
        return None


def _order_value(value: Value) -> OrderValue:
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


def catalogue_of(document: Any) -> Catalogue:  # noqa: ANN401  # JSON from outside
    """Read what the fixture's `sidecar_catalogue` answers. Raises: AnswerMalformed."""
    try:
        columns = tuple(
            Column(
                name=c["name"],
                type=c["type"],
                nullable=c["nullable"],
                default=c["default"],
                generated=c.get("generated", False),
            )
            for c in document["columns"]
        )
        shape = {name: document[name] for name in ("columns", "triggers", "foreign_keys", "uniques")}
        return Catalogue(
            visible=True,
            columns=columns,
            triggers=tuple(document["triggers"]),
            foreign_keys=tuple(document["foreign_keys"]),
            uniques=tuple(tuple(unique) for unique in document["uniques"]),
            ledger_writers=tuple(document["ledger_writers"]),
            ledger_cascades=document.get("ledger_cascades"),
            database=document["database"],
            fingerprint=hashlib.sha256(canonical(shape).encode()).hexdigest()[:32],
        )
    except (KeyError, TypeError) as error:
        raise AnswerMalformed(f"sidecar_catalogue: {type(error).__name__}; install the fixture again") from error
