"""The kind `catalogue`: what the database itself says about triggers, policies, privileges, keys and views.

Step S9 of design 40-supabase.md C2. It reads as the detector, in one READ ONLY transaction on a connection of its own,
so that it works behind a transaction-mode pooler and holds none of the data path's connections. It sees names only.
"""

import asyncio
import traceback
from typing import TypeAlias

from sidecar.checks.catalogue_reading import read_schema
from sidecar.checks.context import ProbeContext
from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.reasons import CatalogueReason
from sidecar.domain.schema_facts import SchemaFacts
from sidecar.domain.schema_judge import SchemaJudgement, SchemaWish, judge_schema
from sidecar.errors import AccessDenied, SidecarError, TargetUnreachable, TransientError, Unreached, WriteRejected
from sidecar.sessions import Role, Sessions

Why = CatalogueReason
STATEMENT_SHARE = 0.8  # of the timeout: the server gives up first, and says so
NAMED_AT_MOST = 20
Blind: TypeAlias = tuple[CatalogueReason, str]


class CatalogueProbe:
    """Implements `sidecar.ports.Probe`."""

    def __init__(self, context: ProbeContext) -> None:
        self._context = context

    async def __call__(self, check: Check) -> Observation:
        """Look once, within `check.timeout_seconds`."""
        wish = check.spec
        if not isinstance(wish, SchemaWish):
            raise TypeError(type(wish).__name__)
        clock = self._context.clock
        taken_at, started = clock.now(), clock.monotonic()
        judgement = await self._judge(wish, check.timeout_seconds)
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=judgement.reason.verdict,
            reason=judgement.reason.value,
            taken_at=taken_at,
            duration_seconds=clock.monotonic() - started,
            detail=judgement.detail,
            notes=tuple(reason.value for reason in judgement.found if reason is not judgement.reason),
            facts=_told(judgement),
        )

    async def _judge(self, wish: SchemaWish, timeout_seconds: float) -> SchemaJudgement:
        if not self._context.database_url:
            return _blind(Why.DATABASE_UNREACHABLE, "database.url is not set")
        sessions = Sessions(self._context.database_url)
        try:
            async with asyncio.timeout(timeout_seconds):
                read = await _read(sessions, wish, timeout_seconds)
        except TimeoutError as error:
            _let_go(error)
            return _blind(Why.TIMED_OUT, f"no whole answer in {timeout_seconds:g} s")
        except SidecarError as error:
            return _blind(*_cause(error))
        finally:
            await sessions.close()
        return judge_schema(wish, read) if isinstance(read, SchemaFacts) else _blind(read, "it is not to be believed")


async def _read(sessions: Sessions, wish: SchemaWish, timeout_seconds: float) -> SchemaFacts | CatalogueReason:
    async with sessions.reading(Role.DETECTOR, seconds=timeout_seconds * STATEMENT_SHARE) as connection:
        return await read_schema(connection, wish)


def _let_go(error: BaseException | None) -> None:
    """Free what a cancelled connect still holds.

    SQLAlchemy leaves its frames in a cycle, and libpq's socket in them, open until Python next collects such cycles.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _cause(error: SidecarError) -> Blind:
    """Name why nothing was read; the texts of these errors hold names and SQLSTATEs alone."""
    match error:
        case TargetUnreachable(cause=Unreached.TIMED_OUT):
            return Why.TIMED_OUT, str(error)
        case TargetUnreachable():
            return Why.DATABASE_UNREACHABLE, str(error)
        case TransientError():
            return (Why.TIMED_OUT if "57014" in str(error) else Why.DATABASE_BUSY), str(error)
        case AccessDenied():
            return Why.ACCESS_DENIED, str(error)
        case WriteRejected(sqlstate="22023"):  # no such role
            return Why.ACCESS_DENIED, "there is no role sidecar_detector: sidecar schema --fixture has its SQL"
        case _:
            return Why.CATALOGUE_UNREADABLE, str(error)


def _blind(reason: CatalogueReason, detail: str) -> SchemaJudgement:
    return SchemaJudgement(reason=reason, detail=detail, found={})


def _told(judgement: SchemaJudgement) -> dict[str, JSON]:
    """Tell every reason with its objects, as names."""
    found: dict[str, JSON] = {
        reason.value: list(objects[:NAMED_AT_MOST]) for reason, objects in judgement.found.items()
    }
    return {"found": found}
