"""Checks, keys and a scripted Supabase project for the tests of this folder."""

import base64
import json
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from sidecar.checks.context import ProbeContext
from sidecar.checks.http import HttpProbe
from sidecar.checks.http_keys import HttpKeys
from sidecar.checks.service_key import ServiceKeyProbe
from sidecar.checks.service_key_keys import ServiceKeyKeys
from sidecar.clock import SystemClock
from sidecar.domain.check import Check, Observation, Severity
from tests.scripted import Act, Asked, reply

NONCE = "the-canary-nonce-nobody-may-see"
PROJECT = "abcdefghijklmnopqrst"


def jwt(role: str | None, *, expires_in: timedelta = timedelta(days=3000), ref: str | None = None) -> str:
    """A key of the legacy family; its signature is never verified here."""
    expires_at = datetime.now(UTC) + expires_in
    claims = {"iss": "supabase", "role": role, "ref": ref, "exp": int(expires_at.timestamp())}
    parts = ({"alg": "HS256", "typ": "JWT"}, {name: value for name, value in claims.items() if value is not None})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJlLXRoYXQtaXMtc2VjcmV0"])


SERVICE, ANON = jwt("service_role"), jwt("anon")


def context(url: str = "http://127.0.0.1:9", service_key: str = SERVICE, anon_key: str = ANON) -> ProbeContext:
    return ProbeContext(
        clock=SystemClock(),
        supabase_url=url,
        service_key=service_key,
        anon_key=anon_key,
        backend_url=url,
        tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nobody, and is made in no time
    )


def check(kind: str, spec: object, timeout_seconds: float = 5.0) -> Check:
    return Check(
        name="the-check",
        kind=kind,
        every_seconds=60,
        timeout_seconds=timeout_seconds,
        severity=Severity.CRITICAL,
        fail_after=1,
        pass_after=1,
        spec=spec,
    )


async def look_http(around: ProbeContext, keys: Mapping[str, object], timeout_seconds: float = 5.0) -> Observation:
    return await HttpProbe(around)(check("http", HttpKeys.model_validate(keys).to_spec(), timeout_seconds))


CANARY: Mapping[str, object] = {
    "tables": ["public.users", "public.credit_transactions"],
    "public_tables": ["public.ai_models"],
    "canary": {"table": "public.sidecar_canary", "key": "id", "value": 1, "nonce": NONCE},
}


async def look_key(
    around: ProbeContext, keys: Mapping[str, object] = CANARY, timeout_seconds: float = 10.0
) -> Observation:
    spec = ServiceKeyKeys.model_validate(keys).to_spec()
    return await ServiceKeyProbe(around)(check("service_key", spec, timeout_seconds))


def rows(*found: object, total: int | None = None) -> Act:
    """An answer of PostgREST's; `total` as `Prefer: count=exact` brings it."""
    extent = f"0-{len(found) - 1}" if found else "*"
    status = 206 if total is not None and total > len(found) else 200
    return reply(status, list(found), {"Content-Range": f"{extent}/{'*' if total is None else total}"})


def error(status: int, code: str, message: str, hint: str | None = None, **headers: str) -> Act:
    """An error body of PostgREST's."""
    return reply(status, {"code": code, "details": None, "hint": hint, "message": message}, headers)


def refusal(message: str, hint: str, **headers: str) -> Act:
    """A 401 of the gateway's, which has no code."""
    return reply(401, {"message": message, "hint": hint}, headers)


NO_KEY = refusal("No API key found in request", "No apikey request header or url param was found.")
DENIED = error(401, "42501", "permission denied for table sidecar_canary")
NO_FUNCTION = error(404, "PGRST202", "Could not find the function public.sidecar_rls_probe(t) in the schema cache")


def probe_function(*, user: str = "service_role", bypass: bool = True, active: bool = False) -> Act:
    names = ("users", "credit_transactions", "ai_models")
    tables = {f"public.{name}": {"rls": True, "force": False, "active": active, "sel": True} for name in names}
    return reply(200, {"user": user, "bypass": bypass, "claims_role": user, "tables": tables})


HEALTHY: Mapping[str, Act] = {
    "S1": NO_KEY,
    "S2": rows(),
    "S3": rows({"id": 1, "nonce": NONCE}),
    "S4": reply(200, {"users": [{"id": "x"}], "aud": "authenticated"}, {"X-Total-Count": "3"}),
    "S4 root": reply(200, {"swagger": "2.0"}),
    "S4 root anon": refusal("Invalid API key", "Only the `service_role` API key can be used for this endpoint."),
    "S5 users service": rows({"id": "a"}, total=3),
    "S5 users anon": rows(total=0),
    "S5 credit_transactions service": rows({"id": 1}, total=9),
    "S5 credit_transactions anon": rows(total=0),
    "S5 ai_models service": rows({"id": "m"}, total=7),
    "S5 ai_models anon": rows({"id": "m"}, total=6),
    "S6": NO_FUNCTION,
}


def project(changed: Mapping[str, Act] | None = None, *, service_key: str = SERVICE) -> Callable[[Asked], Act]:
    """A healthy project with some answers changed, by step."""
    answers = {**HEALTHY, **(changed or {})}
    unknown = answers.keys() - HEALTHY.keys()
    assert not unknown, unknown

    def script(asked: Asked) -> Act:
        return answers[step_of(asked, service_key)]

    return script


def step_of(asked: Asked, service_key: str = SERVICE) -> str:
    """Tell which step a request belongs to."""
    key = asked.headers.get("apikey")
    role = "service" if key == service_key else "anon"
    match asked.path.removeprefix("/rest/v1/"):
        case "":
            if key is None:
                return "S1"
            return "S4 root" if role == "service" else "S4 root anon"
        case "/auth/v1/admin/users":
            return "S4"
        case "rpc/sidecar_rls_probe":
            return "S6"
        case "sidecar_canary":
            return "S3" if role == "service" else "S2"
        case table:
            return f"S5 {table} {role}"
