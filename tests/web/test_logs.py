"""`POST /api/v1/logs`: who may, what is understood, and what is refused whole."""

import asyncio
import gzip
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.settings import Scope, Token
from sidecar.config.variables import Secret
from sidecar.serving import listen, serving
from sidecar.web.app import web_app
from sidecar.web.guard import Door
from sidecar.web.logs import AT_ONCE, log_routes
from sidecar.web.records import BODY_BYTES_AT_MOST, SENT_BYTES_AT_MOST
from tests.web.test_web import a_plain_view

DRAIN = Token(name="vercel", scopes=frozenset({Scope.INGEST}), value=Secret("0123456789abcdef0123"))
READER = Token(name="grafana", scopes=frozenset({Scope.READ}), value=Secret("fedcba9876543210fedc"))
AS_DRAIN = {"Authorization": f"Bearer {DRAIN.value.reveal()}"}
SECRET = "somebody@shop.example"
JSON, NDJSON = "application/json", "application/x-ndjson"


async def ready() -> str | None:
    return None


class Taken:
    """Keeps what was handed in, which Sidecar never does."""

    def __init__(self) -> None:
        self.records: list[str] = []

    def __call__(self, records: Sequence[str]) -> int:
        self.records.extend(records)
        return sum("Profile lookup error" in record for record in records)


