"""Every row of the decision table (design 40-supabase.md C3), over real HTTP with the bodies written down there."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from sidecar.domain.check import Verdict
from sidecar.domain.reasons import ServiceKeyReason
from tests.checks.cast import (
    ANON,
    CANARY,
    DENIED,
    NONCE,
    SERVICE,
    context,
    error,
    jwt,
    look_key,
    probe_function,
    project,
    refusal,
    rows,
)
from tests.checks.test_service_key_options import USER_ROWS, WRITE_ROWS
from tests.scripted import Act, html, reply, reset, scripted, unused_port

HINT = "Double check your Supabase `anon` or `service_role` API key."
INVALID = refusal("Invalid API key", HINT)
UNREGISTERED = refusal(
    "Unregistered API key", "Double check the provided API key as it is not registered for this project."
)
LEGACY = refusal(
    "Legacy API keys are disabled",
    "Your legacy API keys (anon, service_role) were disabled on 2026-10-01T12:00:00.000000+00:00. "
    "Re-enable them in the Supabase dashboard, or use the new publishable and secret API keys.",
)
BROWSER = reply(401, {"message": "Forbidden use of secret API key in browser"})
ONLY_SERVICE = refusal("Invalid API key", "Only the `service_role` API key can be used for this endpoint.")
TIMEOUT = error(500, "57014", "canceling statement due to statement timeout")
NO_CACHE = error(
    503, "PGRST002", "Could not query the database for the schema cache. Retrying.", None, **{"Retry-After": "7"}
)
NO_USERS = error(404, "PGRST205", "Could not find the table 'public.users' in the schema cache")
NO_LEDGER = error(404, "PGRST205", "Could not find the table 'public.credit_transactions' in the schema cache")
NO_PAID = {"message": "Service for this project is restricted due to the following violations: exceed_egress_quota."}
EXPIRED = error(401, "PGRST303", "JWT expired", None)
NOT_YET = error(401, "PGRST303", "JWT not yet valid", None)
BAD_SIGNATURE = error(401, "PGRST301", "No suitable key or wrong key type", None)
BAD_CRYPTO = error(401, "PGRST301", "JWT cryptographic operation failed", None)
OLD_EXPIRED = error(401, "PGRST301", "JWT expired", None)
NOT_JWT = error(401, "PGRST301", "Expected 3 parts in JWT; got 1", None)
NO_ROLE = error(401, "22023", 'role "nobody_here" does not exist', None)
NOT_ADMIN = reply(403, {"code": 403, "error_code": "not_admin", "msg": "User not allowed"})
BAD_JWT = reply(403, {"code": 403, "error_code": "bad_jwt", "msg": "invalid JWT: unable to parse or verify signature"})
AUTH_BROKEN = reply(500, {"code": 500, "error_code": "unexpected_failure", "msg": "Database error finding users"})
NO_GRANT_TABLE = error(403, "42501", "permission denied for table sidecar_canary")
NO_GRANT_VIEW = error(403, "42501", "permission denied for view users")
NO_GRANT_SCHEMA = error(403, "42501", "permission denied for schema public")
NOT_EXPOSED = error(406, "PGRST106", "Invalid schema: public", "Only the following schemas are exposed: api")
GONE = error(404, "42P01", 'relation "public.sidecar_canary" does not exist')
NO_COLUMN = error(400, "42703", "column sidecar_canary.nonce does not exist")
NOT_GRANTED_RPC = error(403, "42501", "permission denied for function sidecar_rls_probe")

ROWS: tuple[tuple[str, Mapping[str, Act], str], ...] = (
    ("1 reset", {"S1": reset()}, "network_down"),
    ("2 paused", {"S1": reply(540, "")}, "project_paused"),
    ("2 paused meanwhile", {"S5 users anon": reply(540, "")}, "project_paused"),
    ("3 restricted", {"S1": reply(402, NO_PAID)}, "project_restricted"),
    ("3 unpaid", {"S3": reply(402, {"message": "overdue_payment"})}, "project_restricted"),
    ("4 520", {"S1": html(520)}, "gateway_down"),
    ("4 521", {"S3": reply(521, "")}, "gateway_down"),
    ("4 522", {"S4": reply(522, "")}, "gateway_down"),
    ("4 544", {"S6": reply(544, "")}, "gateway_down"),
    ("4 503 without a code", {"S1": reply(503, {"message": "name resolution failed"})}, "gateway_down"),
    ("4 HTML", {"S3": html(200)}, "gateway_down"),
    ("4 HTML 502", {"S1": html(502)}, "gateway_down"),
    ("5 open door", {"S1": reply(200, {"swagger": "2.0"})}, "wrong_endpoint"),
    ("5 captive portal", {"S1": html(200)}, "wrong_endpoint"),
    ("5 redirect", {"S1": reply(302, "", {"Location": "https://login.example/"})}, "wrong_endpoint"),
    ("5 not Supabase", {"S1": reply(401, {"error": "unauthorized"})}, "wrong_endpoint"),
    ("5 no gateway", {"S1": error(401, "PGRST302", "Anonymous access is disabled")}, "wrong_endpoint"),
    ("5 not HTTP", {"S1": reply(200, b"\0" * 5_000_000)}, "wrong_endpoint"),
    ("6 database", {"S3": error(503, "PGRST000", "Could not connect with the database")}, "db_down"),
    ("6 connection", {"S3": error(503, "PGRST001", "Database client error. Retrying the connection.")}, "db_down"),
    ("6 cache", {"S3": NO_CACHE}, "schema_cache_loading"),
    ("6 pool", {"S5 users anon": error(504, "PGRST003", "Timed out acquiring connection")}, "pool_exhausted"),
    ("6 timeout", {"S5 users service": TIMEOUT}, "statement_timeout"),
    ("7 JSON", {"S4": reply(429, {"message": "ThrottlerException"}, {"Retry-After": "60"})}, "rate_limited"),
    ("7 HTML", {"S1": html(429)}, "rate_limited"),
    ("9 admin", {"S4": NOT_ADMIN, "S3": rows()}, "key_wrong_role"),
    ("9 root", {"S4": reply(404, "404 page not found"), "S4 root": ONLY_SERVICE}, "key_wrong_role"),
    (
        "9 root, publishable",
        {"S4": reply(404, ""), "S4 root": reply(401, {"message": "Secret API key required"})},
        "key_wrong_role",
    ),
    ("11", {"S3": LEGACY, "S2": LEGACY}, "legacy_keys_disabled"),
    ("12 PGRST303", {"S3": EXPIRED}, "key_expired"),
    ("12 PGRST301", {"S3": OLD_EXPIRED}, "key_expired"),
    ("13 invalid", {"S3": INVALID}, "key_invalid"),
    ("13 unregistered", {"S3": UNREGISTERED}, "key_invalid"),
    ("13 bad signature", {"S3": BAD_SIGNATURE}, "key_invalid"),
    ("13 garbage", {"S3": BAD_CRYPTO}, "key_invalid"),
    ("13 auth", {"S4": BAD_JWT}, "key_invalid"),
    ("14", {"S3": BROWSER}, "client_misconfigured"),
    ("15", {"S3": NOT_JWT}, "sb_key_sent_as_bearer"),
    ("16 empty", {"S3": reply(401, "")}, "key_rejected_unknown"),
    ("16 unknown role", {"S3": NO_ROLE}, "key_rejected_unknown"),
    ("16 not yet valid", {"S3": NOT_YET}, "key_rejected_unknown"),
    ("17 table", {"S3": NO_GRANT_TABLE}, "grant_missing"),
    ("17 view", {"S5 users service": NO_GRANT_VIEW}, "grant_missing"),
    ("17 as anon", {"S3": DENIED}, "key_wrong_role"),
    ("17 as anon in S5", {"S5 users service": DENIED}, "key_wrong_role"),
    ("18 grant", {"S3": NO_GRANT_SCHEMA}, "schema_not_granted"),
    ("18 exposed", {"S5 users service": NOT_EXPOSED}, "schema_not_exposed"),
    ("19 cache", {"S5 users service": NO_USERS}, "table_missing_or_not_exposed"),
    ("19 database", {"S3": GONE}, "table_missing_or_not_exposed"),
    ("20 column", {"S3": NO_COLUMN}, "schema_drift"),
    ("20 cache", {"S3": error(400, "PGRST204", "Could not find the 'nonce' column")}, "schema_drift"),
    ("20 parse", {"S3": error(400, "PGRST100", "failed to parse")}, "schema_drift"),
    ("21", {"S3": rows()}, "rls_still_applied"),
    ("21 with the function", {"S3": rows(), "S6": probe_function(bypass=False, active=True)}, "rls_still_applied"),
    ("21 by the root", {"S3": rows(), "S4": AUTH_BROKEN}, "rls_still_applied"),
    ("22 nonce", {"S3": rows({"id": 1, "nonce": "another"})}, "canary_tampered"),
    ("22 rows", {"S3": rows({"id": 1, "nonce": NONCE}, {"id": 1, "nonce": NONCE})}, "canary_tampered"),
    ("22 another row", {"S3": rows({"id": 2, "nonce": NONCE})}, "canary_tampered"),
    ("24 canary", {"S2": rows({"id": 1, "nonce": NONCE})}, "rls_leak_anon"),
    ("24 table", {"S5 users anon": rows({"id": "a"}, total=3)}, "rls_leak_anon"),
    ("24 count", {"S5 users anon": rows(total=2)}, "rls_leak_anon"),
    ("24 beside a denied canary", {"S2": DENIED, "S5 users anon": rows({"id": "a"}, total=1)}, "rls_leak_anon"),
    ("27 canary", {"S2": INVALID}, "anon_probe_dead"),
    ("27 canary and a leak", {"S2": INVALID, "S5 users anon": rows({"id": "a"}, total=1)}, "anon_probe_dead"),
    ("27 bad signature", {"S2": BAD_SIGNATURE}, "anon_probe_dead"),
    ("27 table", {"S5 users anon": INVALID}, "anon_probe_dead"),
    (
        "26 without a control",
        {"S2": DENIED, **{f"S5 {name} anon": DENIED for name in ("users", "credit_transactions", "ai_models")}},
        "anon_probe_dead",
    ),
    ("function disagrees", {"S6": probe_function(bypass=False)}, "inconsistent"),
    ("function sees RLS", {"S6": probe_function(active=True)}, "inconsistent"),
    ("function runs as another", {"S6": probe_function(user="authenticated")}, "inconsistent"),
    ("function says bypass, no row", {"S3": rows(), "S6": probe_function()}, "inconsistent"),
    ("anon sees more", {"S5 ai_models anon": rows({"id": "m"}, total=8)}, "inconsistent"),
    ("S1 500", {"S1": reply(500, {"message": "An unexpected error occurred"})}, "unknown"),
    ("S2 404", {"S2": NO_USERS}, "unknown"),
    ("S3 reset", {"S3": reset()}, "unknown"),
    ("S3 no array", {"S3": reply(200, {"id": 1, "nonce": NONCE})}, "unknown"),
    ("S3 405", {"S3": reply(405, "")}, "unknown"),
    ("S4 500 twice", {"S4": AUTH_BROKEN, "S4 root": AUTH_BROKEN}, "unknown"),
    ("S4 reset", {"S4": reset()}, "unknown"),
    ("S5 no count", {"S5 users service": rows({"id": "a"})}, "unknown"),
    ("S5 anon 404", {"S5 users anon": NO_USERS}, "unknown"),
    ("S5 public 500", {"S5 ai_models anon": reply(500, "")}, "unknown"),
    ("S6 not granted", {"S6": NOT_GRANTED_RPC}, "unknown"),
    ("S6 odd", {"S6": reply(200, {"user": "service_role", "bypass": True, "tables": {}})}, "unknown"),
    ("S6 nonsense", {"S6": reply(200, "null")}, "unknown"),
)
CANNOT_JUDGE = {
    *("network_down", "project_ref_wrong_or_deleted", "project_paused", "project_restricted", "gateway_down"),
    *("wrong_endpoint", "db_down", "schema_cache_loading", "pool_exhausted", "statement_timeout", "rate_limited"),
    *("key_rejected_unknown", "anon_probe_dead", "inconsistent", "unknown"),
}


@pytest.mark.parametrize(("changed", "reason"), [pytest.param(c, r, id=name) for name, c, r in ROWS])
async def test_each_row_of_the_table_has_its_reason_and_verdict(changed: Mapping[str, Act], reason: str) -> None:
    async with scripted(project(changed)) as server:
        seen = await look_key(context(server.url))
    assert seen.reason == reason, seen
    assert seen.verdict is (Verdict.UNKNOWN if reason in CANNOT_JUDGE else Verdict.UNHEALTHY)
    assert SERVICE not in f"{seen!r}{seen!s}"


async def test_row_31_is_healthy() -> None:
    async with scripted(project()) as server:
        seen = await look_key(context(server.url))
    assert (seen.reason, seen.verdict) == ("ok", Verdict.HEALTHY), seen


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"S6": probe_function()}, id="the probe function agrees"),
        pytest.param({"S2": DENIED}, id="26 anon holds no grant on the canary"),
        pytest.param({"S5 users anon": DENIED}, id="26 anon holds no grant on a table"),
        pytest.param({"S4": AUTH_BROKEN}, id="the root stands in for the admin API"),
        pytest.param({"S5 ai_models anon": DENIED}, id="a public table is closed"),
        pytest.param({"S1": reply(401, "", {"sb-error-code": "UNAUTHORIZED_MISSING_API_KEY"})}, id="newer gateway"),
    ],
)
async def test_row_31_has_several_forms(changed: Mapping[str, Act]) -> None:
    async with scripted(project(changed)) as server:
        seen = await look_key(context(server.url))
    assert seen.reason == "ok", seen


OFFLINE = [
    pytest.param("", ANON, "key_missing", id="8 empty"),
    pytest.param(" \n", ANON, "key_missing", id="8 blank"),
    pytest.param("your-service-role-key", ANON, "key_malformed", id="8 placeholder"),
    pytest.param("sb_secret_xxxx", ANON, "key_malformed", id="8 placeholder of the new family"),
    pytest.param(f'"{SERVICE}"', ANON, "key_malformed", id="8 quotes"),
    pytest.param(f"{SERVICE[:40]}\n{SERVICE[40:]}", ANON, "key_malformed", id="8 line break"),
    pytest.param("not.a.token", ANON, "key_malformed", id="8 no JWT"),
    pytest.param("ключ", ANON, "key_malformed", id="8 not ASCII"),
    pytest.param(jwt("anon"), "sb_publishable_abc", "key_wrong_role", id="9 anon"),
    pytest.param(jwt("authenticated"), ANON, "key_wrong_role", id="9 authenticated"),
    pytest.param(jwt(None), ANON, "key_wrong_role", id="9 no role"),
    pytest.param("sb_publishable_abcdef", ANON, "key_wrong_role", id="9 publishable"),
    pytest.param(SERVICE, SERVICE, "key_wrong_role", id="9 equal"),
    pytest.param(jwt("service_role", expires_in=timedelta(days=-1)), ANON, "key_expired", id="12 expired"),
]


@pytest.mark.parametrize(
    ("service_key", "anon_key", "reason"),
    OFFLINE,
)
async def test_what_a_key_says_about_itself_is_judged_without_the_network(
    service_key: str, anon_key: str, reason: str
) -> None:
    async with scripted(project()) as server:
        seen = await look_key(context(server.url, service_key, anon_key))
        assert server.asked == []
    assert (seen.reason, seen.verdict) == (reason, Verdict.UNHEALTHY), seen
    assert not service_key.strip() or service_key not in repr(seen)


async def test_row_10_a_key_of_another_project_is_told_by_its_ref() -> None:
    around = context("https://abcdefghijklmnopqrst.supabase.co", jwt("service_role", ref="zzzzzzzzzzzzzzzzzzzz"))
    seen = await look_key(around)
    assert (seen.reason, seen.verdict) == ("key_other_project", Verdict.UNHEALTHY)


async def test_a_ref_says_nothing_about_a_host_of_ones_own() -> None:
    service_key = jwt("service_role", ref="zzzzzzzzzzzzzzzzzzzz")
    async with scripted(project(service_key=service_key)) as server:
        seen = await look_key(context(server.url, service_key))
    assert seen.reason == "ok", seen


async def test_row_1_a_closed_port_and_a_name_that_does_not_exist_differ() -> None:
    closed = await look_key(context(f"http://127.0.0.1:{unused_port()}"))
    absent = await look_key(context("http://project.invalid"))
    assert (closed.reason, closed.verdict) == ("network_down", Verdict.UNKNOWN)
    assert absent.reason in {"project_ref_wrong_or_deleted", "network_down"}  # by whether a resolver is reachable
    assert absent.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("anon_key", ["", "nonsense", "sb_secret_abcdef", jwt("authenticated")])
async def test_row_27_without_a_usable_anon_key_nothing_is_called_closed(anon_key: str) -> None:
    async with scripted(project()) as server:
        seen = await look_key(context(server.url, anon_key=anon_key))
        assert {asked.headers.get("apikey") for asked in server.asked} == {None, SERVICE}
    assert (seen.reason, seen.verdict) == ("anon_probe_dead", Verdict.UNKNOWN), seen


async def test_without_a_row_that_must_exist_the_bypass_stays_unproven() -> None:
    keys = {name: value for name, value in CANARY.items() if name != "canary"}
    async with scripted(project({"S6": probe_function()})) as server:
        seen = await look_key(context(server.url), keys)
    assert (seen.reason, seen.verdict) == ("unknown", Verdict.UNKNOWN)
    assert "neither a canary nor a witness" in seen.detail


async def test_without_a_row_that_must_exist_a_refused_key_is_still_told() -> None:
    keys = {name: value for name, value in CANARY.items() if name != "canary"}
    async with scripted(project({"S5 users service": INVALID})) as server:
        seen = await look_key(context(server.url), keys)
    assert seen.reason == "key_invalid"


async def test_all_tables_missing_points_at_the_schema() -> None:
    gone = {"S3": GONE, "S5 users service": NO_USERS, "S5 credit_transactions service": NO_LEDGER}
    async with scripted(project({**gone, "S5 ai_models service": NO_LEDGER})) as server:
        seen = await look_key(context(server.url))
    assert "exposed schemas" in seen.detail


async def test_the_time_of_disabling_is_told() -> None:
    async with scripted(project({"S3": LEGACY})) as server:
        seen = await look_key(context(server.url))
    assert seen.detail == "disabled on 2026-10-01T12:00:00"


def test_every_row_of_the_table_and_every_reason_is_among_these_cases() -> None:
    """Rows 10, 23, 25 and 26 have tests of their own: a hosted name, and notes."""
    listed = [(name, reason) for name, _, reason in ROWS]
    listed += [(str(case.id), str(case.values[-1])) for case in (*OFFLINE, *USER_ROWS, *WRITE_ROWS)]
    rows_seen = {int(name.split()[0]) for name, _ in listed if name.split()[0].isdecimal()}
    assert rows_seen >= set(range(1, 32)) - {10, 23, 25}
    reasons = {reason for _, reason in listed} | {"key_other_project", "project_ref_wrong_or_deleted"}
    assert reasons == {reason.value for reason in ServiceKeyReason}
