"""Read a request's body far enough to know its columns; the JSON itself goes to PostgreSQL as it came."""

import json
from typing import NoReturn

from sidecar.demo.rest.errors import RestError
from sidecar.demo.rest.statements import Payload


def payload(body: bytes, content_type: str, *, columns: tuple[str, ...] | None, for_call: bool) -> Payload:
    """Return the rows of a body. `columns` names what to take from them; else their keys do.

    Raises: RestError with PGRST102.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media not in {"", "application/json"}:
        raise RestError(400, "PGRST102", f"Content-Type not acceptable: {media}")
    if not body and for_call:
        body = b"{}"
    try:
        text = body.decode()
        # Numbers are not converted: only the keys are looked at, and a huge number must not cost anything.
        parsed = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise RestError(400, "PGRST102", "Empty or invalid json") from None
    single = isinstance(parsed, dict)
    if columns is not None:
        return Payload(text=text, single=single, columns=tuple(sorted(set(columns))))
    if single:
        return Payload(text=text, single=True, columns=tuple(sorted(parsed)))
    if not isinstance(parsed, list) or not parsed:
        return Payload(text="[]", single=False, columns=())
    if not all(isinstance(row, dict) and row.keys() == parsed[0].keys() for row in parsed):
        raise RestError(400, "PGRST102", "All object keys must match")
    return Payload(text=text, single=False, columns=tuple(sorted(parsed[0])))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
