"""Statuses and headers of answers that hold rows."""

import json

from sidecar.demo.rest.errors import RestError
from sidecar.demo.rest.session import Row
from sidecar.demo.rest.statements import Shape


def content_range(offset: int, rows: int, total: int | None) -> str:
    """Say which rows of how many an answer holds; a star stands for none, and for an unknown total."""
    places = f"{offset}-{offset + rows - 1}" if rows and total != 0 else "*"
    return f"{places}/{'*' if total is None else total}"


def status_of_page(offset: int, rows: int, total: int | None) -> int:
    """Return 206 for a part of a known total, and 416 for a beginning behind its end."""
    if total is None:
        return 200
    if offset > total:
        return 416
    return 206 if rows < total else 200


def behind_the_end(offset: int, total: int | None, headers: dict[str, str]) -> RestError:
    """Return the refusal of a page that begins behind the last row."""
    details = f"An offset of {offset} was requested, but there are only {total or 0} rows."
    return RestError(416, "PGRST103", "Requested range not satisfiable", details=details, headers=headers)


def check_single(row: Row, shape: Shape) -> None:
    """Refuse anything but one row where one object was asked for. Raises: RestError with PGRST116."""
    if shape.kind == "object" and row[1] != 1:
        message = "Cannot coerce the result to a single JSON object"
        raise RestError(406, "PGRST116", message, details=f"The result contains {row[1]} rows")


def check_affected(row: Row, at_most: int | None) -> None:
    """Refuse a change of more rows than allowed. Raises: RestError with PGRST124."""
    if at_most is not None and row[1] > at_most:
        message = "Query result exceeds max-affected preference constraint"
        raise RestError(400, "PGRST124", message, details=f"The query affects {row[1]} rows")


def planned_rows(explained: Row | None) -> int:
    """Return how many rows PostgreSQL expects, out of an explained statement."""
    plan = explained[0] if explained else "[]"
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])
