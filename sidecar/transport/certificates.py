"""Reads what a certificate says, through the TLS library's own parser."""

import hashlib
import ssl
from datetime import UTC, datetime
from typing import Any

from sidecar.certificate import Certificate

_DER = 2  # _ssl.ENCODING_DER


def certificate_of(tls: ssl.SSLObject) -> Certificate | None:
    """Return the server's certificate, verified or not; None where the TLS library does not tell.

    `getpeercert()` is empty for a certificate that was not verified, and says nothing of the chain. The chains' entries
    say everything. They are there since Python 3.10, in 3.13 in public too but as bytes alone; so they are reached the
    way `ssl` itself reaches them.
    """
    shown = _chain(tls, "get_unverified_chain")
    if not shown:
        return None
    verified = _chain(tls, "get_verified_chain") if tls.context.verify_mode is not ssl.CERT_NONE else []
    leaf = shown[0].get_info()
    return Certificate(
        expires_at=_instant(leaf["notAfter"]),
        starts_at=_instant(leaf["notBefore"]),
        subject=_name(leaf.get("subject", ())),
        issuer=_name(leaf.get("issuer", ())),
        alternative_names=tuple(value for _, value in leaf.get("subjectAltName", ())),
        serial=leaf.get("serialNumber", ""),
        fingerprint_sha256=hashlib.sha256(shown[0].public_bytes(_DER)).hexdigest(),
        chain_expires_at=min((_instant(entry.get_info()["notAfter"]) for entry in verified), default=None),
    )


def _chain(tls: ssl.SSLObject, name: str) -> list[Any]:
    ask = getattr(getattr(tls, "_sslobj", None), name, None)
    try:
        return list(ask() or ()) if ask is not None else []
    except (ValueError, ssl.SSLError):
        return []


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def _name(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    return ", ".join(f"{key}={value}" for part in parts for key, value in part)
