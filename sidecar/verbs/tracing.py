"""What happened in one look, for a person: how far it came, what it found there, and what decided."""

import json
from collections.abc import Iterator, Mapping

from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.masking import mask, mask_text
from sidecar.verbs.result import iso, observation_document

PHASES = ("resolve", "connect", "tls", "processing", "transfer")
VALUE_CHARACTERS_AT_MOST = 300
# These have lines of their own.
_TOLD = frozenset(
    {
        "address", "attempts", "certificate", "condition", "failed_attempts", "final_url_scheme", "headers",
        "http_version", "redirects", "size_bytes", "status", "tls_cipher", "tls_version", "transferred_bytes",
    }
)  # fmt: skip


def trace_lines(check: Check, seen: Observation) -> list[str]:
    """Return lines to stand below the look's own."""
    return [f"  {label:<12} {_one_line(text)}" for label, text in _trace(check, seen) if text]


def trace_document(check: Check, seen: Observation) -> dict[str, object]:
    """Return what `check --json` prints of a look."""
    return {
        **observation_document(seen),
        "severity": str(check.severity),
        "taken_at": iso(seen.taken_at),
        "phases": {name: round(seconds, 6) for name, seconds in seen.phases.items()},
        "facts": mask(seen.facts),
        "retry_after_seconds": seen.retry_after_seconds,
        "expires_at": iso(seen.expires_at),
    }


def _trace(check: Check, seen: Observation) -> Iterator[tuple[str, str]]:
    facts = seen.facts
    yield "sent", _sent(check)
    yield "reached", _reached(facts)
    yield "tls", ", ".join(_shown(facts, "tls_version", "tls_cipher"))
    yield "certificate", _certificate(facts.get("certificate"))
    yield "answer", _answer(facts)
    yield "phases", _phases(seen)
    yield "condition", _text(facts.get("condition"))
    yield "because", seen.detail
    yield "tries", _tries(facts, check)
    yield "notes", ", ".join(seen.notes)
    yield "expires", iso(seen.expires_at) or ""
    if seen.retry_after_seconds is not None:
        yield "asked for", f"to be left alone for {seen.retry_after_seconds:g} s"
    headers = facts.get("headers")
    for name, value in headers.items() if isinstance(headers, dict) else ():
        yield "header", f"{name}: {_text(value)}"
    for name, value in facts.items():
        if name not in _TOLD:
            yield from ((name, text) for text in _told(value))


def _told(value: JSON) -> Iterator[str]:
    """Give each step of a list, and each thing that a map tells several facts of, a line of its own."""
    if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        yield from (_text_of(entry) for entry in value)
    elif isinstance(value, dict) and value and all(isinstance(entry, dict) for entry in value.values()):
        yield from (f"{name}: {_text_of(entry)}" for name, entry in value.items())
    else:
        yield _text(value)


def _text_of(entry: JSON) -> str:
    shown = mask(entry)
    return ", ".join(f"{name} {_text(inner)}" for name, inner in shown.items()) if isinstance(shown, dict) else ""


def _sent(check: Check) -> str:
    """Say what was sent, as far as the kind has a method and headers: their values are secrets."""
    method, headers = str(getattr(check.spec, "method", "")), getattr(check.spec, "headers", None)
    names = ", ".join(map(str, headers)) if isinstance(headers, Mapping) else ""
    return f"{method} with {names} (values hidden)".strip() if names else method


def _reached(facts: Mapping[str, JSON]) -> str:
    scheme = _text(facts.get("final_url_scheme"))
    return ", ".join([*_shown(facts, "address", "http_version"), *([scheme] if scheme else [])])


def _answer(facts: Mapping[str, JSON]) -> str:
    if "status" not in facts:
        return ""
    told = [f"status {_text(facts['status'])}"]
    for name, words in (
        ("redirects", "redirects"),
        ("size_bytes", "bytes"),
        ("transferred_bytes", "bytes on the wire"),
    ):
        if name in facts:
            told.append(f"{_text(facts[name])} {words}")
    return ", ".join(told)


def _certificate(certificate: JSON) -> str:
    if not isinstance(certificate, dict):
        return ""
    told = [f"{name} {_text(certificate[name])}" for name in ("subject", "issuer") if certificate.get(name)]
    ends = [f"until {_text(certificate[name])}" for name in ("expires_at",) if certificate.get(name)]
    return ", ".join(told + ends)


def _phases(seen: Observation) -> str:
    told = [f"{name} {seen.phases[name] * 1000:.1f} ms" for name in PHASES if name in seen.phases]
    told += [f"{name} {seconds * 1000:.1f} ms" for name, seconds in seen.phases.items() if name not in PHASES]
    return ", ".join(told)


def _tries(facts: Mapping[str, JSON], check: Check) -> str:
    failed = facts.get("failed_attempts")
    if not check.retries or not isinstance(failed, list):
        return ""
    return f"{_text(facts.get('attempts'))} of at most {check.retries + 1}" + (
        f"; before the last: {', '.join(map(_text, failed))}" if failed else ""
    )


def _shown(facts: Mapping[str, JSON], *names: str) -> list[str]:
    return [_text(facts[name]) for name in names if facts.get(name) is not None]


def _text(value: JSON) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(mask(value), ensure_ascii=False)


def _one_line(text: str) -> str:
    """Keep a value on its line, whatever it holds: what comes from a server may try to move the cursor."""
    plain = "".join(character if character.isprintable() else " " for character in mask_text(text))
    return plain if len(plain) <= VALUE_CHARACTERS_AT_MOST else plain[:VALUE_CHARACTERS_AT_MOST] + "…"
