"""The values that conditions see of an answer."""

import json
from collections.abc import Mapping
from datetime import datetime

from sidecar.domain.check import JSON
from sidecar.wire import Answer, Certificate

PHASES = ("resolve", "connect", "tls", "processing", "transfer")


def answer_bindings(
    answer: Answer,
    *,
    used: frozenset[str],
    latency_seconds: float,
    phases: Mapping[str, float],
    now: datetime,
) -> dict[str, JSON]:
    """Return the values of the names that are `used`; a phase that was not gone through took no time."""
    found: dict[str, JSON] = {"status": answer.status, "latency_seconds": latency_seconds}
    if "headers" in used:
        found["headers"] = dict(answer.headers)
    if "body" in used:
        found["body"] = cel_json(answer.content)
    if "text" in used:
        found["text"] = answer.text
    if "phases" in used:
        found["phases"] = {phase: phases.get(phase, 0.0) for phase in PHASES}
    if "certificate" in used:
        found["certificate"] = _certificate(answer.certificate, now) if answer.certificate else None
    return found


def _certificate(certificate: Certificate, now: datetime) -> dict[str, JSON]:
    chain = certificate.chain_expires_at
    return {
        "expires_at": certificate.expires_at.isoformat(),
        "expires_in_seconds": (certificate.expires_at - now).total_seconds(),
        "starts_at": certificate.starts_at.isoformat(),
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "alternative_names": list(certificate.alternative_names),
        "chain_expires_in_seconds": (chain - now).total_seconds() if chain else None,
    }


def cel_json(content: bytes) -> JSON:
    """Parse JSON into numbers that CEL can reckon with: 64-bit integers, and doubles. None when it is not JSON."""
    try:
        parsed: JSON = json.loads(content, parse_float=float, parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return parsed


def _integer(digits: str) -> int | float:
    number = int(digits) if len(digits) <= 20 else None  # longer than any 64-bit integer with its sign
    return number if number is not None and -(2**63) <= number < 2**63 else float(digits)


def _refuse(name: str) -> None:
    raise ValueError(name)
