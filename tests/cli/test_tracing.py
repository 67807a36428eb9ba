"""One look told to a person: what decided stands there, and no secret does."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from sidecar.checks.http_keys import HttpSpec
from sidecar.domain.check import JSON, Verdict
from sidecar.verbs.tracing import trace_document, trace_lines
from tests.domain.cast import a_check, observation

SECRET = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl"  # of this test
SPEC = HttpSpec(
    url=f"https://x.example/hook?key={SECRET}", method="POST", headers={"Authorization": f"Bearer {SECRET}"}
)
CHECK = replace(a_check("health"), kind="http", spec=SPEC, retries=2)
SEEN = replace(
    observation(Verdict.UNHEALTHY),
    check="health",
    kind="http",
    reason="condition_failed",
    detail="status == 200: status is 503",
    duration_seconds=0.2,
    phases={"resolve": 0.0004, "connect": 0.0012, "processing": 0.01, "other": 0.001},
    retry_after_seconds=30.0,
    expires_at=datetime(2026, 12, 1, tzinfo=UTC),
    notes=("key_expiring",),
    facts={
        "address": "192.0.2.7",
        "http_version": "HTTP/1.1",
        "status": 503,
        "redirects": 1,
        "size_bytes": 20,
        "condition": "status == 200",
        "certificate": {"subject": "CN=x.example", "issuer": "CN=E5", "expires_at": "2026-12-01T00:00:00+00:00"},
        "tls_version": "TLSv1.3",
        "attempts": 3,
        "failed_attempts": ["timed_out", "connect_failed"],
        "steps": {"one": f"Bearer {SECRET}"},
    },
)


def test_every_step_has_its_line() -> None:
    assert trace_lines(CHECK, SEEN) == [
        "  sent         POST with Authorization (values hidden)",
        "  reached      192.0.2.7, HTTP/1.1",
        "  tls          TLSv1.3",
        "  certificate  subject CN=x.example, issuer CN=E5, until 2026-12-01T00:00:00+00:00",
        "  answer       status 503, 1 redirects, 20 bytes",
        "  phases       resolve 0.4 ms, connect 1.2 ms, processing 10.0 ms, other 1.0 ms",
        "  condition    status == 200",
        "  because      status == 200: status is 503",
        "  tries        3 of at most 3; before the last: timed_out, connect_failed",
        "  notes        key_expiring",
        "  expires      2026-12-01T00:00:00+00:00",
        "  asked for    to be left alone for 30 s",
        '  steps        {"one": "[masked]"}',
    ]


def test_steps_and_counts_have_a_line_each() -> None:
    facts: dict[str, JSON] = {
        "steps": [{"name": "sign-in", "outcome": "ok", "status": 200}, {"name": "balance", "outcome": "differs"}],
        "signatures": {"lookup": {"new": 2, "within": 3}},
    }
    assert trace_lines(a_check(), replace(observation(Verdict.HEALTHY), facts=facts)) == [
        "  steps        name sign-in, outcome ok, status 200",
        "  steps        name balance, outcome differs",
        "  signatures   lookup: new 2, within 3",
    ]


def test_no_secret_is_in_the_lines_or_in_the_document() -> None:
    told = "\n".join(trace_lines(CHECK, SEEN)) + json.dumps(trace_document(CHECK, SEEN))
    assert SECRET not in told
    assert "hook" not in told, "a path may be a secret"


def test_what_a_server_says_can_neither_move_the_cursor_nor_forge_a_line() -> None:
    hostile = "CN=\x1b[2J\nhealthy    health ok\u202e" + "x" * 50_000
    lines = trace_lines(CHECK, replace(SEEN, facts={"certificate": {"subject": hostile}, "odd": hostile}))
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 400


def test_a_look_of_another_kind_without_facts_is_told_as_far_as_it_goes() -> None:
    assert trace_lines(a_check(), observation(Verdict.HEALTHY)) == []
