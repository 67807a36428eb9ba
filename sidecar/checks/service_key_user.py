"""S7 of a `service_key` check: what a signed-in user sees, and the negative control of the whole check.

A session is used until a minute before it ends, then refreshed: a sign-in for each look would fill Auth's tables and
meet its rate limit. The client that signs in holds the anon key. The one that holds the service key never does.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from sidecar.checks.asking import Asker
from sidecar.checks.service_key_keys import ServiceKeySpec, UserSpec
from sidecar.checks.service_key_steps import json_of
from sidecar.checks.tables import path_of, read_profile
from sidecar.domain.key_evidence import Step, UserSight
from sidecar.domain.rule import Table
from sidecar.ports import Clock
from sidecar.wire import Answer

SPARE_SECONDS = 60.0  # a session that ends sooner is not used any more
_TOKEN = re.compile(r"[A-Za-z0-9_.=+/-]{1,8192}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

OpenAsker: TypeAlias = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Asker]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A user's session. `ends` is on the clock's monotonic scale."""

    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    user_id: str = field(repr=False)
    ends: float


@dataclass(slots=True)
class Sessions:
    """The sessions of this process, by check."""

    clock: Clock
    _kept: dict[str, Session] = field(default_factory=dict)

    async def ask(self, check: str, user: UserSpec, anon: Asker) -> tuple[Session | None, Step | None]:
        """Return a session that is good for a while, and the step that was needed to have it."""
        kept = self._kept.pop(check, None)
        if kept is not None and kept.ends - self.clock.monotonic() > SPARE_SECONDS:
            self._kept[check] = kept
            return kept, None
        if kept is not None and kept.refresh_token:
            session, step = await self._grant(anon, "refresh_token", {"refresh_token": kept.refresh_token})
            if session is not None:
                self._kept[check] = session
                return session, step
        session, step = await self._grant(anon, "password", {"email": user.email, "password": user.password})
        if session is not None:
            self._kept[check] = session
        return session, step

    def forget(self, check: str) -> None:
        """Drop a session that was not accepted."""
        self._kept.pop(check, None)

    async def _grant(self, anon: Asker, kind: str, body: Mapping[str, str]) -> tuple[Session | None, Step]:
        step, answer = await anon.ask(
            f"S7 sign in by {kind}",
            "/auth/v1/token",
            method="POST",
            params={"grant_type": kind},
            headers={"Content-Type": "application/json"},
            content=json.dumps(body).encode(),
        )
        granted = _session(answer, self.clock.monotonic()) if answer is not None and step.status == 200 else None
        return granted, replace(step, matches=granted is not None)


def _session(answer: Answer, now: float) -> Session | None:
    body = json_of(answer)
    user: Any = body.get("user") if isinstance(body, dict) else None
    if not isinstance(user, dict):
        return None
    token, refresh_token, user_id = body.get("access_token"), body.get("refresh_token"), user.get("id")
    seconds = body.get("expires_in")
    if not (isinstance(token, str) and _TOKEN.fullmatch(token) and isinstance(user_id, str) and _ID.fullmatch(user_id)):
        return None
    lasts = float(seconds) if isinstance(seconds, int) and not isinstance(seconds, bool) else 0.0
    refresh = refresh_token if isinstance(refresh_token, str) else ""
    return Session(token=token, refresh_token=refresh, user_id=user_id, ends=now + lasts)


async def see_as_user(
    check: str,
    spec: ServiceKeySpec,
    user: UserSpec,
    sessions: Sessions,
    anon: Asker,
    as_user: OpenAsker,
    control: OpenAsker,
) -> UserSight:
    """Look as the user, and once more with the service key beside the user's token.

    `as_user` and `control` open a client with an Authorization that is theirs alone.
    """
    session, step = await sessions.ask(check, user, anon)
    if session is None:
        return UserSight(sign_in=step)
    sight = await _look(spec, user, session, as_user, control)
    if step is None and sight.own is not None and sight.own.status in (401, 403) and not sight.own.is_closed:
        sessions.forget(check)  # it was ended elsewhere: one new sign-in, in this very look
        session, step = await sessions.ask(check, user, anon)
        if session is None:
            return UserSight(sign_in=step)
        sight = await _look(spec, user, session, as_user, control)
    return replace(sight, sign_in=step)


async def _look(
    spec: ServiceKeySpec, user: UserSpec, session: Session, as_user: OpenAsker, control: OpenAsker
) -> UserSight:
    bearer = {"Authorization": f"Bearer {session.token}"}
    asked = _others(spec, user, session.user_id)
    async with as_user(bearer) as asker:
        own = await _own("S7 own profile", spec, session, asker)
        others = tuple([await _rows(f"S7 {name}", asker, table, params) for name, table, params in asked])
    async with control(bearer) as asker:
        control_own = await _own("S7 control, own profile", spec, session, asker)
        name, table, params = asked[0]
        controlled = await _rows(f"S7 control, {name}", asker, table, params)
    return UserSight(own=own, others=others, control=controlled, control_own=control_own)


def _others(spec: ServiceKeySpec, user: UserSpec, user_id: str) -> list[tuple[str, Table, dict[str, str]]]:
    """List what belongs to others: the row that is known to exist first, since that one cannot be absent."""
    profiles = spec.profiles or Table("public", "users")
    row = spec.canary or spec.witness
    found: list[tuple[str, Table, dict[str, str]]] = []
    if row is not None and not (row.table == profiles and str(row.value) == user_id):
        params = {"select": row.key, row.key: f"eq.{row.value}", "limit": "1"}
        found.append((f"{row.table} known row", row.table, params))
    owned = {profiles: spec.keys.get(profiles, "id"), **user.owned}
    for table, column in owned.items():
        foreign = f"({column}.neq.{user_id},{column}.is.null)"
        found.append((f"{table} of others", table, {"select": column, "or": foreign, "limit": "1"}))
    return found


async def _own(name: str, spec: ServiceKeySpec, session: Session, asker: Asker) -> Step:
    profiles = spec.profiles or Table("public", "users")
    key = spec.keys.get(profiles, "id")
    params = {"select": key, key: f"eq.{session.user_id}", "limit": "2"}
    step, answer = await asker.ask(name, path_of(profiles), params=params, headers=read_profile(profiles))
    body = json_of(answer) if answer is not None else None
    row = body[0] if isinstance(body, list) and len(body) == 1 else None
    return replace(step, matches=isinstance(row, dict) and str(row.get(key)) == session.user_id)


async def _rows(name: str, asker: Asker, table: Table, params: Mapping[str, str]) -> Step:
    step, _ = await asker.ask(name, path_of(table), params=params, headers=read_profile(table))
    return step
