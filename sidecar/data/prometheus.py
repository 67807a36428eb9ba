"""Signals from a server that speaks Prometheus' query API. Whatever is not one fresh number is no number."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any

import httpx

from sidecar.domain.pace import Reading, Signal
from sidecar.errors import AnswerMalformed, TargetUnreachable
from sidecar.ports import Clock
from sidecar.wire import exchange

TIMEOUT_SECONDS = 5.0
# A sample older than this says nothing about now. Prometheus itself would answer with one of up to five minutes; older
# servers pass the parameter over.
LOOKBACK = timedelta(minutes=2)
KINDS = ("matrix", "string")  # of results that are no single number
CLOCKS_APART_AT_MOST = timedelta(minutes=1)  # between the server's evaluation and our clock: also finds cached answers


class NoSource:
    """Stands where no source of signals is configured: a rule that names signals all the same must wait."""

    async def read(self, signal: Signal) -> Reading:  # noqa: ARG002  # the port's signature
        """Return that there is nobody to ask."""
        return Reading(value=None, trouble="telemetry.prometheus is not set")


class Prometheus:
    """Implements `sidecar.ports.Signals`."""

    def __init__(self, client: httpx.AsyncClient, url: str, *, clock: Clock) -> None:
        """Ask the server whose root is `url`."""
        self._client = client
        self._url = f"{url}/api/v1/query"
        self._clock = clock

    async def read(self, signal: Signal) -> Reading:
        """Ask for the signal's number now."""
        lookback = f"{LOOKBACK.total_seconds():g}s"
        try:
            answer = await exchange(
                self._client,
                "GET",
                self._url,
                timeout_seconds=TIMEOUT_SECONDS,
                params={"query": signal.query, "timeout": f"{TIMEOUT_SECONDS:g}s", "lookback_delta": lookback},
            )
            document = answer.json() if answer.status == HTTPStatus.OK else None
        except TargetUnreachable as error:
            return _unread(str(error.cause))
        except AnswerMalformed as error:
            return _unread(str(error))
        if document is None:
            return _unread(f"status {answer.status}")
        return _reading(document, self._clock.now())


def _unread(trouble: str) -> Reading:
    return Reading(value=None, trouble=trouble)


def _reading(document: Any, now: datetime) -> Reading:  # noqa: ANN401  # JSON from outside
    """Take a scalar, or a vector of exactly one sample."""
    try:
        if document["status"] != "success":
            return _unread("the query failed")
        kind, result = document["data"]["resultType"], document["data"]["result"]
        if kind == "vector":
            if len(result) != 1:
                return _unread("no sample" if not result else f"{len(result)} samples where one number is needed")
            result = result[0]["value"]
        elif kind != "scalar":
            return _unread(f"a {kind} where one number is needed" if kind in KINDS else "an unknown kind of result")
        at, text = result
        taken_at, value = datetime.fromtimestamp(float(at), UTC), Decimal(str(text))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, InvalidOperation):
        return _unread("not the answer of a query API")
    if abs(now - taken_at) > CLOCKS_APART_AT_MOST:
        return _unread(f"evaluated {abs(now - taken_at).total_seconds():.0f} s away from our clock")
    return Reading(value=value) if value.is_finite() else _unread("not a finite number")
