"""Read the audit trail as somebody without Sidecar would: by plain SQL and the documented hash."""

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.state.in_postgres import rows_of

COLUMNS = ("seq", "at", "actor", "verb", "object", "details", "prev_hash", "hash")


def trail(path: Path) -> list[dict[str, object]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM audit ORDER BY seq").fetchall()  # noqa: S608  # constants
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


async def trail_in_postgres(url: str) -> list[dict[str, object]]:
    return await rows_of(url, f"SELECT {', '.join(COLUMNS)} FROM sidecar.audit ORDER BY seq")  # noqa: S608  # constants


def first_broken(rows: list[dict[str, object]]) -> int | None:
    """Return the number of the first row that does not fit, counting from 1."""
    before = "0" * 64
    for number, row in enumerate(rows, start=1):
        hashed = {column: row[column] for column in COLUMNS if column != "hash"}
        assert isinstance(row["at"], int)
        hashed["at"] = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["at"])).isoformat()
        text = json.dumps(hashed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if (row["seq"], row["prev_hash"], row["hash"]) != (number, before, digest):
            return number
        before = digest
    return None
