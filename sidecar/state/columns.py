"""Column types that lose nothing: money exact, instants aware."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from sidecar.domain.rule import Amount

# Text in the order of its UTF-8 bytes, in which SQLite keeps all text and streams of keys are merged.
Bytewise = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """Return an instant as it is stored. Raises: ValueError for one without a time zone."""
    if instant.tzinfo is None:
        message = "an instant without a time zone"
        raise ValueError(message)
    return (instant - EPOCH) // MICROSECOND


class Instant(sa.TypeDecorator[datetime]):
    """Aware UTC, stored as whole microseconds since 1970 (SQLAlchemy's own type returns naive values on SQLite)."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> int | None:
        """Refuse naive instants: nobody could say later which hour they meant."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, _dialect: sa.Dialect) -> datetime | None:
        """Return aware UTC."""
        return None if value is None else EPOCH + value * MICROSECOND


class Exact(sa.TypeDecorator[Amount]):
    """Money as text. An int comes back as that int, a Decimal as that Decimal with every digit it had."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Amount | None, _dialect: sa.Dialect) -> str | None:
        """Refuse what is not an exact, finite number."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            message = f"money is int or Decimal, not {type(value).__name__}"
            raise TypeError(message)
        if isinstance(value, int):
            return str(value)
        if not value.is_finite():
            message = "money is a finite number"
            raise ValueError(message)
        text = str(value)
        # A Decimal without a fraction keeps a bare point, which tells it from an int and which Decimal reads back.
        return text if "." in text or "E" in text else text + "."

    def process_result_value(self, value: str | None, _dialect: sa.Dialect) -> Amount | None:
        """Return what was stored, type included."""
        if value is None:
            return None
        return Decimal(value) if "." in value or "E" in value else int(value)
