"""Rows of the product, read by the service key: what an answer of the API is compared with."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.checks.stopped import Stopped
from sidecar.checks.tables import path_of, read_profile
from sidecar.checks.way import Way
from sidecar.domain.key_lint import lint
from sidecar.domain.rule import Table
from sidecar.errors import AnswerMalformed, TargetUnreachable
from sidecar.wire import key_headers, open_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads over REST with one key."""

    url: str
    key: str = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)

    async def rows(
        self,
        table: Table,
        where: Mapping[str, str],
        columns: Sequence[str],
        way: Way,
        *,
        order: str | None = None,
        limit: int = 2,
    ) -> list[Mapping[str, Any]]:
        """Return the rows whose columns equal `where`, numbers exact. An empty list is no proof of absence.

        Raises: Stopped `database_unread`.
        """
        params = {"select": ",".join(columns), "limit": str(limit)}
        params |= {column: f"eq.{value}" for column, value in where.items()}
        if order is not None:
            params["order"] = order
        headers = key_headers(self.key.strip())
        try:
            async with open_client(self.url.rstrip("/"), headers=headers, verify=self.tls) as client:
                answer = await way.ask(client, "GET", path_of(table), params=params, headers=read_profile(table))
            found = answer.json()
        except (TargetUnreachable, AnswerMalformed) as error:
            raise Stopped("database_unread", f"{table}: {error}") from error
        if answer.status not in (200, 206) or not isinstance(found, list):
            asked = answer.retry_after_seconds(way.clock.now()) if answer.status in (429, 503) else None
            raise Stopped("database_unread", f"{table}: status {answer.status}", asked)
        if not all(isinstance(row, dict) for row in found):
            raise Stopped("database_unread", f"{table}: an answer that is no list of rows")
        return found


def service_reader(url: str, service_key: str, anon_key: str, tls: ssl.SSLContext, way: Way) -> Reader:
    """Return a reader with the service key. Raises: Stopped `database_unread` for a key that is none."""
    found = lint(service_key=service_key, anon_key=anon_key, supabase_url=url, now=way.clock.now(), expiring_days=0)
    if found.fault is not None:
        raise Stopped("database_unread", f"the service key: {found.fault}")
    return Reader(url=url, key=service_key, tls=tls)
