"""Compare what was written with what the database holds, by value and kind."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from sidecar.domain.rule import Value


def differing(written: Mapping[str, Value], found: Mapping[str, Value]) -> list[str]:
    """Return the columns whose stored value is not the written one."""
    return sorted(column for column, value in written.items() if not same(value, found.get(column)))


def same(written: Value, found: Value) -> bool:
    """Compare by value: 12 equals Decimal('12.00'), True does not equal 1, and instants compare as such."""
    numbers = all(isinstance(v, int | Decimal) and not isinstance(v, bool) for v in (written, found))
    if written == found:
        return numbers or type(written) is type(found)
    return isinstance(written, str) and isinstance(found, str) and _same_instant(written, found)


def _same_instant(written: str, found: str) -> bool:
    instant = _instant(written)
    return instant is not None and instant == _instant(found)


def _instant(text: str) -> datetime | None:
    """Read an instant; PostgreSQL writes the same one in another way than Supabase Auth."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
