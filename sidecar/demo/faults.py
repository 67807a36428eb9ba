"""The incident's faults, as a closed list. No fault is on unless it is named."""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import parse_qsl

import jwt
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.errors import UsageError


class Fault(StrEnum):
    """What can be broken on purpose."""

    ANON_KEY = "anon_key"
    FORGED_KEY = "forged_key"
    EXPIRED_KEY = "expired_key"
    NO_BYPASS = "no_bypass"
    RLS_LEAK = "rls_leak"
    AUTH_DOWN = "auth_down"
    REST_DOWN = "rest_down"
    TRUNCATED_READS = "truncated_reads"
    WRONG_BALANCE = "wrong_balance"
    BACKEND_DOWN = "backend_down"
    FORGEABLE_LEDGER = "forgeable_ledger"
    WRITABLE_BALANCE = "writable_balance"
    CORS_REFLECTS = "cors_reflects"
    FORGED_TOKENS_ACCEPTED = "forged_tokens_accepted"


@dataclass(frozen=True, slots=True)
class About:
    """What `--list-faults` says about a fault."""

    summary: str


FAULTS: Mapping[Fault, About] = {
    Fault.ANON_KEY: About("Sidecar is given the anon key where the service key belongs"),
    Fault.FORGED_KEY: About("Sidecar's service key is signed with another project's secret"),
    Fault.EXPIRED_KEY: About("Sidecar's service key has expired"),
    Fault.NO_BYPASS: About("the role service_role has lost BYPASSRLS, so reads are silently empty"),
    Fault.RLS_LEAK: About("a policy lets anonymous visitors read every profile"),
    Fault.AUTH_DOWN: About("Supabase Auth answers 503"),
    Fault.REST_DOWN: About("the REST API answers 503 with the gateway's HTML"),
    Fault.TRUNCATED_READS: About("every page after a stream's first is an empty 200, while counts stay true"),
    Fault.WRONG_BALANCE: About("the backend answers a balance of 100 to everybody"),
    Fault.BACKEND_DOWN: About("the backend does not answer: its host says 502"),
    Fault.FORGEABLE_LEDGER: About("signed-in users may write their own ledger, as velro's policies allow"),
    Fault.WRITABLE_BALANCE: About("signed-in users may set their own balance, as velro's policies allow"),
    Fault.CORS_REFLECTS: About("the backend's errors open themselves to any origin, with credentials, as velro's do"),
    Fault.FORGED_TOKENS_ACCEPTED: About("the backend checks no token's signature, as velro without its JWT secret"),
}


def named_faults(names: Iterable[str]) -> frozenset[Fault]:
    """Return the faults of these names. Raises: UsageError when there is no such fault."""
    asked = set(names)
    unknown = sorted(asked - set(Fault))
    if unknown:
        message = f"there is no fault {', '.join(unknown)}; there are {', '.join(Fault)}"
        raise UsageError(message)
    return frozenset(Fault(name) for name in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFault:
    """A fault that is a change of the database. Both texts may be run over and over."""

    on: str
    off: str


def database_faults() -> Mapping[Fault, DatabaseFault]:
    """Return the faults that change the database; a kept database gets `off` for those that are not named."""
    drop_leak = 'drop policy if exists "Fault: rls_leak" on public.users;'
    drop_forgery = "".join(
        f'drop policy if exists "Fault: forgeable_ledger {command}" on public.credit_transactions;'
        for command in ("insert", "update", "delete")
    )
    return {
        Fault.NO_BYPASS: DatabaseFault(
            on="alter role service_role nobypassrls;",
            off="alter role service_role bypassrls;",
        ),
        Fault.RLS_LEAK: DatabaseFault(
            on=f'{drop_leak} create policy "Fault: rls_leak" on public.users for select to anon using (true);',
            off=drop_leak,
        ),
        Fault.FORGEABLE_LEDGER: DatabaseFault(
            on=drop_forgery
            + """
            grant insert, update, delete on public.credit_transactions to authenticated;
            create policy "Fault: forgeable_ledger insert" on public.credit_transactions
              for insert to authenticated with check (auth.uid() = user_id);
            create policy "Fault: forgeable_ledger update" on public.credit_transactions
              for update to authenticated using (auth.uid() = user_id);
            create policy "Fault: forgeable_ledger delete" on public.credit_transactions
              for delete to authenticated using (auth.uid() = user_id);
            """,
            off=drop_forgery + "revoke insert, update, delete on public.credit_transactions from authenticated;",
        ),
        Fault.WRITABLE_BALANCE: DatabaseFault(
            on="grant update on public.users to authenticated;",
            off="revoke update on public.users from authenticated;"
            "grant update (full_name, avatar_url) on public.users to authenticated;",
        ),
    }


def handed_key(faults: AbstractSet[Fault], *, anon_key: str, service_key: str, jwt_secret: str) -> str:
    """Return the key that Sidecar is handed as its service key. Both keys given are JWTs."""
    if Fault.ANON_KEY in faults:
        return anon_key
    claims = jwt.decode(service_key, options={"verify_signature": False})
    if Fault.EXPIRED_KEY in faults:
        now = datetime.now(UTC)
        claims |= {"iat": now - timedelta(days=365), "exp": now - timedelta(days=1)}
        service_key = jwt.encode(claims, jwt_secret, algorithm="HS256")
    if Fault.FORGED_KEY in faults:
        service_key = jwt.encode(claims, "another project's secret " + jwt_secret[::-1], algorithm="HS256")
    return service_key


class FaultyGateway:
    """Stands before the Supabase stand-in and breaks what it is told to break."""

    def __init__(self, app: ASGIApp, faults: AbstractSet[Fault]) -> None:
        """Wrap `app`; faults that are not the gateway's are ignored."""
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the app's place where a fault says so."""
        broken = self._broken(scope) if scope["type"] == "http" else None
        await (broken or self._app)(scope, receive, send)

    def _broken(self, scope: Scope) -> Response | None:
        # The gateway asks for a key before it asks the service behind it, so without a key nothing seems broken.
        if not any(name == b"apikey" for name, _ in scope["headers"]):
            return None
        path: str = scope["path"]
        if Fault.AUTH_DOWN in self._faults and path.startswith("/auth/v1"):
            return JSONResponse({"message": "name resolution failed"}, status_code=503)
        if Fault.REST_DOWN in self._faults and path.startswith("/rest/v1"):
            page = "<html><head><title>503 Service Temporarily Unavailable</title></head><body></body></html>"
            return HTMLResponse(page, status_code=503)
        if Fault.TRUNCATED_READS in self._faults and _is_later_page(scope["method"], path, scope["query_string"]):
            return JSONResponse([], headers={"Content-Range": "*/*"})
        return None


def _is_later_page(method: str, path: str, query: bytes) -> bool:
    """Tell a keyset stream's later pages: ordered by a column, and beyond a value of that very column."""
    asked = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    first = next((value for name, value in asked if name == "order"), "").split(",")[0].split(".")[0]
    if method != "GET" or not path.startswith("/rest/v1/") or not first:
        return False
    beyond = re.compile(rf"[(,]{re.escape(first)}\.gt\.")
    return any(
        (name == first and value.startswith("gt.")) or (name in ("or", "and") and beyond.search(value) is not None)
        for name, value in asked
    )
