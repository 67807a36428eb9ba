"""Does the service key bypass RLS, and is anon kept out? Design 40-supabase.md C3 as a table, first match wins.

Pure. One function a row, its number in the comment. Nothing but row 31 is `ok`, and nothing unlisted is judged.
Rows 23, 25 and 26 are notes. Rows 28 to 30 are in `key_options`, row 31 in `key_proof`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sidecar.domain.key_evidence import Evidence, Hit, Step
from sidecar.domain.key_layout import needs_key_set, speaks_as_supabase
from sidecar.domain.key_options import blocked_write, broken_control, disagreeing_options, leaked_to_user
from sidecar.domain.key_proof import is_not_installed, is_privileged, proven
from sidecar.domain.reasons import ServiceKeyNote, ServiceKeyReason
from sidecar.errors import Unreached

Why = ServiceKeyReason
Row: TypeAlias = Callable[[Evidence], Hit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the evidence comes to. `detail` holds no key, no text of the server's and no row value."""

    reason: ServiceKeyReason
    detail: str
    notes: tuple[ServiceKeyNote, ...]


def judge(evidence: Evidence) -> Judgement:
    """Walk the table from the top."""
    hits = (row(evidence) for row in _TABLE)
    reason, detail = next((hit for hit in hits if hit is not None), (Why.UNKNOWN, _unlisted(evidence)))
    return Judgement(reason=reason, detail=detail, notes=tuple(_notes(evidence)))


def _unreachable(evidence: Evidence) -> Hit:  # row 1
    wire = evidence.wire
    if wire is None or wire.cause is None or wire.cause in _NOT_SUPABASE:
        return None
    if wire.cause is Unreached.RESOLVE_FAILED:
        return Why.PROJECT_REF_WRONG_OR_DELETED, "the host name does not exist"
    return Why.NETWORK_DOWN, str(wire)


def _paused(evidence: Evidence) -> Hit:  # row 2
    return _any(evidence, Why.PROJECT_PAUSED, lambda step: step.status == 540)


def _restricted(evidence: Evidence) -> Hit:  # row 3
    return _any(
        evidence, Why.PROJECT_RESTRICTED, lambda step: step.status == 402 and step.says("exceed_", "overdue_payment")
    )


def _gateway_down(evidence: Evidence) -> Hit:  # row 4
    def broken(step: Step) -> bool:
        if step.status in (520, 521, 522, 544) or (step.status == 503 and not step.code):
            return True
        # An HTML 429 is row 7, and a captive portal's page in place of S1 is row 5.
        return step.is_html and step.status != 429 and (step is not evidence.wire or (step.status or 0) >= 500)

    return _any(evidence, Why.GATEWAY_DOWN, broken)


def _wrong_endpoint(evidence: Evidence) -> Hit:  # row 5
    wire = evidence.wire
    if wire is None:
        return None
    if wire.cause in _NOT_SUPABASE:
        return Why.WRONG_ENDPOINT, f"{wire}: what answers does not speak as Supabase does"
    answered_ref = wire.headers.get("sb-project-ref")
    if evidence.lint.ref and answered_ref and answered_ref != evidence.lint.ref:
        return Why.WRONG_ENDPOINT, "another project answers at this URL"
    status = wire.status or 0
    if 200 <= status < 500 and status != 429 and not speaks_as_supabase(evidence) and not _is_undecided(evidence):
        return Why.WRONG_ENDPOINT, f"{wire}: not how a Supabase gateway refuses a request without a key"
    return None


def _is_undecided(evidence: Evidence) -> bool:
    """Tell whether Auth was asked to vouch for the gateway, and did not say either way."""
    step = evidence.key_set
    return needs_key_set(evidence) and step is not None and (step.status is None or step.status >= 500)


_DATABASE: Mapping[tuple[int | None, str], ServiceKeyReason] = {
    (503, "PGRST000"): Why.DB_DOWN,
    (503, "PGRST001"): Why.DB_DOWN,
    (503, "PGRST002"): Why.SCHEMA_CACHE_LOADING,
    (504, "PGRST003"): Why.POOL_EXHAUSTED,
    (500, "57014"): Why.STATEMENT_TIMEOUT,
}


