"""Reading and writing tables through PostgREST, with our errors and nothing believed that was not said."""

import contextlib
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from sidecar.data.exact import sent_json
from sidecar.domain.rule import Table, Value
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    RateLimited,
    SchemaMismatch,
    SidecarError,
    TransientError,
    WriteRejected,
)
from sidecar.wire import Answer, exchange

PAGE_ROWS = 1000  # PostgREST's usual cap on one answer (db-max-rows); a smaller cap only means more pages
FIRST_PAGE_ROWS = 10  # so that even a small table takes a second page, and a broken one cannot hide
READ_ONLY = "25006"  # a standby, or a project without room on its disk: it will pass
SQLSTATE = re.compile(r"[0-9A-Z]{5}")
# Connection, resources, transaction rollback, operator: these say nothing about the rows. 55P03: a lock was not had.
PASSING = ("08", "40", "53", "57", READ_ONLY, "55P03")
MALFORMED_REQUEST = ("PGRST1", "PGRST2")  # PGRST0 is the connection, PGRST3 the key
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
        content = None if document is None else sent_json(document).encode()
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

    async def refuses_text(self, table: Table, column: str) -> bool:
        """Say whether a column takes no text. Source: SQLSTATE 22P02, invalid text representation."""
        answer = await self.call(
            "GET",
            f"/rest/v1/{table.name}",
            params={"select": column, column: "eq.text", "limit": "1"},
            headers=profile("Accept", table),
        )
        if answer.status == 400 and error_of(answer)[0] == "22P02":
            return True
        _row_list(answer)
        return False

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

    async def whole(self, table: Table, *, columns: Sequence[str], key: str, filters: Mapping[str, str]) -> list[Row]:
        """Read a few rows whole, whatever the server's cap. Raises: AnswerMalformed when pages hold fewer than counted.

        Shape: `key` is unique. More than counted is well: rows come while we read.
        """
        counted = await self.count(table, filters, key)
        found: list[Row] = []
        if counted:
            pages = self.stream(table, columns=columns, key=key, tie=key, filters=filters)
            async with contextlib.aclosing(pages):
                async for page in pages:
                    found += page
        if len(found) < counted:
            raise AnswerMalformed(f"{table}: pages add up to {len(found)} of {counted} rows")
        return found

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
        if answer.status not in (200, 201):
            raise _refused_write(table, answer)
        return _row_list(answer)


def _refused_write(table: Table, answer: Answer) -> SidecarError:
    """Tell a refusal of the database, after which nothing was written, from an answer of whoever stands before it.

    The status does not tell: a trigger may raise any SQLSTATE, and PostgREST makes 400, 403, 404, 422 or 500 of it.
    """
    code, message = error_of(answer)
    if code in NO_SUCH:  # PostgREST names tables and columns; a trigger's own words may hold a row
        return SchemaMismatch(f"{table}: {message if code.startswith('PGRST') else code}")
    of_database = SQLSTATE.fullmatch(code) is not None and not code.startswith(PASSING)
    of_key = answer.status == 401 and not code.startswith("PT")  # PTxyz: a trigger that chose its status itself
    if (of_database and not of_key) or code.startswith(MALFORMED_REQUEST):
        return WriteRejected(f"{table}: refused with {code}", code, answer.status)
    if of_database and of_key:
        return AccessDenied(f"status {answer.status} {code}")
    return refusal_of(answer)


def profile(direction: str, table: Table) -> dict[str, str]:
    """Name the schema where it is not the API's first one. Source: PostgREST, `Accept-Profile`."""
    return {} if table.schema == "public" else {f"{direction}-Profile": table.schema}


def _beyond(cursor: Cursor | None, key: str, tie: str, filters: Mapping[str, str]) -> dict[str, str]:
    """Return the filters of the next page.

    The plain `gte` beside the `or` looks redundant; it is what lets PostgreSQL start its index scan at the cursor.
    """
    if cursor is None:
        return dict(filters)
    if tie == key and key in filters:
        return {**filters, "or": f"({key}.gt.{cursor.key})"}
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
    if answer.status >= 500 or code == READ_ONLY:
        return TransientError(said)
    if code in NO_SUCH:
        return SchemaMismatch(message)
    if answer.status in (401, 402, 403):
        return AccessDenied(f"{said} {message}".strip())
    return AnswerMalformed(said if code else f"{said}: not a Supabase project's answer")


def quoted(value: str) -> str:
    """Quote one value of an `in.(…)` list. Source: PostgREST, reserved characters."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
