"""The whole repair path over a real database and the stand-in, with a meddler in front of the gateway."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias, cast

import psycopg
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.clock import SystemClock
from sidecar.data.canary import Canary
from sidecar.data.rest import Rest
from sidecar.data.supabase import SupabaseData
from sidecar.demo.standin import make_keys, standin
from sidecar.domain.rule import Mode, Rule, Table
from sidecar.ports import State
from sidecar.state.open import open_state
from sidecar.wire import key_headers, open_client
from tests.domain.cast import DETECT, GUARD, REPAIR, rule_with
from tests.engine.cast import Stage
from tests.fakes import FakeClock, FakeData

SECRET = "a-secret-for-the-adversary-tests-alone-0123456789"  # of a database of the test's own
Meant: TypeAlias = tuple[int, Any] | None  # a status and a document in place of the real answer
Meddling: TypeAlias = Callable[[Scope, bytes], Awaitable[Meant]]


class Meddler:
    """Stands in front of the gateway: `meddle` may answer in its place with (status, document)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.meddle: Meddling | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        answer = await self.meddle(scope, body) if self.meddle else None
        if answer is None:
            given = False

            async def again() -> Any:  # noqa: ANN401  # an ASGI message
                nonlocal given
                if given:
                    return await receive()
                given = True
                return {"type": "http.request", "body": body, "more_body": False}

            await self.app(scope, again, send)
            return
        status, document = answer
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        kind = b"text/html" if isinstance(document, bytes) else b"application/json"
        headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class ImpatientClock(SystemClock):
    """The machine's time, but nobody waits long before trying again; only leases are renewed as ever."""

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        renews = task is not None and task.get_name().startswith("renew ")
        await super().sleep(seconds if renews else min(seconds, 0.01))


@dataclass
class World:
    """One project, one memory."""

    url: str
    meddler: Meddler
    data: SupabaseData
    state: State
    connection: psycopg.AsyncConnection[tuple[Any, ...]]
    database_url: str

    def stage(self, holder: str = "daemon", **changes: Any) -> Stage:  # noqa: ANN401  # fields of Stage
        given: dict[str, Any] = {"state": self.state, "data": self.data, "clock": ImpatientClock(), **changes}
        return Stage(
            state=given.pop("state"),
            clock=cast("FakeClock", given.pop("clock")),
            data=cast("FakeData", given.pop("data")),
            holder=holder,
            **given,
        )

    def on_canary(self, table: Table, value: str) -> "World":
        """Watch another row as the one that must be visible."""
        self.data._canary = Canary(table=table, key="id", value=value)
        return self

    async def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(cast("Any", text), values)
        return await cursor.fetchall() if cursor.description else []

    async def user(self, key: str, *, chain: tuple[int, ...] = (1000, 200), age: str = "2 days", **fields: str) -> None:
        """Add a user whose credits exist, and no profile."""
        meta = fields.get("meta", "{}")
        await self.sql(
            "insert into auth.users (id, email, raw_user_meta_data, created_at)"
            " values (%s, %s, %s::jsonb, now() - %s::interval)",
            key,
            fields.get("email", f"{key}@example.org"),
            meta,
            age,
        )
        balance = 0
        for place, amount in enumerate(chain):
            balance += amount
            await self.sql(
                "insert into public.credit_transactions (user_id, transaction_type, amount, balance_after, created_at)"
                " values (%s, 'bonus', %s, %s, now() - %s::interval + %s * interval '1 second')",
                key,
                amount,
                balance,
                age,
                place,
            )

    async def profile(self, key: str, balance: int, age: str = "2 days") -> None:
        """Give a user its row."""
        await self.sql(
            "insert into public.users (id, email, credits_balance, created_at)"
            " select id, email, %s, now() - %s::interval from auth.users where id = %s",
            balance,
            age,
            key,
        )

    async def balances(self) -> dict[str, int]:
        found = await self.sql("select id::text, credits_balance from public.users where metadata ? 'restored_by'")
        return dict(found)


def is_insert(scope: Scope) -> bool:
    """Tell whether a request writes profiles."""
    return bool(scope["method"] == "POST" and scope["path"] == "/rest/v1/users")


def key_of(number: int) -> str:
    return f"a0000000-0000-4000-8000-{number:012}"


def a_rule(mode: Mode = Mode.AUTO, *, confirmations: int = 1, **detect: Any) -> Rule:  # noqa: ANN401  # fields
    rule = rule_with(
        mode=mode,
        guard=replace(GUARD, max_percent=Decimal(100)),
        detect=replace(DETECT, confirmations=confirmations, max_change_percent=Decimal(100), **detect),
    )
    accepted = frozenset({"avatar_url", "is_active", "current_plan", "created_at", "updated_at"})
    return replace(rule, repair=replace(REPAIR, defaults_accepted=accepted))


@contextlib.asynccontextmanager
async def a_world(database_url: str, folder: Path) -> AsyncIterator[World]:
    keys = make_keys(SECRET, "demo", now=datetime.now(UTC))
    held: list[Meddler] = []

    def wrap(app: ASGIApp) -> ASGIApp:
        held.append(Meddler(app))
        return held[0]

    async with (
        standin(database_url, jwt_secret=SECRET, keys=keys, wrap=wrap) as served,
        open_client(served.supabase_url, headers=key_headers(keys.service), keep_alive=True) as client,
        open_state(f"sqlite:///{folder / 'sidecar.db'}") as state,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
    ):
        canary = Canary(table=Table("public", "sidecar_canary"), key="id", value="1")
        data = SupabaseData(Rest(client, timeout_seconds=10.0), database="demo", canary=canary)
        yield World(
            url=served.supabase_url,
            meddler=held[0],
            data=data,
            state=state,
            connection=connection,
            database_url=database_url,
        )
