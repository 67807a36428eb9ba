"""JSON with exact numbers, in both directions."""

import json
from decimal import Decimal
from typing import Any


def exact_json(text: str) -> Any:  # noqa: ANN401  # JSON from outside
    """Read JSON; numbers are int and Decimal, never float. Raises: ValueError, RecursionError, InvalidOperation."""
    return json.loads(text, parse_float=Decimal)


def sent_json(document: object) -> str:
    """Write JSON; a Decimal goes as text: PostgreSQL reads it exactly, and JSON numbers would pass through a float."""
    return json.dumps(document, default=_exact)


def _exact(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)
