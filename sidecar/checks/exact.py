"""Numbers that pass through CEL and come out as they went in."""

from decimal import Decimal, InvalidOperation

from sidecar.domain.check import JSON


def for_cel(value: object) -> JSON:
    """Return JSON with exact numbers as CEL can take it.

    An integer beyond 64 bits, or a fraction that no double holds, becomes text: compared as written, or not at all.
    """
    match value:
        case dict():
            return {str(key): for_cel(inner) for key, inner in value.items()}
        case list():
            return [for_cel(inner) for inner in value]
        case bool() | None | str() | float():
            return value
        case int():
            return value if -(2**63) <= value < 2**63 else str(value)
        case Decimal():
            near = float(value)
            return near if Decimal(repr(near)) == value else str(value)
        case _:
            raise TypeError(type(value).__name__)


def exact_number(value: object) -> Decimal | None:
    """Return a value that came out of CEL or of JSON as an exact number, None when it is none."""
    match value:
        case bool():
            return None
        case int() | Decimal():
            found = Decimal(value)
        case float():
            found = Decimal(repr(value))
        case str() if len(value) <= 64:
            try:
                found = Decimal(value)
            except InvalidOperation:
                return None
        case _:
            return None
    return found if found.is_finite() else None
