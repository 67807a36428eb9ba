"""A scripted world for journeys: Supabase Auth, PostgREST and the backend on one port, and a memory of its own."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sidecar.checks.context import ProbeContext
from sidecar.checks.journey import JourneyKeys, JourneyProbe
from sidecar.domain.check import Check, Observation
from sidecar.sights import Kept
from tests.checks.cast import check, context, rows
from tests.scripted import Act, Asked, reply

USER_ID = "11111111-2222-4333-8444-555555555555"
EMAIL, PASSWORD = "canary@shop.example", "a-password-nobody-may-see"
TOKEN = "a-token-nobody-may-see"
USER = {"email": EMAIL, "password": PASSWORD}
SIGN_IN: Mapping[str, object] = {"name": "sign-in", "sign_in": True}
SIGN_OUT: Mapping[str, object] = {"name": "sign-out", "sign_out": True}
BALANCE: Mapping[str, object] = {
    "name": "balance",
    "request": {"url": "/balance", "as_user": True},
    "capture": {"balance": "body.balance"},
}
STORED: Mapping[str, object] = {
    "name": "stored",
    "read_database": {"table": "public.users", "columns": ["credits_balance"]},
    "capture": {"stored": "row.credits_balance"},
}
SAME: Mapping[str, object] = {"name": "same", "compare": {"value": "balance", "among": ["stored"]}}


class Purses:
    """A written fake of `Notebook` that forgets nothing."""

    def __init__(self) -> None:
        self.spent: list[tuple[str, int, datetime]] = []
        self.kept: dict[str, Kept] = {}

    async def recall(self, name: str) -> Kept | None:
        return self.kept.get(name)

    async def keep(self, name: str, body: str, version: int, _at: datetime) -> bool:
        known = self.kept.get(name)
        if version != (known.version if known else 0):
            return False
        self.kept[name] = Kept(body=body, version=version + 1)
        return True

    async def spend(self, purse: str, credits_: int, at_most: int, since: datetime, at: datetime) -> bool:
        spent = sum(amount for name, amount, when in self.spent if name == purse and when > since)
        if spent + credits_ > at_most:
            return False
        self.spent.append((purse, credits_, at))
        return True


def grant(expires_in: int = 3600, token: str = TOKEN) -> Act:
    """Supabase Auth's answer to a password that is right."""
    user = {
        "id": USER_ID,
        "aud": "authenticated",
        "role": "authenticated",
        "email": EMAIL,
        "app_metadata": {},
        "user_metadata": {},
        "created_at": "2025-01-01T00:00:00Z",
    }
    granted = {"access_token": token, "token_type": "bearer", "expires_in": expires_in, "refresh_token": "r"}
    return reply(200, {**granted, "user": user})


@dataclass(slots=True)
class World:
    """What each part answers; a test replaces a part. Nothing here judges."""

    token: Callable[[Asked], Act] = lambda _: grant()
    logout: Callable[[Asked], Act] = lambda _: reply(204)
    rest: Callable[[Asked], Act] = lambda _: rows({"credits_balance": 1200})
    backend: Callable[[Asked], Act] = lambda _: reply(200, {"balance": 1200})
    asked: list[str] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Act:
        self.asked.append(f"{asked.method} {asked.path}")
        if asked.path == "/auth/v1/token":
            return self.token(asked)
        if asked.path == "/auth/v1/logout":
            return self.logout(asked)
        return self.rest(asked) if asked.path.startswith("/rest/v1/") else self.backend(asked)

    def count(self, request: str) -> int:
        return self.asked.count(request)


def around(url: str, notebook: Purses | None = None) -> ProbeContext:
    return replace(context(url), notebook=notebook or Purses())


def journey(*steps: Mapping[str, object], timeout_seconds: float = 5.0, **keys: object) -> Check:
    model = JourneyKeys.model_validate_json(json.dumps({"user": USER, "steps": steps, **keys}), strict=True)
    return check("journey", model.to_spec(), timeout_seconds)


async def walk(within: ProbeContext, *steps: Mapping[str, object], **keys: object) -> Observation:
    timeout_seconds = float(str(keys.pop("timeout_seconds", 5.0)))
    return await JourneyProbe(within)(journey(*steps, timeout_seconds=timeout_seconds, **keys))


def outcomes(seen: Observation) -> dict[str, str]:
    steps = seen.facts["steps"]
    assert isinstance(steps, list)
    return {str(step["name"]): str(step["outcome"]) for step in steps if isinstance(step, dict)}


def with_service_key_as_anon_key(within: ProbeContext) -> ProbeContext:
    return replace(within, anon_key=within.service_key)


def tells_number(seen: Observation, number: int) -> bool:
    """Say whether a look tells a number; the digits of a time may be any."""
    return re.search(rf"(?<![\d.]){number}(?!\d)", repr(seen)) is not None
