import asyncio
import os
import subprocess
import sys
import threading

import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from sidecar.errors import TargetUnreachable
from sidecar.serving import listen
from sidecar.telemetry.spans import clean_url
from sidecar.telemetry.tracing import CLOSE_SECONDS, QUEUE_SPANS, open_tracing
from sidecar.wire import exchange, key_headers, open_client
from tests.telemetry.receiver import a_receiver, a_target
from tests.telemetry.test_logging import JWT

ERROR, UNSET, CLIENT = 2, 0, 3
USER = "22cb3917-57f6-49c6-ac96-ec266570081b"


async def test_a_look_is_exported_as_a_root_span_with_its_requests_below() -> None:
    async with a_receiver() as receiver, a_target() as target:
        async with (
            open_tracing(receiver.url, service_name="sidecar-test") as tracing,
            open_client(target.url) as client,
        ):
            with tracing.span("check backend", **{"sidecar.check.name": "backend"}):
                ids = tracing.ids()
                answer = await exchange(client, "GET", "/status/200/models", timeout_seconds=5)
        root, request = receiver.named("check backend"), receiver.named("GET")
        (sent,) = target.headers
    assert answer.status == 200
    assert set(answer.phases) >= {"connect", "processing"}
    assert (root.trace_id, root.span_id) == ids
    assert (root.parent_id, request.parent_id, request.trace_id) == ("", root.span_id, root.trace_id)
    assert root.attributes["sidecar.check.name"] == "backend"
    assert (request.kind, request.status, request.trace_state) == (CLIENT, UNSET, "sidecar=synthetic")
    assert request.attributes["http.request.method"] == "GET"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["server.address"] == "127.0.0.1"
    assert "http.url" not in request.attributes
    ours, _, flags = sent["traceparent"].rpartition("-")
    assert ours == f"00-{request.trace_id}-{request.span_id}"
    assert int(flags, 16) & 1
    assert sent["tracestate"] == "sidecar=synthetic"


async def test_without_an_endpoint_nothing_is_exported_and_requests_still_say_whose_they_are() -> None:
    threads = {thread.name for thread in threading.enumerate()}
    async with a_target() as target, open_tracing(None, service_name="x") as tracing, open_client(target.url) as client:
        with tracing.span("check backend"):
            ids = tracing.ids()
            await exchange(client, "GET", "/status/200/", timeout_seconds=5)
            assert tracing.exported_trace_id() is None
        (sent,) = target.headers
        assert not {thread.name for thread in threading.enumerate()} - threads
    assert ids is not None
    assert sent["traceparent"].startswith(f"00-{ids[0]}-")
    assert not int(sent["traceparent"][-2:], 16) & 1
    assert sent["tracestate"] == "sidecar=synthetic"


async def test_keys_queries_users_and_exception_texts_stay_here() -> None:
    key = "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"
    async with a_receiver() as receiver, a_target() as target:
        bound = listen("127.0.0.1", 0)  # bound and not listening: refuses
        async with open_tracing(receiver.url, service_name="x") as tracing, open_client() as client:
            address = target.url.replace("://", "://user:hunter2@")
            url = f"{address}/status/401/auth/v1/admin/users/{USER}?email=eq.jane@example.com&apikey={JWT}#frag"

            async def fail() -> None:
                with tracing.span("run rule", detail=f"for jane@example.com {key}"):
                    await exchange(client, "GET", url, timeout_seconds=5, headers=key_headers(key))
                    await exchange(client, "POST", url, timeout_seconds=5, headers=key_headers(JWT))
                    nobody = f"http://127.0.0.1:{bound.getsockname()[1]}/?apikey={key}"
                    with pytest.raises(TargetUnreachable):
                        await exchange(client, "PUT", nobody, timeout_seconds=5)
                    raise ValueError("row of jane@example.com")

            with pytest.raises(ValueError, match="jane"):
                await fail()
        bound.close()
    sent = b"".join(receiver.bodies).decode("latin-1")
    for secret in (key, JWT, "hunter2", "jane", USER, "eq.", "frag"):
        assert secret not in sent
    root, put = receiver.named("run rule"), receiver.named("PUT")
    assert (root.status, root.message, root.attributes["error.type"], root.events) == (ERROR, "", "ValueError", ())
    assert (put.status, put.message, put.attributes["error.type"]) == (ERROR, "", "ConnectError")
    assert put.events == ({"exception.type": "httpx.ConnectError"},)
    assert str(receiver.named("GET").attributes["url.full"]).endswith("/auth/v1/admin/users/{id}")


