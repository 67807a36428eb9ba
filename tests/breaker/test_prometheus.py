"""One fresh number, or none: a server that speaks Prometheus' query API, well or badly."""

from decimal import Decimal

import pytest

from sidecar.data.prometheus import NoSource, Prometheus
from sidecar.domain.pace import Reading, Signal
from sidecar.wire import open_client
from tests.fakes import START, FakeClock
from tests.scripted import Act, Asked, html, raw, reply, reset, scripted, unused_port

SIGNAL = Signal(name="load", query='sum(rate(x{job="db"}[1m])) / 2', at_most=Decimal(1))


def answered(kind: str, result: object, **changes: object) -> dict[str, object]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **changes}


def sample(value: str, *, age_seconds: float = 0.0) -> list[object]:
    return [START.timestamp() - age_seconds, value]


def vector(*values: str, age_seconds: float = 0.0) -> dict[str, object]:
    samples = [{"metric": {"n": str(n)}, "value": sample(v, age_seconds=age_seconds)} for n, v in enumerate(values)]
    return answered("vector", samples)


async def read(act: Act) -> tuple[Reading, list[Asked]]:
    async with scripted(lambda _: act) as server, open_client() as client:
        reading = await Prometheus(client, server.url, clock=FakeClock()).read(SIGNAL)
        return reading, server.asked


@pytest.mark.parametrize(
    ("document", "value"),
    [
        (vector("0.25"), Decimal("0.25")),
        (answered("scalar", sample("3")), Decimal(3)),
        (vector("1e-05"), Decimal("0.00001")),
        (vector("-4"), Decimal(-4)),
        (vector("7", age_seconds=30), Decimal(7)),
        ({**vector("1"), "warnings": ["partial"]}, Decimal(1)),
    ],
)
async def test_a_scalar_or_a_vector_of_one_sample_is_a_number(document: object, value: Decimal) -> None:
    reading, asked = await read(reply(200, document))

    assert reading == Reading(value=value)
    assert [(a.method, a.path, a.query["query"]) for a in asked] == [("GET", "/api/v1/query", SIGNAL.query)]
    assert asked[0].query["lookback_delta"] == "120s"


@pytest.mark.parametrize(
    ("act", "trouble"),
    [
        (reply(200, vector()), "no sample"),
        (reply(200, vector("1", "2")), "2 samples where one number is needed"),
        (reply(200, vector("NaN")), "not a finite number"),
        (reply(200, vector("+Inf")), "not a finite number"),
        (reply(200, vector("-Inf")), "not a finite number"),
        (reply(200, answered("matrix", [])), "a matrix where one number is needed"),
        (reply(200, answered("string", sample("1"))), "a string where one number is needed"),
        (reply(200, answered("secret words", [])), "an unknown kind of result"),
        (reply(200, answered("vector", [{"metric": {}, "histogram": [0, {}]}])), "not the answer of a query API"),
        (reply(200, answered("scalar", ["soon", "1"])), "not the answer of a query API"),
        (reply(200, answered("scalar", [1e300, "1"])), "not the answer of a query API"),
        (reply(200, answered("scalar", sample("many"))), "not the answer of a query API"),
        (reply(200, answered("scalar", None)), "not the answer of a query API"),
        (reply(200, []), "not the answer of a query API"),
        (reply(200, {"status": "error", "errorType": "bad_data", "error": "x"}), "the query failed"),
        (reply(400, {"status": "error", "errorType": "bad_data", "error": "x"}), "status 400"),
        (reply(503, "no healthy upstream"), "status 503"),
        (reply(302, "", {"Location": "http://127.0.0.1:1/"}), "status 302"),
        (reply(200, vector("1", age_seconds=120)), "evaluated 120 s away from our clock"),
        (reset(), "cut_off"),
        (raw(b"hello\r\n\r\n"), "protocol_broken"),
    ],
)
async def test_whatever_is_no_fresh_number_is_told_as_what_it_is(act: Act, trouble: str) -> None:
    reading, _ = await read(act)
    assert reading == Reading(value=None, trouble=trouble)


async def test_a_page_in_place_of_an_answer_is_no_number() -> None:
    reading, _ = await read(html(200))
    assert reading.value is None
    assert "not JSON" in reading.trouble


async def test_a_server_that_is_down_is_no_number() -> None:
    async with open_client() as client:
        reading = await Prometheus(client, f"http://127.0.0.1:{unused_port()}", clock=FakeClock()).read(SIGNAL)
    assert reading == Reading(value=None, trouble="connect_failed")


async def test_without_a_source_there_is_no_number() -> None:
    assert await NoSource().read(SIGNAL) == Reading(value=None, trouble="telemetry.prometheus is not set")
