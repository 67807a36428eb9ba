"""Nothing changes without a token that may change it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.settings import Scope, Token
from sidecar.config.variables import Secret
from sidecar.serving import listen, serving
from sidecar.web.app import web_app
from sidecar.web.changing import changing_routes
from sidecar.web.guard import Door
from tests.web.test_web import OPERATOR, READER, a_plain_view, yes


class Reloads:
    def __init__(self, *problems: str) -> None:
        self.by: list[str] = []
        self.problems = problems

    async def __call__(self, by: str) -> Sequence[str]:
        self.by.append(by)
        return self.problems


@asynccontextmanager
async def a_site(reload: Reloads, *tokens: Token) -> AsyncIterator[httpx.AsyncClient]:
    door = Door(tokens)
    routes = changing_routes(door, reload)
    app = web_app(status=a_plain_view, registry=CollectorRegistry(), ready=yes, door=door, routes=routes)
    async with serving(app, listen("127.0.0.1", 0)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


def bearer(token: Token) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.value.reveal()}"}


async def test_a_token_that_may_operate_reloads_and_is_named() -> None:
    reload = Reloads()
    async with a_site(reload, READER, OPERATOR) as site:
        done = await site.post("/-/reload", headers=bearer(OPERATOR))
    assert (done.status_code, done.json(), reload.by) == (200, {"reloaded": True, "problems": []}, ["jane"])


async def test_a_refused_reload_lists_every_problem() -> None:
    async with a_site(Reloads("a:1:1: x", "a:2:1: y"), OPERATOR) as site:
        refused = await site.post("/-/reload", headers=bearer(OPERATOR))
    assert (refused.status_code, refused.json()["problems"]) == (422, ["a:1:1: x", "a:2:1: y"])


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Bearer \x7f", f"Basic {OPERATOR.value.reveal()}"])
async def test_a_stranger_reloads_nothing(given: str) -> None:
    reload = Reloads()
    async with a_site(reload, OPERATOR) as site:
        headers = {"Authorization": given} if given else {}
        assert (await site.post("/-/reload", headers=headers)).status_code == 401
        assert (await site.get("/-/reload", headers=bearer(OPERATOR))).status_code == 405
    assert reload.by == []


async def test_a_reader_reloads_nothing() -> None:
    reload = Reloads()
    async with a_site(reload, OPERATOR, READER) as site:
        assert (await site.post("/-/reload", headers=bearer(READER))).status_code == 403
    assert reload.by == []


async def test_without_tokens_nobody_reloads_over_http_since_any_web_page_could() -> None:
    reload = Reloads()
    async with a_site(reload) as site:
        barred = await site.post("/-/reload")
        assert (await site.get("/")).status_code == 200
    assert (barred.status_code, reload.by) == (403, [])
    assert "server.tokens" in barred.json()["error"]


async def test_a_body_however_large_is_not_read() -> None:
    reload = Reloads()
    async with a_site(reload, OPERATOR) as site:
        done = await site.post("/-/reload", headers=bearer(OPERATOR), content=b"x" * 5_000_000)
    assert (done.status_code, reload.by) == (200, ["jane"])


async def test_new_tokens_hold_from_the_moment_they_are_known() -> None:
    door = Door([])
    door.follow([Token(name="new", scopes=frozenset({Scope.READ}), value=Secret("n" * 20))])
    app = web_app(status=a_plain_view, registry=CollectorRegistry(), ready=yes, door=door)
    async with serving(app, listen("127.0.0.1", 0)) as url, httpx.AsyncClient(base_url=url, trust_env=False) as site:
        assert (await site.get("/")).status_code == 401
        assert (await site.get("/", headers={"Authorization": "Bearer " + "n" * 20})).status_code == 200
