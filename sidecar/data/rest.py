"""Reading and writing tables through PostgREST, with our errors and nothing believed that was not said."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from sidecar.domain.rule import Table, Value
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    PermanentError,
    RateLimited,
    SchemaMismatch,
    SidecarError,
    TransientError,
    WriteRejected,
)
from sidecar.wire import Answer, exchange

PAGE_ROWS = 1000  # PostgREST's usual cap on one answer (db-max-rows); a smaller cap only means more pages
FIRST_PAGE_ROWS = 10  # so that even a small table takes a second page, and a broken one cannot hide
NO_SUCH = frozenset({"PGRST205", "PGRST204", "PGRST202", "PGRST106", "42P01", "42703", "42883"})

Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a keyset stream stands: the last row's key and the column that tells its rows apart."""

    key: str
    tie: str


class Rest:
    """A REST root and the one client that talks to it. The client belongs to the caller."""

    def __init__(self, client: httpx.AsyncClient, *, timeout_seconds: float) -> None:
        """Use a client whose base URL is the project and whose headers hold the key."""
        self._client = client
        self._timeout_seconds = timeout_seconds

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        document: object = None,
    ) -> Answer:
        """Send one request and return the answer, whatever its status."""
        content = None if document is None else json.dumps(document, default=_exact).encode()
        sent = {**(headers or {}), **({"Content-Type": "application/json"} if content else {})}
        return await exchange(
            self._client,
            method,
            path,
            timeout_seconds=self._timeout_seconds,
            params=params,
            headers=sent,
            content=content,
        )

    async def rows(self, table: Table, params: Mapping[str, str]) -> tuple[list[Row], Answer]:
        """Read one page of a table. Raises: see `refusal_of`; AnswerMalformed when it is not a list of objects."""
        answer = await self.call("GET", f"/rest/v1/{table.name}", params=params, headers=profile("Accept", table))
        return _row_list(answer), answer

    async def count(self, table: Table, params: Mapping[str, str], column: str) -> int:
        """Count rows exactly. Source: `Prefer: count=exact`, the total of `Content-Range`."""
        answer = await self.call(
            "GET",
            f"/rest/v1/{table.name}",
            params={**params, "select": column, "limit": "1"},
            headers={**profile("Accept", table), "Prefer": "count=exact"},
        )
        _row_list(answer)
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        if not total.isdigit():
            raise AnswerMalformed(f"count of {table}: no total in Content-Range")
        return int(total)

    async def stream(
        self, table: Table, *, columns: Sequence[str], key: str, tie: str, filters: Mapping[str, str]
    ) -> AsyncGenerator[list[Row]]:
        """Yield pages in the order of (key, tie), in constant memory, until an empty page.

        A short page is no end: the server's own cap, not ours, may have cut it. `tie` equals a unique `key`.
        """
        cursor: Cursor | None = None
        limit = FIRST_PAGE_ROWS
        while True:
            order = f"{key}.asc" if tie == key else f"{key}.asc,{tie}.asc"
            params = {"select": ",".join(columns), "order": order, "limit": str(limit)}
            page, _ = await self.rows(table, {**params, **_beyond(cursor, key, tie, filters)})
            if not page:
                return
            yield page
            cursor = Cursor(key=str(page[-1][key]), tie=str(page[-1][tie]))
            limit = PAGE_ROWS

    async def insert(self, table: Table, *, key: str, columns: Sequence[str], rows: Sequence[Row]) -> list[Row]:
        """Insert rows whose key does not exist; return the rows that came to be.

        The conflict target is named, so that only an existing key is passed over: any other conflict is an error.
        Raises: WriteRejected when the database refused, and so wrote nothing (one statement is one transaction).
        """
        answer = await self.call(
            "POST",
            f"/rest/v1/{table.name}",
            params={"on_conflict": key, "columns": ",".join(columns), "select": ",".join(columns)},
            headers={**profile("Content", table), "Prefer": "resolution=ignore-duplicates,return=representation"},
            document=[dict(row) for row in rows],
        )
        if answer.status in (400, 409):
            code, message = error_of(answer)
            if code in NO_SUCH:
                raise SchemaMismatch(f"{table}: {message}")
            raise WriteRejected(
                f"{table}: refused with {code or answer.status}", code or str(answer.status), answer.status
            )
        return _row_list(answer)


def profile(direction: str, table: Table) -> dict[str, str]:
    """Name the schema where it is not the API's first one. Source: PostgREST, `Accept-Profile`."""
    return {} if table.schema == "public" else {f"{direction}-Profile": table.schema}


def _beyond(cursor: Cursor | None, key: str, tie: str, filters: Mapping[str, str]) -> dict[str, str]:
    """Return the filters of the next page.

    The plain `gte` beside the `or` looks redundant; it is what lets PostgreSQL start its index scan at the cursor.
    """
    if cursor is None:
        return dict(filters)
    if tie == key:
        return {**filters, key: f"gt.{cursor.key}"}
    after = f"({key}.gt.{cursor.key},and({key}.eq.{cursor.key},{tie}.gt.{cursor.tie}))"
    if key in filters:  # already bounded to a list of keys
        return {**filters, "or": after}
    return {**filters, key: f"gte.{cursor.key}", "or": after}


def _row_list(answer: Answer) -> list[Row]:
    if answer.status not in (200, 201, 206):
        raise refusal_of(answer)
    found = answer.json()
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise AnswerMalformed(f"status {answer.status} with JSON that is not a list of rows")
    return found


def error_of(answer: Answer) -> tuple[str, str]:
    """Return (code, message) of an error body, both empty when it has none. Messages may name tables, never values."""
    try:
        found: Any = answer.json()
    except AnswerMalformed:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    return str(found.get("code") or found.get("error_code") or ""), str(found.get("message") or found.get("msg") or "")


def refusal_of(answer: Answer) -> SidecarError:
    """Translate an answer that is no success into our error. Most specific first."""
    code, message = error_of(answer)
    said = f"status {answer.status} {code}".strip()
    wait_seconds = answer.retry_after_seconds(answer.server_time or datetime.now(UTC))
    if answer.status == 429 or (answer.status == 503 and wait_seconds is not None):
        return RateLimited(said, wait_seconds)
    if answer.status >= 500:
        return TransientError(said)
    if code in NO_SUCH:
        return SchemaMismatch(message)
    if answer.status in (401, 402, 403):
        return AccessDenied(f"{said} {message}".strip())
    if answer.status == 404 and not code:
        return AnswerMalformed(f"{said}: not a Supabase project's answer")
    return PermanentError(said)


def quoted(value: str) -> str:
    """Quote one value of an `in.(…)` list. Source: PostgREST, reserved characters."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _exact(value: object) -> str:
    """Send a Decimal as text: PostgreSQL reads it exactly, and JSON numbers would pass through a float."""
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)
