"""Sessions of canary users: opened by Supabase Auth's password grant, and kept until shortly before they expire.

Sign-in goes through `supabase`, which is handed a transport of ours: one deadline, a small body, no retry, our causes.
It is given the anon key and nothing else: a client that holds the service key never signs anybody in, since RLS follows
the Authorization header, which a sign-in replaces.
"""

import asyncio
import importlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import httpx

from sidecar.checks.stopped import Stopped
from sidecar.checks.way import Way
from sidecar.domain.key_lint import lint
from sidecar.errors import TargetUnreachable
from sidecar.ports import Clock
from sidecar.wire import USER_AGENT, Answer, open_client

SPARE = timedelta(seconds=60)  # a session that ends within this and the look's own time is not used any more
TOKEN_CHARS_AT_MOST = 16_384
_UNSENDABLE = re.compile(r"[^!-~]")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "accept"})
_CODINGS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A canary user's own e-mail and password. False when one of them is empty."""

    email: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.email and self.password)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A signed-in canary user. `expires_at` is on our own clock; `is_kept` says that an earlier look opened it."""

    token: str = field(repr=False)
    user_id: str = field(repr=False)
    expires_at: datetime
    is_kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Where to sign in, with which key, and whom to trust."""

    url: str
    anon_key: str = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)


@dataclass(slots=True)
class Sessions:
    """The sessions of this process, one for each canary user, whichever checks use it."""

    _kept: dict[Login, Session] = field(default_factory=dict, repr=False)
    _locks: dict[Login, asyncio.Lock] = field(default_factory=dict, repr=False)

    async def of(self, login: Login, needed_until: datetime, sign_in: Callable[[], Awaitable[Session]]) -> Session:
        """Return the session at hand if it outlives `needed_until`, or open one; checks that ask at once share it."""
        async with self._locks.setdefault(login, asyncio.Lock()):
            kept = self._kept.get(login)
            if kept is not None and self.outlives(kept, needed_until):
                return replace(kept, is_kept=True)
            self._kept.pop(login, None)
            self._kept[login] = await sign_in()
            return self._kept[login]

    def outlives(self, session: Session, needed_until: datetime) -> bool:
        """Say whether a session can still be used then, with something to spare."""
        return session.expires_at > needed_until + SPARE

    def forget(self, login: Login, session: Session) -> None:
        """Use this session no more; one that was opened since stays."""
        kept = self._kept.get(login)
        if kept is not None and kept.token == session.token:
            del self._kept[login]


class _Bounded(httpx.AsyncBaseTransport):
    """Carries what a library asks for over our own wire; what fails there reaches the library's caller as it is."""

    def __init__(self, client: httpx.AsyncClient, way: Way) -> None:
        self._client = client
        self._way = way
        self.answer: Answer | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
        self.answer = await self._way.ask(
            self._client, request.method, str(request.url), headers=headers, content=content or None
        )
        kept = {name: value for name, value in self.answer.headers.items() if name not in _CODINGS}
        return httpx.Response(self.answer.status, headers=kept, content=self.answer.content, request=request)


async def sign_in(project: Project, login: Login, way: Way) -> Session:
    """Open a session. Raises: Stopped, TargetUnreachable."""
    async with _library(project, way) as (client, transport):
        try:
            granted = await client.auth.sign_in_with_password({"email": login.email, "password": login.password})
            return _session(granted.session, way.clock.now())
        except (TargetUnreachable, Stopped):
            raise
        except Exception as error:  # the library raises whatever its parsing of a strange answer meets
            raise _refusal(transport.answer, way.clock.now()) from error


async def sign_out(project: Project, session: Session, way: Way) -> None:
    """End one session. Raises: Stopped, TargetUnreachable."""
    async with _library(project, way) as (client, transport):
        try:
            await client.auth.admin.sign_out(session.token, "local")  # as the user: the key at hand is the anon key
        except (TargetUnreachable, Stopped):
            raise
        except Exception as error:  # see above
            answer = transport.answer
            status = f"status {answer.status}" if answer is not None else type(error).__name__
            raise Stopped("step_failed", f"Supabase Auth did not end the session: {status}") from error


def load_library() -> Any:  # noqa: ANN401  # a module that is imported late
    """Import what signs in: 250 ms, half of which no other thread can use. The daemon does it before its first tick."""
    return importlib.import_module("supabase")


@asynccontextmanager
async def _library(project: Project, way: Way) -> AsyncIterator[tuple[Any, _Bounded]]:
    """Yield a client of the library's own for one call, and what carries its requests."""
    _require_anon_key(project, way.clock)
    supabase = await asyncio.to_thread(load_library)
    async with open_client(verify=project.tls) as wire:
        transport = _Bounded(wire, way)
        async with httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False) as http:
            options = supabase.AsyncClientOptions(
                auto_refresh_token=False,
                persist_session=False,
                httpx_client=http,
                headers={"User-Agent": USER_AGENT},
            )
            yield supabase.AsyncClient(project.url, project.anon_key.strip(), options), transport


def _require_anon_key(project: Project, clock: Clock) -> None:
    fault = lint(
        service_key="", anon_key=project.anon_key, supabase_url=project.url, now=clock.now(), expiring_days=0
    ).anon_fault
    if fault:
        raise Stopped("not_configured", f"nobody can be signed in: {fault}")


def _session(found: Any, now: datetime) -> Session:  # noqa: ANN401  # the library's own type, made from outside
    token, seconds = found.access_token, found.expires_in
    if not token or len(token) > TOKEN_CHARS_AT_MOST or _UNSENDABLE.search(token):
        raise Stopped("sign_in_failed", "Supabase Auth granted a token that cannot be sent")
    lifetime = timedelta(seconds=min(max(0, int(seconds)), 30 * 86_400))
    return Session(token=token, user_id=str(found.user.id), expires_at=now + lifetime)


def _refusal(answer: Answer | None, now: datetime) -> Stopped:
    if answer is None:
        return Stopped("sign_in_failed", "Supabase Auth was not asked")
    asked = answer.retry_after_seconds(now) if answer.status in (429, 503) else None
    if answer.status == 429:
        return Stopped("rate_limited", "Supabase Auth: status 429", asked)
    if 200 <= answer.status < 300:
        return Stopped("sign_in_failed", f"Supabase Auth: status {answer.status} without a session")
    return Stopped("sign_in_failed", f"Supabase Auth: status {answer.status}", asked)