@asynccontextmanager
async def served(taken: Taken | None, tokens: Sequence[Token] = (DRAIN, READER)) -> AsyncIterator[httpx.AsyncClient]:
    door = Door(tokens)
    routes = log_routes(door, lambda: taken)
    app = web_app(status=a_plain_view, registry=CollectorRegistry(), ready=ready, door=door, routes=routes)
    async with serving(app, listen("127.0.0.1", 0)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


async def send(client: httpx.AsyncClient, body: bytes, kind: str = JSON, **headers: str) -> httpx.Response:
    sent = {"Content-Type": kind, **AS_DRAIN, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await client.post("/api/v1/logs", content=body, headers=sent)


LINE = f"Profile lookup error for {SECRET}"
UNDERSTOOD: tuple[tuple[str, str, object, list[str]], ...] = (
    ("one record", JSON, {"message": LINE}, [LINE]),
    (
        "a list, as Vercel sends it",
        JSON,
        [{"id": "1", "message": LINE, "timestamp": 5}, "plain"],
        [f"1\n{LINE}", "plain"],
    ),
    ("an envelope", JSON, {"batch": [{"event_message": "a"}, {"event_message": "b"}], "project": "x"}, ["a", "b"]),
    ("Supabase's metadata", JSON, [{"event_message": "a", "metadata": [{"level": "error"}]}], ["a\nerror"]),
    (
        "Loki's push",
        JSON,
        {"streams": [{"stream": {"app": "x"}, "values": [["171", "a"], ["172", "b"]]}]},
        ["171\na", "172\nb"],
    ),
    ("two lists, which is a record", JSON, {"logs": ["a"], "events": ["b"]}, ["a\nb"]),
    ("empty lists and objects", JSON, {"logs": [{}, [], {"a": []}]}, ["", "", ""]),
    ("an object without members", JSON, {}, [""]),
    ("numbers alone", JSON, 7, [""]),
    ("nothing", JSON, [], []),
)


async def test_what_senders_send_is_understood() -> None:
    taken = Taken()
    async with served(taken) as client:
        for name, kind, document, expected in UNDERSTOOD:
            taken.records.clear()
            answer = await send(client, json.dumps(document, indent=1).encode(), kind)
            assert (answer.status_code, taken.records) == (202, expected), name
            matches = sum("Profile lookup error" in record for record in expected)
            assert answer.json() == {"records": len(expected), "matches": matches}
            assert SECRET not in answer.text


async def test_one_json_text_a_line_zipped_or_not() -> None:
    lines = b'{"message": "a\\u2028b"}\r\n\n"b"\n[{"m": "c"}, {"m": "d"}]\n{"message": "\xff"}'
    taken = Taken()
    async with served(taken) as client:
        await send(client, lines, f"{NDJSON}; charset=utf-8")
        await send(client, gzip.compress(lines), NDJSON, Content_Encoding="gzip")
    assert taken.records == ["a\u2028b", "b", "c", "d", "\ufffd"] * 2


REFUSED: tuple[tuple[str, bytes, str, dict[str, str], int], ...] = (
    ("not JSON", b"Profile lookup error", JSON, {}, 400),
    ("empty", b"", JSON, {}, 400),
    ("a bad last line", b'{"m": "Profile lookup error"}\n{"m"', NDJSON, {}, 400),
    ("a list without its end", b'["Profile lookup error"', JSON, {}, 400),
    ("text after the list", b'["Profile lookup error"] x', JSON, {}, 400),
    ("two values without a comma", b'["a" "b"]', JSON, {}, 400),
    ("an object without its end", b'{"a": "b"', JSON, {}, 400),
    ("a key that is no text", b'{1: "b"}', JSON, {}, 400),
    ("a member without a value", b'{"a": }', JSON, {}, 400),
    ("a comma too many", b'{"a": 1,}', JSON, {}, 400),
    ("an entry too few", b'["a",]', JSON, {}, 400),
    ("no colon", b'{"a" 1}', JSON, {}, 400),
    ("nested without end", b"[" * 100_000, JSON, {}, 400),
    ("an object nested without end", b'{"a":' * 100_000, NDJSON, {}, 400),
    ("an endless number", b"[" + b"9" * 10_000 + b"]", JSON, {}, 400),
    ("another type", b"{}", "text/plain", {}, 415),
    ("no type", b"{}", "", {}, 415),
    ("another coding", b"{}", JSON, {"Content_Encoding": "br"}, 415),
    ("stacked codings", b"{}", JSON, {"Content_Encoding": "gzip, gzip"}, 415),
    ("no gzip", b"{}", JSON, {"Content_Encoding": "gzip"}, 400),
    ("half a gzip", gzip.compress(b'"Profile lookup error"')[:-9], JSON, {"Content_Encoding": "gzip"}, 400),
    ("two members", gzip.compress(b"{}") * 2, JSON, {"Content_Encoding": "gzip"}, 400),
    ("a bomb", gzip.compress(b"\n" * 300_000_000), NDJSON, {"Content_Encoding": "gzip"}, 413),
    ("too long", b" " * (BODY_BYTES_AT_MOST + 1), JSON, {}, 413),
    ("too long when zipped", b"\0" * (SENT_BYTES_AT_MOST + 1), JSON, {"Content_Encoding": "gzip"}, 413),
    ("too many records", b"1\n" * 20_001, NDJSON, {}, 413),
)


async def test_what_is_refused_counts_nothing() -> None:
    taken = Taken()
    async with served(taken) as client:
        for name, body, kind, headers, status in REFUSED:
            answer = await send(client, body, kind, **headers)
            assert (answer.status_code, taken.records) == (status, []), name
            assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("authorization", [AS_DRAIN["Authorization"], "Bearer nobody"], ids=["known", "unknown"])
async def test_a_body_that_never_ends_ends_the_connection(authorization: str) -> None:
    head = f"POST /api/v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nAuthorization: {authorization}\r\n"
    async with served(Taken()) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        answered = asyncio.create_task(_all_of(reader))
        try:
            writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            for _ in range(1_000):
                writer.write(b"10000\r\n" + b"[" * 65_536 + b"\r\n")
                await asyncio.wait_for(writer.drain(), 10)
                await asyncio.sleep(0)
        except OSError:
            pass
        finally:
            ended, _ = await asyncio.wait([answered], timeout=2)
            writer.transport.abort()
    assert answered in ended
    assert (await answered).startswith((b"HTTP/1.1 413", b"HTTP/1.1 401")) or not await answered


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side ends or resets the connection; a reset may have swallowed the answer."""
    try:
        return await reader.read()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("tokens", "headers", "status"),
    [
        ((DRAIN, READER), {}, 401),
        ((DRAIN, READER), {"Authorization": "Bearer nobody"}, 401),
        ((DRAIN, READER), {"Authorization": f"Bearer {READER.value.reveal()}"}, 403),
        ((), {}, 403),
    ],
    ids=["without", "unknown", "another scope", "no tokens at all"],
)
async def test_nobody_hands_in_logs_without_the_scope(
    tokens: Sequence[Token], headers: dict[str, str], status: int
) -> None:
    taken = Taken()
    async with served(taken, tokens) as client:
        answer = await client.post("/api/v1/logs", json={"message": LINE}, headers=headers)
    assert (answer.status_code, taken.records) == (status, [])


async def test_where_no_check_takes_them_a_sender_is_told() -> None:
    async with served(None) as client:
        assert (await client.post("/api/v1/logs", json={}, headers=AS_DRAIN)).status_code == 404
        assert (await client.get("/api/v1/logs", headers=AS_DRAIN)).status_code == 405


async def test_others_are_answered_while_bodies_are_counted_and_too_many_are_put_off() -> None:
    counting, go_on = asyncio.Event(), asyncio.Event()
    loop, begun = asyncio.get_running_loop(), itertools.count(1)

    class Slow(Taken):
        def __call__(self, records: Sequence[str]) -> int:
            if next(begun) == AT_ONCE:
                loop.call_soon_threadsafe(counting.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            return super().__call__(records)

    async with served(Slow()) as client:
        sending = [asyncio.create_task(send(client, b'{"m": "a"}')) for _ in range(AT_ONCE)]
        await counting.wait()
        assert (await client.get("/-/healthy")).status_code == 200
        put_off = await send(client, b'{"m": "a"}')
        assert (put_off.status_code, put_off.headers["retry-after"]) == (503, "1")
        go_on.set()
        assert [(await sent).status_code for sent in sending] == [202] * AT_ONCE
