import asyncio
import base64
import gzip
import hashlib
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sidecar.config.settings import Scope, Token
from sidecar.config.variables import Secret
from sidecar.errors import StateUnavailable
from sidecar.serving import listen, serving
from sidecar.web.app import web_app
from sidecar.web.guard import Door
from sidecar.web.pages import CheckRow, RuleRow, RunRow, StatusView

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOSTILE = """<script>alert('1')</script>"><img src=x onerror=alert(2)>&{{ 7*7 }}'"""
READER = Token(name="grafana", scopes=frozenset({Scope.READ}), value=Secret("0123456789abcdef0123"))
OPERATOR = Token(name="jane", scopes=frozenset({Scope.OPERATE}), value=Secret("fedcba9876543210fedc"))


def a_view(text: str = "plain") -> StatusView:
    return StatusView(
        at=NOW,
        checks=[
            CheckRow(
                name=f"{text} backend",
                kind="http",
                verdict="unhealthy",
                reason="timed_out",
                detail=text,
                since_at=NOW - timedelta(hours=2),
                last_look_at=NOW - timedelta(seconds=7),
                duration_seconds=5.0012,
            ),
            CheckRow(name="service-key", kind="service_key", verdict="unknown", reason="not looked yet"),
            CheckRow(name="old", kind="http", verdict="unknown", reason="ok", last_look_at=NOW, is_stale=True),
        ],
        rules=[
            RuleRow(name="credits", summary=text, mode="auto", violations={"repairable": 3, "too_young": 0}),
            RuleRow(name="clean", summary="s", mode="observe", violations={"repairable": 0}, last_look_at=NOW),
            RuleRow(
                name="blind",
                summary="s",
                mode="approve",
                violations=None,
                unproven=f"count_mismatch {text}",
                plan_id=text,
                frozen=text,
            ),
        ],
        runs=[
            RunRow(id=text, rule="credits", status="finished", outcome="repaired", counts={text: 3}, started_at=NOW),
            RunRow(id="r2", rule="credits", status="applying", outcome=None, started_at=NOW, finished_at=NOW),
        ],
    )


async def a_plain_view() -> StatusView:
    return a_view()


async def yes() -> str | None:
    return None


