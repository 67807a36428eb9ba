"""What an `http` look tells of an answer beside its verdict: bounded, and without secrets."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from sidecar.domain.check import JSON
from sidecar.domain.masking import MASK, mask_text
from sidecar.wire import Answer, Certificate

HEADERS_AT_MOST = 32
HEADER_CHARACTERS_AT_MOST = 200
NAMES_AT_MOST = 16  # of a certificate
NAME_CHARACTERS_AT_MOST = 256

_SECRET_NAME = re.compile(r"cookie|auth(?!enticate)|token|secret|passw|session|csrf|signature|(?:api|access)-?key")
# As they are: dates and sizes are other ones at every look, and a challenge names its scheme like a secret does.
_AS_THEY_ARE = frozenset(
    {"age", "content-length", "date", "expires", "last-modified", "proxy-authenticate", "www-authenticate"}
)
_READ_AT_MOST = HEADER_CHARACTERS_AT_MOST + 400  # longer than what is masked can be cut without being recognised


def facts_of(answer: Answer, secrets: Iterable[str]) -> dict[str, JSON]:
    """Return what an answer tells; none of `secrets` is shown, nor what looks like one."""
    facts: dict[str, JSON] = {
        "status": answer.status,
        "size_bytes": len(answer.content),
        "transferred_bytes": answer.transferred_bytes,
        "http_version": answer.http_version,
        "headers": shown_headers(answer.headers, secrets),
    }
    if answer.tls_version is not None:
        facts |= {"tls_version": answer.tls_version, "tls_cipher": answer.tls_cipher}
    if (modified := answer.headers.get("last-modified")) and (instant := _instant(modified)):
        facts["last_modified"] = instant
    return facts


def certificate_facts(certificate: Certificate) -> dict[str, JSON]:
    """Return what a certificate says of itself, believed or not."""
    chain = certificate.chain_expires_at
    names: list[JSON] = [_bounded(name) for name in certificate.alternative_names[:NAMES_AT_MOST]]
    return {
        "subject": _bounded(certificate.subject),
        "issuer": _bounded(certificate.issuer),
        "alternative_names": names,
        "serial": certificate.serial,
        "fingerprint_sha256": certificate.fingerprint_sha256,
        "expires_at": certificate.expires_at.isoformat(),
        "chain_expires_at": chain.isoformat() if chain else None,
    }


def shown_headers(headers: Mapping[str, str], secrets: Iterable[str]) -> dict[str, JSON]:
    """Return the first headers, each cut short, secrets masked."""
    hidden, shown = tuple(secrets), dict[str, JSON]()
    for name, value in headers.items():
        if len(shown) == HEADERS_AT_MOST:
            break
        if hidden and any(secret in value for secret in hidden):
            shown[name[:HEADER_CHARACTERS_AT_MOST]] = MASK
        elif name in _AS_THEY_ARE:
            shown[name] = value[:HEADER_CHARACTERS_AT_MOST]
        else:
            shown[name[:HEADER_CHARACTERS_AT_MOST]] = _shown(name, value[:_READ_AT_MOST])
    return shown


@lru_cache(maxsize=1024)
def _shown(name: str, value: str) -> str:
    if _SECRET_NAME.search(name):
        return MASK
    if name == "location":
        value = re.split(r"[?#]", value, maxsplit=1)[0]
    masked = mask_text(value)  # before it is cut: half a key is not recognised
    return masked if len(masked) <= HEADER_CHARACTERS_AT_MOST else masked[:HEADER_CHARACTERS_AT_MOST] + "…"


@lru_cache(maxsize=256)
def _instant(text: str) -> str | None:
    try:
        found: datetime = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found.astimezone(UTC).isoformat() if found.tzinfo is not None else None


def _bounded(text: str) -> str:
    return text[:NAME_CHARACTERS_AT_MOST]
