"""One observation as blackbox_exporter would tell it, so that dashboards and alerts made for it work.

Names, labels and presets are those of its `/probe` (prober/http.go, prober/handler.go). What was not seen is absent,
except phases and the status, which are 0 there too.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from sidecar.domain.check import JSON, Check, Observation, Verdict

PHASES = ("resolve", "connect", "tls", "processing", "transfer")
LABEL_CHARACTERS_AT_MOST = 1024  # of what a certificate says about itself
CONDITION_REASONS = frozenset({"condition_failed", "condition_error"})
HTTP = "http"


class Told:
    """A collector of one observation."""

    def __init__(self, check: Check, seen: Observation) -> None:
        """Tell of `seen`, the last look of `check`."""
        self._check = check
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """Return every family."""
        seen = self._seen
        if seen.verdict is not Verdict.UNKNOWN:  # what could not be judged is neither a success nor a failure
            yield _gauge("probe_success", "Whether the look saw a healthy target.", seen.verdict is Verdict.HEALTHY)
        yield _gauge("probe_duration_seconds", "How long the look took, in seconds.", seen.duration_seconds)
        yield _gauge("probe_timeout_seconds", "The deadline of the look, in seconds.", self._check.timeout_seconds)
        resolve_seconds = seen.phases.get("resolve", 0.0)
        yield _gauge("probe_dns_lookup_time_seconds", "Time taken to resolve the name, in seconds.", resolve_seconds)
        yield from _address(seen.facts.get("address"))
        if seen.kind == HTTP and seen.verdict is not Verdict.UNKNOWN:  # a status of 0 would ring an alarm
            yield from _http(seen)
        yield from _tls(seen)


def _http(seen: Observation) -> Iterator[Metric]:
    facts = seen.facts
    phases = GaugeMetricFamily(
        "probe_http_duration_seconds",
        "Duration of the request by phase, summed over all redirects, in seconds.",
        labels=("phase",),
    )
    for phase in PHASES:
        phases.add_metric((phase,), seen.phases.get(phase, 0.0))
    yield phases
    yield _gauge("probe_http_status_code", "Status of the last answer, 0 for none.", _number(facts.get("status")) or 0)
    yield _gauge("probe_http_redirects", "Redirects that were followed.", _number(facts.get("redirects")) or 0)
    yield _gauge("probe_http_ssl", "Whether the last answer came over TLS.", facts.get("final_url_scheme") == "https")
    yield from _known("probe_http_content_length", "Bytes of the body as sent.", facts.get("transferred_bytes"))
    yield from _known(
        "probe_http_uncompressed_body_length", "Bytes of the body, decompressed.", facts.get("size_bytes")
    )
    yield from _known("probe_http_version", "Version of HTTP of the last answer.", _http_version(facts))
    modified = _unix(facts.get("last_modified"))
    yield from _known("probe_http_last_modified_timestamp_seconds", "Unix time of the header Last-Modified.", modified)
    yield _gauge("probe_failed_due_to_regex", "Always 0: conditions are written in CEL.", 0)
    yield _gauge("probe_failed_due_to_cel", "Whether a condition failed the look.", seen.reason in CONDITION_REASONS)


def _tls(seen: Observation) -> Iterator[Metric]:
    found = seen.facts.get("certificate")
    certificate = found if isinstance(found, dict) else {}
    expiry = _unix(certificate.get("expires_at"))
    if expiry is None and seen.kind == HTTP and seen.expires_at is not None:
        expiry = seen.expires_at.timestamp()
    chain = _unix(certificate.get("chain_expires_at"))
    ends = [instant for instant in (expiry, chain) if instant is not None]
    earliest = min(ends) if ends else None
    yield from _known("probe_ssl_earliest_cert_expiry", "Unix time at which the first certificate ends.", earliest)
    yield from _known(
        "probe_ssl_last_chain_expiry_timestamp_seconds", "Unix time at which the verified chain ends.", chain
    )
    if certificate:
        yield _info(
            "probe_ssl_last_chain_info",
            "1, with the certificate of the server.",
            {
                "fingerprint_sha256": _text(certificate.get("fingerprint_sha256")),
                "subject": _text(certificate.get("subject")),
                "issuer": _text(certificate.get("issuer")),
                "subjectalternative": _text(certificate.get("alternative_names")),
                "serialnumber": _text(certificate.get("serial")),
            },
        )
    if version := _text(seen.facts.get("tls_version")):
        # Python says TLSv1.3 where Go says TLS 1.3.
        shown = re.sub(r"^TLSv(?=[0-9])", "TLS ", version)
        yield _info("probe_tls_version_info", "1, with the version of TLS.", {"version": shown})
    if cipher := _text(seen.facts.get("tls_cipher")):
        yield _info("probe_tls_cipher_info", "1, with the cipher suite.", {"cipher": cipher})


def _address(address: JSON) -> Iterator[Metric]:
    try:
        ip = ipaddress.ip_address(address) if isinstance(address, str) else None
    except ValueError:
        ip = None
    if ip is not None:
        yield _gauge("probe_ip_protocol", "4 or 6.", ip.version)
        yield _gauge("probe_ip_addr_hash", "FNV-1a of the address, to see it change.", _fnv1a(ip.packed))


def _fnv1a(content: bytes) -> int:
    """Hash as Go's hash/fnv New32a does."""
    found = 0x811C9DC5
    for byte in content:
        found = ((found ^ byte) * 0x01000193) & 0xFFFFFFFF
    return found


def _http_version(facts: Mapping[str, JSON]) -> float | None:
    match = re.fullmatch(r"(?:HTTP/)?([0-9](?:\.[0-9])?)", str(facts.get("http_version")))
    return float(match[1]) if match else None


def _number(value: JSON) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unix(value: JSON) -> float | None:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at.timestamp() if at is not None and at.tzinfo is not None else None


def _text(value: JSON) -> str:
    """Render what a server said about itself: on one line, of bounded length, and something that can be encoded."""
    text = ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain[:LABEL_CHARACTERS_AT_MOST].encode("utf-8", "replace").decode()


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=float(value))


def _known(name: str, help_text: str, value: JSON) -> Iterator[Metric]:
    number = _number(value)
    if number is not None:
        yield _gauge(name, help_text, number)


def _info(name: str, help_text: str, labels: Mapping[str, str]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family