@asynccontextmanager
async def a_site(
    *,
    status: Callable[[], Awaitable[StatusView]] = a_plain_view,
    ready: Callable[[], Awaitable[str | None]] = yes,
    tokens: Sequence[Token] = (),
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    app = web_app(status=status, registry=registry or CollectorRegistry(), ready=ready, door=Door(tokens))
    async with serving(app, listen("127.0.0.1", 0)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


class Tags(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_the_page_shows_checks_rules_and_runs() -> None:
    async with a_site() as site:
        answer = await site.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = re.sub(r"\s+", " ", Tags(answer.text).text)
    for shown in (
        "As of 2026-11-20 12:00:00 UTC",
        "plain backend",
        "unhealthy",
        "timed_out",
        "2 h ago",
        "7 s ago",
        "took 5.001 s",
        "not looked yet",
        "the last look is older than two intervals; it said: ok",
        "never",
        "3 repairable",
        "none",
        "not proven",
        "count_mismatch plain",
        "sidecar show plain",
        "frozen",
        "repaired",
        "applying",
        "not yet",
    ):
        assert shown in text, shown
    assert "too_young" not in text


async def test_an_empty_page_says_so() -> None:
    async def empty() -> StatusView:
        return StatusView(at=NOW, checks=[], rules=[], runs=[])

    async with a_site(status=empty) as site:
        text = (await site.get("/")).text
    for said in ("No check is configured.", "No rule is configured.", "No run yet."):
        assert said in text


async def test_a_hostile_name_is_shown_as_the_text_it_is() -> None:
    async def hostile() -> StatusView:
        return a_view(HOSTILE)

    async with a_site(status=hostile) as site:
        tame = Tags((await site.get("/")).text)
    expected = Tags(await _rendered(a_view()))
    assert tame.tags == expected.tags
    assert tame.attributes == expected.attributes
    assert tame.text.count(HOSTILE) == 8


async def _rendered(view: StatusView) -> str:
    async def status() -> StatusView:
        return view

    async with a_site(status=status) as site:
        return (await site.get("/")).text


async def test_the_page_loads_nothing_and_its_style_is_the_one_its_policy_allows() -> None:
    async with a_site() as site:
        answer = await site.get("/")
    page = Tags(answer.text)
    assert not {"script", "img", "link", "iframe", "form", "object"} & set(page.tags)
    assert not {"src", "href", "style", "onclick"} & {name for name, _ in page.attributes}
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


async def test_the_page_says_why_there_is_none() -> None:
    async def broken() -> StatusView:
        raise StateUnavailable("the state file is <gone>")

    async with a_site(status=broken) as site:
        answer = await site.get("/")
    assert answer.status_code == 503
    assert "the state file is &lt;gone&gt;" in answer.text


async def test_a_fault_of_ours_is_not_explained_to_strangers(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> StatusView:
        raise KeyError("jane@example.com")

    async with a_site(status=broken) as site:
        answer = await site.get("/")
        assert (await site.get("/-/healthy")).status_code == 200
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [record.name for record in caplog.records] == ["uvicorn.error"]


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready", "/nothing"])
async def test_every_answer_carries_the_safe_headers(path: str) -> None:
    async with a_site() as site:
        headers = (await site.get(path)).headers
    assert headers["content-security-policy"].startswith("default-src 'none';")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
async def test_head_answers_like_get_without_a_body(path: str) -> None:
    async with a_site() as site:
        head, got = await site.head(path), await site.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_what_does_not_exist_and_what_is_not_allowed_are_answered_as_json() -> None:
    async with a_site() as site:
        missing, posted = await site.get("/nothing"), await site.post("/metrics")
    assert (missing.status_code, missing.json()) == (404, {"error": "Not Found"})
    assert (posted.status_code, posted.json()) == (405, {"error": "Method Not Allowed"})
    assert set(posted.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("sidecar_frozen", "1 while frozen.", registry=registry).set(1)
    return registry


async def test_metrics_come_as_text_and_as_openmetrics_where_asked(registry: CollectorRegistry) -> None:
    async with a_site(registry=registry) as site:
        plain = await site.get("/metrics", headers={"Accept": "text/plain"})
        asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        modern = await site.get("/metrics", headers={"Accept": asked})
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert plain.text.splitlines()[-1] == "sidecar_frozen 1.0"
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert modern.text.endswith("# EOF\n")
    families = list(text_string_to_metric_families(modern.text))  # type: ignore[no-untyped-call]  # prometheus_client leaves it bare
    assert [family.name for family in families] == ["sidecar_frozen"]


async def test_metrics_are_zipped_only_for_those_who_take_it(registry: CollectorRegistry) -> None:
    async with a_site(registry=registry) as site:
        async with site.stream("GET", "/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
            raw = b"".join([chunk async for chunk in answer.aiter_raw()])
        plain = await site.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw).decode() == plain.text
    assert "content-encoding" not in plain.headers


async def test_metrics_are_encoded_beside_the_event_loop() -> None:
    seen: list[int] = []

    class Observed:
        def describe(self) -> Iterator[Metric]:
            yield GaugeMetricFamily("g", "A gauge.")

        def collect(self) -> Iterator[Metric]:
            seen.append(threading.get_ident())
            yield GaugeMetricFamily("g", "A gauge.", value=1)

    registry = CollectorRegistry()
    registry.register(Observed())
    async with a_site(registry=registry) as site:
        await site.get("/metrics")
    assert len(seen) == 1
    assert seen[0] != threading.get_ident()


async def test_readiness_is_about_ourselves_and_says_what_is_missing() -> None:
    async def not_yet() -> str | None:
        return "the state cannot be written"

    async def broken() -> str | None:
        raise StateUnavailable("database is locked")

    async with a_site() as site:
        good = await site.get("/-/ready")
    async with a_site(ready=not_yet) as site:
        bad = await site.get("/-/ready")
        healthy = await site.get("/-/healthy")
    async with a_site(ready=broken) as site:
        worse = await site.get("/-/ready")
    assert (good.status_code, good.json()) == (200, {"ready": True})
    assert (bad.status_code, bad.json()) == (503, {"ready": False, "reason": "the state cannot be written"})
    assert (worse.status_code, worse.json()["reason"]) == (503, "database is locked")
    assert healthy.status_code == 200


async def test_what_never_answers_is_not_waited_for() -> None:
    async def never() -> str | None:
        await asyncio.Event().wait()
        return None

    async def never_seen() -> StatusView:
        await asyncio.Event().wait()
        return a_view()

    async with a_site(ready=never, status=never_seen) as site, asyncio.TaskGroup() as group:
        ready = group.create_task(site.get("/-/ready", timeout=30))
        page = group.create_task(site.get("/", timeout=30))
    assert ready.result().json() == {"ready": False, "reason": "no answer within 5 s"}
    assert page.result().status_code == 503


async def test_with_tokens_page_and_metrics_need_one_that_may_read_and_health_needs_none() -> None:
    async with a_site(tokens=[OPERATOR, READER]) as site:
        for path in ("/", "/metrics"):
            for header in ("", "Bearer", "Bearer wrong", f"Basic {READER.value.reveal()}", READER.value.reveal()):
                refused = await site.get(path, headers={"Authorization": header} if header else {})
                assert refused.status_code == 401, header
                assert refused.headers["www-authenticate"] == 'Bearer realm="sidecar"'
                assert refused.headers["content-type"] == "application/json"
            barred = await site.get(path, headers={"Authorization": f"Bearer {OPERATOR.value.reveal()}"})
            assert (barred.status_code, barred.json()) == (403, {"error": "the token jane lacks the scope read"})
            for scheme in ("Bearer", "bearer"):
                let_in = await site.get(path, headers={"Authorization": f"{scheme} {READER.value.reveal()}"})
                assert let_in.status_code == 200
        for path in ("/-/healthy", "/-/ready"):
            assert (await site.get(path)).status_code == 200


async def test_a_token_without_a_value_opens_nothing() -> None:
    hollow = Token(name="hollow", scopes=frozenset({Scope.READ}), value=Secret(""))
    async with a_site(tokens=[hollow]) as site:
        assert (await site.get("/")).status_code == 401
        assert (await site.get("/", headers={"Authorization": "Bearer"})).status_code == 401


async def test_a_token_of_strange_bytes_is_only_wrong() -> None:
    async with a_site(tokens=[READER]) as site:
        strange = [(b"authorization", b"Bearer \xff\xfe\xc3\xa9")]
        assert (await site.get("/", headers=strange)).status_code == 401
