"""Signatures counted by Loki: only numbers come here, and an empty answer is no proof of quiet."""

import json
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sidecar.checks.exact import exact_number
from sidecar.checks.signatures import Signature
from sidecar.checks.stopped import Stopped
from sidecar.checks.way import Way
from sidecar.errors import AnswerMalformed, TargetUnreachable
from sidecar.wire import open_client

SELECTOR = re.compile(r'\{ *[A-Za-z_]\w* *(=|!=|=~|!~) *("[^"{}]*"|`[^`{}]*`)[^{}]*\}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Loki:
    """Where to ask, which streams, and with which headers."""

    url: str
    selector: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    async def counts(
        self, signatures: Sequence[Signature], within_seconds: int, tls: ssl.SSLContext, way: Way
    ) -> dict[str, int]:
        """Return how often each signature was seen, by its key.

        Raises: Stopped `loki_unread`, also where the streams hold no line at all: then nothing proves that they exist.
        """
        if not await self._count("", within_seconds, tls, way):
            raise Stopped("loki_unread", "the selector finds no line at all within the window")
        return {
            signature.key: await self._count(_filters(signature), within_seconds, tls, way) for signature in signatures
        }

    async def _count(self, filters: str, within_seconds: int, tls: ssl.SSLContext, way: Way) -> int:
        query = f"sum(count_over_time({self.selector}{filters} [{within_seconds}s]))"
        try:
            async with open_client(self.url.rstrip("/"), headers=self.headers, verify=tls) as client:
                answer = await way.ask(client, "GET", "/loki/api/v1/query", params={"query": query})
            found = answer.json() if answer.status == 200 else None
        except (TargetUnreachable, AnswerMalformed) as error:
            raise Stopped("loki_unread", str(error)) from error
        try:
            number = _number(found)
        except (LookupError, TypeError):
            number = None
        if number is None:
            raise Stopped("loki_unread", f"status {answer.status} without a number")
        return int(number)


def _number(found: Any) -> Decimal | None:  # noqa: ANN401  # JSON from outside
    """Read the one number of a vector; a sum over nothing has none, and is 0."""
    if found["status"] != "success":
        return None
    result = found["data"]["result"]
    return exact_number(result[0]["value"][1]) if result else Decimal(0)


def _filters(signature: Signature) -> str:
    contains = f" |= {_quoted(signature.contains.decode())}" if signature.contains else ""
    return contains + (f" |~ {_quoted(signature.pattern)}" if signature.pattern else "")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
