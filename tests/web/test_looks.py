"""What Prometheus and people can ask about the last looks; asking never leads to a look."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from sidecar.config.settings import Token
from sidecar.domain.check import JSON, Check, CheckState, Observation, Severity, Verdict
from sidecar.serving import listen, serving
from sidecar.web.app import web_app
from sidecar.web.guard import Door
from sidecar.web.looks import LookView, look_routes
from tests.web.test_web import NOW, OPERATOR, READER, a_plain_view, yes

CHECK = Check(
    name="backend-health",
    kind="http",
    every_seconds=30.0,
    timeout_seconds=5.0,
    severity=Severity.CRITICAL,
    fail_after=2,
    pass_after=1,
    spec=None,
)
CERTIFICATE: dict[str, JSON] = {
    "subject": "CN=api.velro.app",
    "issuer": "CN=E5,O=Let's Encrypt",
    "alternative_names": ["api.velro.app", "velro.app"],
    "serial": "03ab",
    "fingerprint_sha256": "ab" * 32,
    "expires_at": "2026-12-20T12:00:00+00:00",
    "chain_expires_at": "2026-12-10T12:00:00+00:00",
}
FACTS: dict[str, JSON] = {
    "status": 200,
    "redirects": 1,
    "size_bytes": 900,
    "transferred_bytes": 300,
    "http_version": "HTTP/1.1",
    "address": "192.0.2.7",
    "tls_version": "TLSv1.3",
    "tls_cipher": "TLS_AES_256_GCM_SHA384",
    "final_url_scheme": "https",
    "certificate": CERTIFICATE,
}
SEEN = Observation(
    check="backend-health",
    kind="http",
    verdict=Verdict.HEALTHY,
    reason="ok",
    taken_at=NOW,
    duration_seconds=0.25,
    phases={"resolve": 0.01, "connect": 0.02, "tls": 0.05, "processing": 0.1},
    facts=FACTS,
    expires_at=NOW + timedelta(days=30),
)


def a_view(seen: Observation | None = SEEN, *, check: Check = CHECK, is_stale: bool = False) -> LookView:
    verdict = Verdict.UNKNOWN if is_stale or seen is None else seen.verdict
    return LookView(check=check, state=CheckState(verdict=verdict, since=NOW, last=seen), is_stale=is_stale)


@asynccontextmanager
async def a_site(*views: LookView, tokens: tuple[Token, ...] = ()) -> AsyncIterator[httpx.AsyncClient]:
    looks: Mapping[str, LookView] = {view.check.name: view for view in views}
    door = Door(tokens)
    app = web_app(
        status=a_plain_view,
        registry=CollectorRegistry(),
        ready=yes,
        door=door,
        routes=look_routes(door, lambda: looks),
    )
    async with serving(app, listen("127.0.0.1", 0)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


async def probed(view: LookView) -> str:
    async with a_site(view) as site:
        answer = await site.get("/probe", params={"target": view.check.name, "module": "http_2xx"})
    assert answer.status_code == 200, answer.text
    return answer.text


def series(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_the_last_look_is_told_with_the_names_of_blackbox_exporter() -> None:
    assert series(await probed(a_view())) == {
        "probe_success": 1,
        "probe_duration_seconds": 0.25,
        "probe_timeout_seconds": 5,
        "probe_dns_lookup_time_seconds": 0.01,
        "probe_ip_protocol": 4,
        "probe_ip_addr_hash": _fnv(bytes([192, 0, 2, 7])),
        "probe_http_duration_seconds{phase=resolve}": 0.01,
        "probe_http_duration_seconds{phase=connect}": 0.02,
        "probe_http_duration_seconds{phase=tls}": 0.05,
        "probe_http_duration_seconds{phase=processing}": 0.1,
        "probe_http_duration_seconds{phase=transfer}": 0,
        "probe_http_status_code": 200,
        "probe_http_redirects": 1,
        "probe_http_ssl": 1,
        "probe_http_content_length": 300,
        "probe_http_uncompressed_body_length": 900,
        "probe_http_version": 1.1,
        "probe_failed_due_to_regex": 0,
        "probe_failed_due_to_cel": 0,
        "probe_ssl_earliest_cert_expiry": (NOW + timedelta(days=20)).timestamp(),
        "probe_ssl_last_chain_expiry_timestamp_seconds": (NOW + timedelta(days=20)).timestamp(),
        "probe_ssl_last_chain_info{fingerprint_sha256=" + "ab" * 32 + ",issuer=CN=E5,O=Let's Encrypt,serialnumber=03ab,"
        "subject=CN=api.velro.app,subjectalternative=api.velro.app,velro.app}": 1,
        "probe_tls_version_info{version=TLS 1.3}": 1,
        "probe_tls_cipher_info{cipher=TLS_AES_256_GCM_SHA384}": 1,
    }


def _fnv(content: bytes) -> int:
    found = 2166136261
    for byte in content:
        found = (found ^ byte) * 16777619 % 2**32
    return found


async def test_a_failure_without_an_answer_presets_what_blackbox_exporter_presets() -> None:
    failed = replace(SEEN, verdict=Verdict.UNHEALTHY, reason="connect_failed", facts={}, phases={}, expires_at=None)
    told = series(await probed(a_view(failed)))
    assert (told["probe_success"], told["probe_http_status_code"], told["probe_http_ssl"]) == (0, 0, 0)
    assert [told[f"probe_http_duration_seconds{{phase={phase}}}"] for phase in ("resolve", "tls", "transfer")] == [
        0
    ] * 3
    assert not [name for name in told if "ssl_" in name or "tls_" in name or "ip_" in name]
    judged = replace(failed, reason="condition_failed")
    assert series(await probed(a_view(judged)))["probe_failed_due_to_cel"] == 1


async def test_what_could_not_be_judged_is_neither_a_success_nor_a_failure() -> None:
    blind = replace(SEEN, verdict=Verdict.UNKNOWN, reason="resolver_failed", facts={}, expires_at=None)
    told = series(await probed(a_view(blind)))
    assert set(told) == {"probe_duration_seconds", "probe_timeout_seconds", "probe_dns_lookup_time_seconds"}


async def test_another_kind_tells_what_it_has_in_common_with_a_probe() -> None:
    key = replace(SEEN, kind="service_key", facts={"key_family": "jwt"}, phases={})
    told = series(await probed(a_view(key, check=replace(CHECK, kind="service_key"))))
    assert set(told) == {
        "probe_success",
        "probe_duration_seconds",
        "probe_timeout_seconds",
        "probe_dns_lookup_time_seconds",
    }, "the key's own expiry is no certificate's"


@pytest.mark.parametrize("view", [a_view(is_stale=True), a_view(None)])
async def test_a_look_that_is_too_old_or_missing_is_not_told(view: LookView) -> None:
    async with a_site(view) as site:
        answer = await site.get("/probe", params={"target": "backend-health"})
    assert (answer.status_code, "probe_success" in answer.text) == (503, False)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("target=", 404),
        ("target=nobody", 404),
        ("target=http://169.254.169.254/latest/meta-data", 404),
        ("target=backend-health&target=backend-health", 400),
        ("target=backend-health%00", 404),
        ("target=..%2f..%2fetc%2fpasswd", 404),
        ("target=%ff%fe", 404),
        ("target=" + "x" * 20_000, 404),
        ("target=<script>alert(1)</script>", 404),
    ],
)
async def test_only_configured_checks_can_be_asked_for_and_nothing_is_repeated(query: str, status: int) -> None:
    async with a_site(a_view()) as site:
        answer = await site.get(f"/probe?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert "script" not in answer.text
    assert "169.254" not in answer.text


async def test_what_a_hostile_server_says_about_itself_stays_one_label_value() -> None:
    hostile = 'CN="}\nprobe_success 0\n\\' + "\x00\u202e" + "x" * 100_000
    facts = FACTS | {
        "certificate": CERTIFICATE | {"subject": hostile, "expires_at": "soon", "chain_expires_at": 7},
        "address": "not an address",
        "http_version": "HTTP/99.99.99",
        "tls_version": hostile,
        "status": "200",
    }
    text = await probed(a_view(replace(SEEN, facts=facts)))
    assert len(text) < 20_000
    told = series(text)
    assert told["probe_success"] == 1
    assert (told["probe_http_status_code"], "probe_ip_protocol" in told, "probe_http_version" in told) == (
        0,
        False,
        False,
    )


async def test_every_address_of_looks_needs_a_token_that_may_read() -> None:
    async with a_site(a_view(), tokens=(READER, OPERATOR)) as site:
        for path in ("/probe?target=backend-health", "/probe?target=nobody", "/sd", "/api/v1/checks"):
            assert (await site.get(path)).status_code == 401
            barred = await site.get(path, headers={"Authorization": f"Bearer {OPERATOR.value.reveal()}"})
            assert barred.status_code == 403
        reading = {"Authorization": f"Bearer {READER.value.reveal()}"}
        assert (await site.get("/sd", headers=reading)).status_code == 200


async def test_prometheus_discovers_every_check() -> None:
    async with a_site(a_view(), a_view(check=replace(CHECK, name="models"))) as site:
        answer = await site.get("/sd")
    assert answer.headers["content-type"] == "application/json"
    first, second = answer.json()
    assert first == {
        "targets": ["backend-health"],
        "labels": {
            "__metrics_path__": "/probe",
            "__param_target": "backend-health",
            "check": "backend-health",
            "kind": "http",
            "severity": "critical",
        },
    }
    assert second["labels"]["__param_target"] == "models"


async def test_the_api_tells_how_checks_stand_and_whether_that_is_stale() -> None:
    async with a_site(a_view(), a_view(check=replace(CHECK, name="old"), is_stale=True)) as site:
        fresh, stale = (await site.get("/api/v1/checks")).json()["checks"]
    assert (fresh["verdict"], fresh["is_stale"], fresh["last_look"]["facts"]["status"]) == ("healthy", False, 200)
    assert (stale["verdict"], stale["is_stale"], stale["last_look"]["verdict"]) == ("unknown", True, "healthy")
    assert fresh["last_look"]["taken_at"] == "2026-11-20T12:00:00+00:00"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here")
async def test_promtool_has_nothing_to_say_against_the_exposition() -> None:
    text = await probed(a_view())
    asked = await asyncio.create_subprocess_exec(
        "promtool", "check", "metrics", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, said = await asked.communicate(text.encode())
    assert (asked.returncode, said) == (0, b"")