def _database(evidence: Evidence) -> Hit:  # row 6
    for step in evidence.steps():
        reason = _DATABASE.get((step.status, step.code))
        if reason is not None:
            return reason, str(step)
    return None


def _rate_limited(evidence: Evidence) -> Hit:  # row 7
    return _any(evidence, Why.RATE_LIMITED, lambda step: step.status == 429)


def _key_absent(evidence: Evidence) -> Hit:  # row 8
    return _linted(evidence, Why.KEY_MISSING, Why.KEY_MALFORMED)


def _wrong_role(evidence: Evidence) -> Hit:  # row 9
    admin, root = evidence.admin, evidence.root
    if admin is not None and admin.status == 403 and admin.code == "not_admin":
        return Why.KEY_WRONG_ROLE, str(admin)
    if root is not None and root.status == 401 and root.says("only the `service_role`", "secret api key required"):
        return Why.KEY_WRONG_ROLE, str(root)
    return _linted(evidence, Why.KEY_WRONG_ROLE)


def _other_project(evidence: Evidence) -> Hit:  # row 10
    return _linted(evidence, Why.KEY_OTHER_PROJECT)


def _legacy_disabled(evidence: Evidence) -> Hit:  # row 11
    step = _refused(evidence)
    if step is None or not step.says("legacy api keys are disabled", "legacy api keys (anon, service_role) were"):
        return None
    since = re.search(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?", step.hint)
    return Why.LEGACY_KEYS_DISABLED, f"disabled on {since.group()}" if since else str(step)


def _expired(evidence: Evidence) -> Hit:  # row 12
    step = _refused(evidence)
    if step is not None:
        # PGRST303 says any claim failed; "not yet valid" and its like are row 16.
        other_claim = step.says("not yet", "issued at", "audience")
        if (step.code == "PGRST303" and not other_claim) or (step.code == "PGRST301" and step.says("expired")):
            return Why.KEY_EXPIRED, str(step)
    return _linted(evidence, Why.KEY_EXPIRED)


def _invalid(evidence: Evidence) -> Hit:  # row 13
    step, admin = _refused(evidence), evidence.admin
    if step is not None and not step.code and (step.says(*_INVALID) or _is_bare_refusal(evidence, step)):
        return Why.KEY_INVALID, str(step)
    if step is not None and step.code == "PGRST301" and step.says("key type", "cryptographic operation", "signature"):
        return Why.KEY_INVALID, str(step)
    if admin is not None and admin.status == 403 and admin.code == "bad_jwt":
        return Why.KEY_INVALID, str(admin)
    return None


def _is_bare_refusal(evidence: Evidence, step: Step) -> bool:
    """Gateways of one's own say no more than this: newer Kong in JSON, Envoy in plain text."""
    return evidence.lint.ref is None and step.message.strip() == "Unauthorized"


def _browser(evidence: Evidence) -> Hit:  # row 14
    step = _refused(evidence)
    return (Why.CLIENT_MISCONFIGURED, str(step)) if step and step.says("secret api key in browser") else None


def _sent_as_bearer(evidence: Evidence) -> Hit:  # row 15
    step = _refused(evidence)
    is_bearer = step is not None and step.code == "PGRST301" and step.says("expected 3 parts")
    return (Why.SB_KEY_SENT_AS_BEARER, str(step)) if is_bearer else None


def _rejected(evidence: Evidence) -> Hit:  # row 16
    step = _refused(evidence)
    return (Why.KEY_REJECTED_UNKNOWN, str(step)) if step is not None else None


def _no_grant(evidence: Evidence) -> Hit:  # row 17
    for step in evidence.service_reads():
        if step.is_denied:
            return Why.KEY_WRONG_ROLE, f"{step}: the request ran as the anonymous role"
        if step.status == 403 and step.code == "42501" and step.says(*_RELATIONS):
            return Why.GRANT_MISSING, str(step)
    return None


def _no_schema(evidence: Evidence) -> Hit:  # row 18
    for step in evidence.service_reads():
        if step.status == 403 and step.code == "42501" and step.says("permission denied for schema"):
            return Why.SCHEMA_NOT_GRANTED, str(step)
        if step.status == 406 and step.code == "PGRST106":
            return Why.SCHEMA_NOT_EXPOSED, str(step)
    return None


def _no_table(evidence: Evidence) -> Hit:  # row 19
    reads = list(evidence.service_reads())
    absent = [step for step in reads if step.status == 404 and step.code in ("PGRST205", "42P01")]
    if not absent:
        return None
    scope = "; no table at all is there, so look at the exposed schemas" if len(absent) == len(reads) > 1 else ""
    return Why.TABLE_MISSING_OR_NOT_EXPOSED, ", ".join(str(step) for step in absent) + scope


def _drift(evidence: Evidence) -> Hit:  # row 20
    step = evidence.service_canary
    if step is None or step.status != 400 or step.code not in ("42703", "PGRST204", "PGRST100"):
        return None
    return Why.SCHEMA_DRIFT, str(step)


def _rls_applied(evidence: Evidence) -> Hit:  # row 21
    step = evidence.service_canary
    if step is None or not step.is_read or step.rows or not is_privileged(evidence):
        return None
    if _wrote(evidence) or (evidence.bypass is not None and evidence.bypass.agrees):
        return None  # two answers that cannot both be true: see _inconsistent
    return Why.RLS_STILL_APPLIED, f"{step}: the service key does not see a row that must exist"


def _wrote(evidence: Evidence) -> bool:
    return evidence.write is not None and evidence.write.written.visible > 0


def _tampered(evidence: Evidence) -> Hit:  # row 22
    step = evidence.service_canary
    if step is None or not step.is_read or not step.rows:
        return None
    if step.rows > 1:
        return Why.CANARY_TAMPERED, f"{step}: more than one row"
    return None if step.matches else (Why.CANARY_TAMPERED, f"{step}: not the row that was put there")


def _leak(evidence: Evidence) -> Hit:  # row 24
    if not evidence.is_anon_alive:
        return None
    if evidence.anon_canary is not None and evidence.anon_canary.visible:
        return Why.RLS_LEAK_ANON, f"{evidence.anon_canary}: anon sees the row that it must not see"
    seen = [s for s in evidence.tables if not s.is_public and s.anon is not None and s.anon.visible]
    leaks = ", ".join(f"{sight.table} ({sight.anon.visible} rows)" for sight in seen if sight.anon is not None)
    return (Why.RLS_LEAK_ANON, f"anon sees {leaks}") if leaks else None


def _anon_dead(evidence: Evidence) -> Hit:  # row 27
    if evidence.credential is None:
        return None  # the look stopped before anon was asked
    if evidence.lint.anon_fault:
        return Why.ANON_PROBE_DEAD, evidence.lint.anon_fault
    for step in evidence.anon_reads():
        if step.status == 401 and not step.is_denied:
            return Why.ANON_PROBE_DEAD, str(step)
    canary = evidence.anon_canary
    if canary is not None and canary.is_denied and not evidence.is_anon_alive:
        return Why.ANON_PROBE_DEAD, f"{canary}: and no other read of anon's was answered"
    return None


def _inconsistent(evidence: Evidence) -> Hit:  # the paragraph after the table
    step, bypass = evidence.service_canary, evidence.bypass
    if step is not None and step.is_read and bypass is not None and bypass.agrees != bool(step.rows):
        claim = "bypasses" if bypass.agrees else "does not bypass"
        return Why.INCONSISTENT, f"the probe function says that the key {claim} RLS, and the canary read says otherwise"
    if step is not None and step.is_hidden and _wrote(evidence):
        return Why.INCONSISTENT, f"{step}, but a row that the key cannot see was written with it"
    for read in (*evidence.service_reads(), *evidence.anon_reads()):
        if read.contradicts_itself:
            return Why.INCONSISTENT, f"{read}: the rows that came are not as many as it counts"
    for sight in evidence.tables:
        if sight.anon is not None and sight.service.is_read and sight.anon.visible > sight.service.visible:
            return Why.INCONSISTENT, f"anon sees more rows of {sight.table} than the service key"
    return disagreeing_options(evidence)


_NOT_SUPABASE = frozenset({Unreached.PROTOCOL_BROKEN, Unreached.BODY_TOO_LARGE})
_INVALID = ("invalid api key", "unregistered api key", "invalid authentication credentials")  # the last: older Kong
_RELATIONS = tuple(
    f"permission denied for {kind}" for kind in ("table", "view", "materialized view", "foreign table", "relation")
)

_TABLE: tuple[Row, ...] = (
    _unreachable,
    _paused,
    _restricted,
    _gateway_down,
    _wrong_endpoint,
    _database,
    _rate_limited,
    _key_absent,
    _wrong_role,
    _other_project,
    _legacy_disabled,
    _expired,
    _invalid,
    _browser,
    _sent_as_bearer,
    _rejected,
    _no_grant,
    _no_schema,
    _no_table,
    _drift,
    _rls_applied,
    _tampered,
    _leak,
    _anon_dead,
    leaked_to_user,
    broken_control,
    blocked_write,
    _inconsistent,
    proven,
)


def _any(evidence: Evidence, reason: ServiceKeyReason, holds: Callable[[Step], bool]) -> Hit:
    return next(((reason, str(step)) for step in evidence.steps() if holds(step)), None)


def _linted(evidence: Evidence, *reasons: ServiceKeyReason) -> Hit:
    fault = evidence.lint.fault
    return (fault, evidence.lint.detail) if fault is not None and fault in reasons else None


def _refused(evidence: Evidence) -> Step | None:
    """Return the read that shows that the key was not accepted; a 42501 is about grants, row 17."""
    step = evidence.credential
    return step if step is not None and step.status == 401 and not step.is_denied else None


def _unlisted(evidence: Evidence) -> str:
    unreached = next((str(step) for step in evidence.steps() if step.cause is not None), None)
    if unreached is not None:
        return unreached
    if evidence.wire is not None and evidence.tables and evidence.service_canary is None:
        return "neither a canary nor a witness row is configured, so the bypass cannot be proven"
    canary, rpc = evidence.service_canary, evidence.rpc
    if evidence.by_witness and canary is not None and canary.matches and (rpc is None or is_not_installed(rpc)):
        return "a policy may be what shows the witness: install the fixture, whose probe function proves the bypass"
    user = evidence.user
    if user is not None and user.own is None and user.sign_in is not None:
        return f"{user.sign_in}: the canary user could not sign in, so what a user sees is not known"
    expected = (evidence.wire, evidence.key_set)
    odd = [str(step) for step in evidence.steps() if not (step.is_read or step.is_closed or step in expected)]
    return "not in the table of known answers" + (f": {', '.join(odd[:5])}" if odd else "")


def _notes(evidence: Evidence) -> list[ServiceKeyNote]:
    anon = list(evidence.anon_reads())
    held = {
        ServiceKeyNote.KEY_EXPIRING: evidence.lint.is_expiring,  # row 12
        ServiceKeyNote.KEY_LEGACY: evidence.lint.family == "legacy" and evidence.lint.ref is not None,
        ServiceKeyNote.PROFILES_MISSING: _lacks_profiles(evidence),
        ServiceKeyNote.ANON_HIDDEN: any(step.is_hidden for step in anon),  # row 25
        ServiceKeyNote.ANON_DENIED: any(step.is_denied for step in anon),  # row 26
    }
    return [note for note, holds in held.items() if holds]


def _lacks_profiles(evidence: Evidence) -> bool:  # row 23
    subjects = evidence.admin.total if evidence.admin is not None and evidence.admin.status == 200 else None
    canary = evidence.service_canary
    if canary is None or not canary.matches:
        return False
    counts = [s.service.total for s in evidence.tables if s.table == evidence.profiles and s.service.is_read]
    return any(count is not None and (count < subjects if subjects is not None else count == 0) for count in counts)