@pytest.mark.parametrize(
    ("status", "seen", "error_type"), [(401, UNSET, None), (404, UNSET, None), (429, UNSET, None), (503, ERROR, "503")]
)
async def test_an_answer_of_4xx_leaves_the_status_to_the_check(status: int, seen: int, error_type: str | None) -> None:
    async with (
        a_receiver() as receiver,
        a_target() as target,
        open_tracing(receiver.url, service_name="x"),
        open_client(target.url) as client,
    ):
        await exchange(client, "GET", f"/status/{status}/", timeout_seconds=5)
    span = receiver.named("GET")
    assert (span.status, span.attributes.get("error.type")) == (seen, error_type)


async def test_an_untraced_request_carries_and_leaves_nothing() -> None:
    async with (
        a_receiver() as receiver,
        a_target() as target,
        open_tracing(receiver.url, service_name="x") as tracing,
        open_client(target.url) as client,
    ):
        with tracing.untraced():
            await exchange(client, "POST", "/status/200/services/T000/secret", timeout_seconds=5)
    assert receiver.spans == []
    assert "traceparent" not in target.headers[0]


async def test_an_exporter_that_never_answers_delays_no_span_and_closing_is_bounded() -> None:
    """Everything inside happens while the receiver holds the first batch: nothing here waits for it."""
    async with a_receiver(held=True) as receiver:
        async with asyncio.timeout(CLOSE_SECONDS + 8):
            async with open_tracing(receiver.url, service_name="x") as tracing:
                for _ in range(QUEUE_SPANS + 500):
                    with tracing.span("check backend"):
                        pass
                await receiver.requests.get()
                for _ in range(QUEUE_SPANS + 500):
                    with tracing.span("check backend"):
                        pass
                assert not receiver.release.is_set()
            assert not receiver.release.is_set()
        assert receiver.spans == []


@pytest.mark.parametrize("status", [400, 503])
async def test_an_exporter_that_is_refused_breaks_nothing(status: int) -> None:
    async with a_receiver(status=status) as receiver, a_target() as target:
        async with (
            asyncio.timeout(CLOSE_SECONDS + 8),
            open_tracing(receiver.url, service_name="x") as tracing,
            open_client(target.url) as client,
        ):
            with tracing.span("check backend"):
                assert (await exchange(client, "GET", "/status/200/", timeout_seconds=5)).status == 200
        assert receiver.bodies


async def test_an_exporter_that_is_down_breaks_nothing() -> None:
    bound = listen("127.0.0.1", 0)
    async with (
        a_target() as target,
        asyncio.timeout(CLOSE_SECONDS + 8),
        open_tracing(f"http://127.0.0.1:{bound.getsockname()[1]}", service_name="x") as tracing,
        open_client(target.url) as client,
    ):
        with tracing.span("check backend"):
            assert (await exchange(client, "GET", "/status/200/", timeout_seconds=5)).status == 200
    bound.close()


async def test_the_address_may_already_name_the_path_of_traces() -> None:
    async with a_receiver() as receiver, open_tracing(f"{receiver.url}/v1/traces", service_name="x") as tracing:
        with tracing.span("check backend"):
            pass
    assert receiver.named("check backend").parent_id == ""


async def test_closing_leaves_httpx_and_the_environment_as_they_were() -> None:
    before = (httpx.AsyncHTTPTransport.handle_async_request, dict(os.environ))
    async with open_tracing(None, service_name="x"), open_tracing(None, service_name="inner"):
        assert HTTPXClientInstrumentor().is_instrumented_by_opentelemetry
        assert dict(os.environ) == before[1]
    assert not HTTPXClientInstrumentor().is_instrumented_by_opentelemetry
    assert (httpx.AsyncHTTPTransport.handle_async_request, dict(os.environ)) == before


async def test_outside_of_a_span_there_are_no_ids() -> None:
    async with open_tracing(None, service_name="x") as tracing:
        assert tracing.ids() is None
        with tracing.span("check backend"):
            assert tracing.ids() is not None
        assert tracing.ids() is None


def test_nothing_of_opentelemetry_is_loaded_before_tracing_is_opened() -> None:
    code = (
        "import sys, sidecar.telemetry.tracing as t; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://u:p@h:1/rest/v1/users?select=*", "https://h:1/rest/v1/users"),
        (f"https://h/auth/v1/admin/users/{USER}", "https://h/auth/v1/admin/users/{id}"),
        (f"https://h/a/{USER}/b/4711/", "https://h/a/{id}/b/{id}/"),
        (f"https://h/hook/{'x' * 50}", "https://h/hook/{id}"),
        ("https://h/v1/models", "https://h/v1/models"),
    ],
)
def test_an_address_keeps_no_more_than_what_is_the_same_for_everybody(url: str, clean: str) -> None:
    assert clean_url(url) == clean
