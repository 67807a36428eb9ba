"""What a Supabase key says about itself, before anything is sent (step S0 of design 40-supabase.md C2)."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from sidecar.domain.reasons import ServiceKeyReason

_HOSTED = re.compile(r"^([a-z0-9]{20})\.supabase\.(?:co|in)$")
_PLACEHOLDER = re.compile(
    r"your[-_ ]|placeholder|change.?me|replace|<|>|\.\.\.|\$\{|^(?:x+|null|none|-+)$", re.IGNORECASE
)
_SENDABLE = re.compile(r"^[A-Za-z0-9_.=+/-]+$")


class KeyFamily(StrEnum):
    """The two families of Supabase keys, and what is neither."""

    LEGACY = "legacy"  # an HS256 JWT
    SECRET = "sb_secret"  # noqa: S105  # a family's name, no secret
    PUBLISHABLE = "sb_publishable"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLint:
    """What could be told offline. `fault` is None when nothing speaks against sending the key.

    `anon_fault` says why the anon key cannot serve as a control, empty when it can. `digest` is the first 8 hex digits
    of the service key's SHA-256. `ref` is the project that a hosted URL names, None elsewhere.
    """

    fault: ServiceKeyReason | None
    detail: str
    family: KeyFamily
    digest: str
    expires_at: datetime | None
    ref: str | None
    anon_fault: str
    is_expiring: bool = False


def lint(*, service_key: str, anon_key: str, supabase_url: str, now: datetime, expiring_days: int) -> KeyLint:
    """Look at both keys without sending them. `now` is aware UTC."""
    service, anon = service_key.strip(), anon_key.strip()
    family, claims = _family(service), _claims(service)
    ref = project_ref(supabase_url)
    expires_at = _expiry(claims)
    fault, detail = _fault(service, anon, family, claims)
    if fault is None and ref is not None and claims.get("ref") not in (None, ref):
        fault, detail = ServiceKeyReason.KEY_OTHER_PROJECT, "the key names another project than the URL"
    if fault is None and expires_at is not None and expires_at <= now:
        fault, detail = ServiceKeyReason.KEY_EXPIRED, f"the key expired at {expires_at:%Y-%m-%dT%H:%MZ}"
    return KeyLint(
        fault=fault,
        detail=detail,
        family=family,
        digest=hashlib.sha256(service.encode("utf-8", "surrogatepass")).hexdigest()[:8] if service else "",
        expires_at=expires_at,
        ref=ref,
        anon_fault=_anon_fault(anon),
        is_expiring=expires_at is not None and now < expires_at < now + timedelta(days=expiring_days),
    )


def project_ref(supabase_url: str) -> str | None:
    """Return the project that a hosted URL names; None for any other host."""
    try:
        host = urlsplit(supabase_url).hostname or ""
    except ValueError:
        return None
    match = _HOSTED.match(host)
    return match.group(1) if match else None


def _fault(
    service: str, anon: str, family: KeyFamily, claims: Mapping[str, object]
) -> tuple[ServiceKeyReason | None, str]:
    if not service:
        return ServiceKeyReason.KEY_MISSING, "no service key is configured"
    if not _SENDABLE.match(service):
        return ServiceKeyReason.KEY_MALFORMED, "the key holds a quote, a blank, a line break or another odd character"
    if family is KeyFamily.NONE:
        placeholder = " and looks like a placeholder" if _PLACEHOLDER.search(service) else ""
        return ServiceKeyReason.KEY_MALFORMED, f"the key is neither a JWT nor an sb_ key{placeholder}"
    if family is KeyFamily.PUBLISHABLE:
        return ServiceKeyReason.KEY_WRONG_ROLE, "a publishable key stands in the service key's place"
    if hmac.compare_digest(_sha256(service), _sha256(anon)):
        return ServiceKeyReason.KEY_WRONG_ROLE, "the service key equals the anon key"
    if family is KeyFamily.LEGACY and claims.get("role") != "service_role":
        return ServiceKeyReason.KEY_WRONG_ROLE, "the role claim of the key is not service_role"
    return None, ""


def _anon_fault(anon: str) -> str:
    if not anon:
        return "no anon key is configured"
    family = _family(anon)
    if family is KeyFamily.NONE or not _SENDABLE.match(anon):
        return "the anon key is neither a JWT nor an sb_ key"
    if family is KeyFamily.SECRET or (family is KeyFamily.LEGACY and _claims(anon).get("role") != "anon"):
        return "the anon key is not an anon key"
    return ""


def _family(key: str) -> KeyFamily:
    for prefix, family in (("sb_secret_", KeyFamily.SECRET), ("sb_publishable_", KeyFamily.PUBLISHABLE)):
        if key.startswith(prefix):
            rest = key.removeprefix(prefix)
            return family if rest and not _PLACEHOLDER.search(rest) else KeyFamily.NONE
    return KeyFamily.LEGACY if _claims(key) else KeyFamily.NONE


def _claims(key: str) -> Mapping[str, object]:
    """Return the JWT's claims unverified: only the server can verify them. Empty when it is no JWT."""
    parts = key.split(".")
    if len(parts) != 3 or not all(parts):  # header, claims, signature
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _expiry(claims: Mapping[str, object]) -> datetime | None:
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        return None
    try:
        return datetime.fromtimestamp(expires, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
