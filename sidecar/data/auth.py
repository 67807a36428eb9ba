"""Subjects as Supabase Auth knows them, read with exact statuses."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from sidecar.data.rest import Rest, error_of, refusal_of
from sidecar.domain.look import Subject
from sidecar.errors import AnswerMalformed, SidecarError
from sidecar.wire import Answer

READS_AT_ONCE = 8


class Missing(Enum):
    """Why there is no subject: no such user, or one that Supabase Auth cannot load."""

    GONE = "gone"
    UNREADABLE = "unreadable"


async def count_subjects(rest: Rest) -> tuple[int, datetime]:
    """Return how many users Supabase Auth counts, and the server's time. A denominator and a floor, never a proof."""
    answer = await rest.call("GET", "/auth/v1/admin/users", params={"page": "1", "per_page": "1"})
    if answer.status != 200:
        raise refusal_of(answer)
    total = answer.headers.get("x-total-count", "")
    if not total.isdigit() or answer.server_time is None:
        raise AnswerMalformed("admin users: X-Total-Count or Date is missing")
    return int(total), answer.server_time


async def read_subjects(rest: Rest, keys: Sequence[str], now: datetime) -> Mapping[str, Subject | Missing]:
    """Read each user by id. A user counts as unreadable only while Supabase Auth can still count its users."""
    found: dict[str, Subject | Missing] = {}
    waiting = iter(keys)

    async def worker() -> None:
        for key in waiting:
            found[key] = await _read_subject(rest, key, now)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(READS_AT_ONCE, len(keys))):
                group.create_task(worker(), name="read subjects")
    except* SidecarError as failures:
        raise failures.exceptions[0] from None  # the first says why; the rest were cancelled or say the same
    if Missing.UNREADABLE in found.values():
        await count_subjects(rest)
    return found


async def _read_subject(rest: Rest, key: str, now: datetime) -> Subject | Missing:
    path = f"/auth/v1/admin/users/{UUID(key)}"
    answer = await rest.call("GET", path)
    if _fails_at_user(answer):
        answer = await rest.call("GET", path)
    if _fails_at_user(answer):
        return Missing.UNREADABLE
    if answer.status == 404:
        document = answer.json()
        if isinstance(document, dict) and document.get("error_code", document.get("code")) == "user_not_found":
            return Missing.GONE
        raise AnswerMalformed("admin user: 404 that is not Supabase Auth's")
    if answer.status != 200:
        raise refusal_of(answer)
    return subject_of(answer.json(), key, now)


def _fails_at_user(answer: Answer) -> bool:
    """Tell Supabase Auth's own 500 (a NULL where it scans text fails every read of one user) from a gateway's."""
    return answer.status == 500 and error_of(answer)[1] != ""


def subject_of(document: Any, key: str, now: datetime) -> Subject:  # noqa: ANN401  # JSON from outside
    """Read a user as the Auth admin API shows it. Raises: AnswerMalformed."""
    try:
        if UUID(document["id"]) != UUID(key):
            raise AnswerMalformed("admin user: another user than the one asked for")
        banned_until = _instant(document.get("banned_until"))
        return Subject(
            id=key,
            email=document.get("email") or None,
            created_at=datetime.fromisoformat(document["created_at"]).astimezone(UTC),
            deleted=_instant(document.get("deleted_at")) is not None,
            banned=banned_until is not None and banned_until > now,
            anonymous=document.get("is_anonymous", False) is True,
            fields=document,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnswerMalformed(f"admin user: {type(error).__name__} in a field") from error


def _instant(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value).astimezone(UTC) if value else None
