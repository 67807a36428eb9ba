"""Checks of several requests, against real servers."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from pydantic import ValidationError

from sidecar.checks.http_keys import HttpKeys
from sidecar.domain.check import Observation, Verdict
from tests.checks.cast import context, look_http
from tests.scripted import Act, Asked, Script, reply, scripted, silent

OURS, THEIRS = "https://app.example.com", "https://origin.invalid"
ALLOW = "Access-Control-Allow-Origin"
SECRET = "a-secret-nobody-may-see"
OPENAPI: Mapping[str, object] = {"paths": {"/balance": {"get": {}}}}


async def look(
    script: Script, keys: Mapping[str, object], timeout_seconds: float = 5.0
) -> tuple[Observation, list[Asked]]:
    asked: list[Asked] = []

    def remember(request: Asked) -> Act:
        asked.append(request)
        return script(request)

    async with scripted(remember) as server:
        return await look_http(context(server.url), keys, timeout_seconds), asked


def statuses(by_path: Mapping[str, int]) -> Script:
    return lambda asked: reply(by_path.get(asked.path, 404), {})


REQUESTS = [
    {"name": "first", "url": "/a"},
    {"name": "second", "url": "/b", "method": "POST", "body": {"n": 1}, "expect": ["status == 422"]},
]


async def test_requests_are_made_in_order_and_all_must_be_as_expected() -> None:
    seen, asked = await look(statuses({"/a": 200, "/b": 422}), {"requests": REQUESTS, "headers": {"X-Key": SECRET}})
    assert seen.reason == "ok"
    assert [(one.method, one.path) for one in asked] == [("GET", "/a"), ("POST", "/b")]
    assert asked[1].body == b'{"n": 1}'
    assert {one.headers["x-key"] for one in asked} == {SECRET}
    assert sum(seen.phases.values()) <= seen.duration_seconds


async def test_the_first_that_fails_decides_and_is_named() -> None:
    seen, asked = await look(statuses({"/a": 500, "/b": 500}), {"requests": REQUESTS})
    assert seen.reason == "condition_failed"
    assert seen.detail.startswith("first: ")
    assert len(asked) == 1
    seen, _ = await look(lambda asked: silent() if asked.path == "/b" else reply(200), {"requests": REQUESTS}, 0.4)
    assert (seen.reason, seen.verdict) == ("timed_out", Verdict.UNHEALTHY)
    assert seen.detail.startswith("second: ")


def browser(*, preflight_to: str = OURS, foreign: str = "", error: str = "", error_status: int = 401) -> Script:
    """A server with CORS; what it opens to whom."""

    def answer(asked: Asked) -> Act:
        origin = asked.headers.get("origin", "")
        if asked.method == "OPTIONS":
            if not origin:
                return reply(405)
            opened = preflight_to if origin == OURS else foreign
            return reply(200 if opened else 400, "", {ALLOW: opened, "Access-Control-Allow-Methods": "GET, PUT"})
        return reply(error_status, {}, {ALLOW: error} if error and origin else {})

    return answer


CORS: dict[str, object] = {"url": "/x", "cors": {"allowed_origin": OURS, "methods": ["GET", "PUT"]}}


async def test_a_server_that_opens_to_its_own_page_alone_is_healthy() -> None:
    seen, asked = await look(browser(), CORS)
    assert seen.reason == "ok", seen.detail
    assert [one.headers.get("origin") for one in asked] == [OURS, OURS, THEIRS, THEIRS, None]
    assert [one.headers.get("access-control-request-method") for one in asked[:3]] == ["GET", "PUT", "GET"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (browser(preflight_to=""), "cors_refused"),
        (browser(foreign=THEIRS), "cors_reflects_foreign_origin"),
        (browser(error=THEIRS), "cors_reflects_foreign_origin"),
        (browser(error_status=200), "cors_error_unseen"),
    ],
)
async def test_each_fault_of_cors_has_its_reason(script: Script, reason: str) -> None:
    seen, _ = await look(script, CORS)
    assert seen.reason == reason


def guarded(*, without: int = 401, with_token: int = 401, openapi: object = OPENAPI, good: str = "") -> Script:
    def answer(asked: Asked) -> Act:
        if asked.path == "/openapi.json":
            return reply(200, openapi)
        sent = asked.headers.get("authorization", "")
        if good and sent == f"Bearer {good}":
            return reply(200, {"balance": 1})
        return reply(with_token if sent else without, {})

    return answer


AUTH: dict[str, object] = {"url": "/balance", "auth_required": {"openapi": "/openapi.json"}}


async def test_a_route_that_is_there_and_refuses_is_healthy_and_tokens_are_new_each_time() -> None:
    seen, asked = await look(guarded(), AUTH)
    assert seen.reason == "ok", seen.detail
    tokens = [one.headers["authorization"].removeprefix("Bearer ") for one in asked[2:]]
    headers, claims = ([json.loads(_decoded(token.split(".")[part])) for token in tokens] for part in (0, 1))
    assert [header["alg"] for header in headers] == ["HS256", "none"]
    assert {(claim["aud"], claim["role"]) for claim in claims} == {("authenticated", "authenticated")}
    _, again = await look(guarded(), AUTH)
    assert again[2].headers["authorization"] != asked[2].headers["authorization"]


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (guarded(without=200), "auth_not_required"),
        (guarded(with_token=200), "forged_token_accepted"),
        (guarded(with_token=422), "forged_token_accepted"),
        (guarded(openapi={"paths": {}}), "route_missing"),
        (guarded(openapi="<html>"), "route_unproven"),
        (guarded(openapi=b" " * 4_200_000), "route_unproven"),
        (guarded(without=404), "auth_answer_unexpected"),
    ],
)
async def test_each_fault_of_a_guarded_route_has_its_reason(script: Script, reason: str) -> None:
    seen, _ = await look(script, AUTH)
    assert seen.reason == reason
    assert seen.verdict is (Verdict.UNKNOWN if reason == "route_unproven" else Verdict.UNHEALTHY)


async def test_paths_of_the_document_begin_behind_the_backends_own() -> None:
    prefixed = {"/api/openapi.json": reply(200, OPENAPI), "/api/balance": reply(401), "/apis/balance": reply(401)}
    async with scripted(lambda asked: prefixed[asked.path]) as server:
        around = replace(context(server.url), backend_url=f"{server.url}/api/")
        keys = {"url": f"{server.url}/api/balance", "auth_required": {"openapi": "/openapi.json"}}
        assert (await look_http(around, keys)).reason == "ok"
        other = {**keys, "url": f"{server.url}/apis/balance"}
        assert (await look_http(around, other)).reason == "route_missing"


async def test_what_is_shared_goes_to_the_origin_of_the_first_request_alone() -> None:
    shared = {"auth": {"bearer": SECRET}, "headers": {"X-Key": SECRET}}
    async with scripted(statuses({"/a": 200})) as home, scripted(statuses({"/b": 200, "/openapi.json": 401})) as other:
        requests = [
            {"name": "home", "url": "/a"},
            {"name": "other", "url": f"{other.url}/b", "headers": {"X-Own": "yes"}},
            {"name": "again", "url": "/a", "headers": {"x-key": "its own"}},
        ]
        assert (await look_http(context(home.url), {**shared, "requests": requests})).reason == "ok"
        assert [one.headers.get("authorization") for one in home.asked] == [f"Bearer {SECRET}"] * 2
        assert [one.headers.get("x-key") for one in home.asked] == [SECRET, "its own"]
        assert other.asked[0].headers["x-own"] == "yes"
        for form in (
            {"cors": {"allowed_origin": OURS, "error_url": f"{other.url}/b"}},
            {"auth_required": {"openapi": f"{other.url}/openapi.json"}},
        ):
            await look_http(context(home.url), {"url": "/a", "headers": {"X-Key": SECRET}, **form})
    assert len(other.asked) == 4
    assert SECRET not in repr([one.headers for one in other.asked])


async def test_the_request_that_decided_is_told_with_its_own_answer_alone() -> None:
    seen, _ = await look(lambda asked: silent() if asked.path == "/b" else reply(200), {"requests": REQUESTS}, 0.4)
    assert seen.facts["request"] == "second"
    assert "status" not in seen.facts, "the answer of the first says nothing about the second"
    seen, _ = await look(statuses({"/a": 200, "/b": 500}), {"requests": REQUESTS})
    assert (seen.facts["request"], seen.facts["condition"], seen.facts["status"]) == ("second", "status == 422", 500)


async def test_an_authorised_call_proves_the_route_and_shows_no_token() -> None:
    keys: dict[str, object] = {"url": "/balance", "auth_required": {"authorised": {"bearer": SECRET}}}
    seen, _ = await look(guarded(good=SECRET), keys)
    assert seen.reason == "ok"
    seen, _ = await look(guarded(), keys)
    assert seen.reason == "route_unproven"
    assert SECRET not in repr(seen)
    assert SECRET not in repr(HttpKeys.model_validate(keys).to_spec())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "either url or requests"),
        ({"url": "/", "requests": REQUESTS}, "either url or requests"),
        ({"requests": []}, "at least one request"),
        ({"requests": [*REQUESTS, REQUESTS[0]]}, "names first twice"),
        ({"requests": [{"name": "A b", "url": "/"}]}, "small letters, digits and dashes"),
        ({**CORS, **AUTH}, "keep one of them"),
        ({**CORS, "expect": ["status == 200"]}, "judges its own answers"),
        ({**AUTH, "auth": {"bearer": SECRET}}, "asks as a stranger"),
        ({"url": "/", "cors": {"allowed_origin": "https://a.example/path"}}, "must be an origin"),
        ({"url": "/", "cors": {"allowed_origin": THEIRS}}, "must differ"),
        ({"url": "/", "auth_required": {}}, "either openapi or authorised"),
    ],
)
def test_mistakes_are_told_when_the_configuration_is_read(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        HttpKeys.model_validate(keys)
    assert SECRET not in str(caught.value)
