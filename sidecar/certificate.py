"""What a server's certificate says. Below everything else, since even an error may carry one."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A server's certificate, whether or not it was believed.

    Instants are aware UTC; `chain_expires_at` is the earliest end in the verified chain, None where none was verified.
    `subject` and `issuer` are written as `commonName=…, organizationName=…`; `fingerprint_sha256` is hexadecimal.
    """

    expires_at: datetime
    starts_at: datetime
    subject: str
    issuer: str
    alternative_names: tuple[str, ...]
    serial: str
    fingerprint_sha256: str
    chain_expires_at: datetime | None = None
