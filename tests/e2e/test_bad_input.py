"""What people and servers get wrong: told with its cause, never believed, and nothing written."""

import asyncio
import re
import signal
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
from anyio.from_thread import BlockingPortal
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.e2e.cast import RULE, Detour, Ended, Project, entered, rows_of
from tests.scripted import Act, head, html, raw, reply, reset, scripted, silent, unused_port

Make: TypeAlias = Callable[[], Awaitable[ASGIApp]]


def nothing_written(project: Project, ended: Ended) -> None:
    rule = rows_of(ended)
    assert (rule["inserted"], rule["violations"], rule["run_id"]) == (0, None, None), rule
    assert project.restored() == 0


def test_every_mistake_is_told_at_once_with_its_place_and_nothing_is_started(project: Project) -> None:
    project.write(
        main={"  - name: backend-health": "  - nome: backend-health", "  drain: 15s": "  drain: 15", "rules:": "ruls:"},
        rule={"owner: billing": "owner: billing\nowner: me"},
    )
    lines = project.config.read_text().splitlines()
    line = {word: number for number, text in enumerate(lines, 1) for word in ("nome", "drain", "ruls") if word in text}
    ended = project.run("run")
    assert (ended.code, ended.stdout) == (2, "")
    told = ended.stderr.splitlines()[1:]
    assert len(told) == 5, told
    config, rule = str(project.config), str(project.folder / "rules" / f"{RULE}.yaml")
    for place, words in (
        (f"{config}:{line['nome']}:5: ", "checks[1].nome: is not a known key (did you mean name?)"),
        (f"{config}:{line['drain']}:10: ", "must be a duration (write it like 500ms, 30s, 5m, 24h or 7d)"),
        (f"{config}:{line['ruls']}:1: ", "ruls: is not a known key (did you mean rules?)"),
        (f"{rule}:4:1: ", "owner"),
    ):
        assert any(place in one and words in one for one in told), (place, words, told)
    assert not project.state.parent.exists(), "nothing was started"
    for verb in (("detect",), ("backfill", RULE), ("validate",)):
        again = project.ask(*verb)
        assert again.code == 2
        assert all(one.strip() in again.stdout + again.stderr for one in told)
    assert {"file", "line", "column", "path", "message", "hint"} == set(
        project.ask("validate", "--json").document["problems"][0]
    )
    assert not project.state.parent.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("supabase: [", r":\d+:\d+: "),
        ("", "empty"),
        ("\tsupabase: 1\n", ":1:1: "),
        ("- supabase\n", ":1:1: "),
        ("supabase: {url: 'http://x', url: 'http://y'}\n", ":1:29: supabase.url: is given twice"),
    ],
)
def test_a_text_that_is_no_configuration_is_refused(project: Project, text: str, said: str) -> None:
    project.config.write_text(text)
    ended = project.ask("detect")
    assert (ended.code, ended.stdout) == (2, "")
    assert re.search(said, ended.stderr), ended.stderr
    assert not project.state.parent.exists()


def test_a_configuration_that_is_not_there_is_named(project: Project) -> None:
    project.config.unlink()
    ended = project.ask("check")
    assert (ended.code, str(project.config) in ended.stderr) == (2, True)


def test_without_a_key_the_check_says_so_and_the_repair_refuses(project: Project) -> None:
    del project.environment["SUPABASE_SERVICE_ROLE_KEY"]
    looked = project.run("check", "service-key", "--json")
    [look] = looked.document["checks"]
    assert (looked.code, look["verdict"], look["reason"]) == (1, "unhealthy", "key_missing")
    for words in (("backfill", RULE), ("plan", RULE), ("detect",)):
        ended = project.ask(*words, "--json")
        assert (ended.code, rows_of(ended)["refused_by"]) == (4, "require_checks")
        assert "key_missing" in rows_of(ended)["refusal"]["value"]
        nothing_written(project, ended)


CUT = raw(head(200, {"Content-Type": "application/json", "Content-Length": "1000"}) + b'[{"id": 1')


@pytest.mark.parametrize(
    ("act", "reason", "cause"),
    [
        (None, "network_down", "connect_failed"),
        (silent(), "network_down", "timed_out"),
        (reply(429, {"message": "slow down"}, {"Retry-After": "7"}), "rate_limited", "429"),
        (reply(503, {"message": "starting"}, {"Retry-After": "7"}), "gateway_down", "503"),
        (html(200), "wrong_endpoint", "not how a Supabase gateway refuses"),
        (html(502), "gateway_down", "502"),
        (CUT, "network_down", "cut_off"),
        (reset(), "network_down", "cut_off"),
        (reply(200, "NaN"), "wrong_endpoint", "not how a Supabase gateway refuses"),
    ],
    ids=["closed", "silent", "429", "503", "html", "html 502", "half a body", "reset", "no json"],
)
def test_a_supabase_that_cannot_be_seen_is_unknown_and_named(
    project: Project, portal: BlockingPortal, act: Act | None, reason: str, cause: str
) -> None:
    project.write(main={"timeout: 10s": "timeout: 1s"})
    with entered(portal, scripted(lambda _: act or silent())) as server:
        url = f"http://127.0.0.1:{unused_port()}" if act is None else server.url
        project.environment["SUPABASE_URL"] = url
        looked = project.ask("check", "service-key", "--json")
        started = time.monotonic()
        ended = project.ask("backfill", RULE, "--json")
    [look] = looked.document["checks"]
    assert (looked.code, look["verdict"], look["reason"]) == (3, "unknown", reason), look
    assert (ended.code, rows_of(ended)["outcome"]) == (3, "unknown")
    assert cause in look["detail"]
    assert rows_of(ended)["detail"] == f"check_unknown: service-key: {reason}"
    assert time.monotonic() - started < 20
    nothing_written(project, ended)


class Late:
    """Breaks one table's answers, so that it is the look at the data that fails, after a healthy check."""

    def __init__(self, answer: Response | Make, *, path: str = "/rest/v1/credit_transactions") -> None:
        self._answer = answer
        self._path = path
        self.asked = 0

    async def __call__(self, request: Request) -> ASGIApp | None:
        # The check counts this table too, by its id alone.
        if request.url.path != self._path or request.query_params.get("select") in {"id", None}:
            return None
        self.asked += 1
        return self._answer if isinstance(self._answer, Response) else await self._answer()


async def half_a_body() -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'[{"user_id": "', "more_body": True})
        await asyncio.sleep(0)
        raise ConnectionError("the other half is lost")

    return app


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (JSONResponse({"message": "slow down"}, 429, {"Retry-After": "7"}), "unreachable: status 429"),
        (PlainTextResponse("", 503, {"Retry-After": "7"}), "unreachable: status 503"),
        (HTMLResponse("<html>oops</html>", 200), "answer_malformed: .*not JSON .text/html"),
        (HTMLResponse("<html>oops</html>", 500), "unreachable: status 500"),
        (JSONResponse({"rows": []}), "answer_malformed: .*not a list of rows"),
        (JSONResponse([1, 2]), "answer_malformed: .*not a list of rows"),
        (JSONResponse([]), "answer_malformed: .*Content-Range|count_mismatch"),
        (JSONResponse({"code": "42501", "message": "permission denied"}, 403), "access_denied: .*42501"),
        (half_a_body, "unreachable: cut_off"),
    ],
    ids=["429", "503", "html", "html 500", "object", "numbers", "no count", "denied", "half a body"],
)
def test_a_read_that_breaks_after_a_healthy_check_is_unknown_and_named(
    bent: Project, detour: Detour, answer: Response | Make, named: str
) -> None:
    late = detour.bend = Late(answer)
    ended = bent.ask("backfill", RULE, "--json")
    assert late.asked > 0
    assert (ended.code, rows_of(ended)["outcome"]) == (3, "unknown"), ended
    assert re.search(named, rows_of(ended)["detail"]), rows_of(ended)["detail"]
    nothing_written(bent, ended)


def test_a_ledger_that_is_empty_all_at_once_is_not_believed(bent: Project, detour: Detour) -> None:
    assert bent.ask("detect").code == 1
    detour.bend = Late(JSONResponse([], headers={"Content-Range": "*/0"}))
    ended = bent.ask("backfill", RULE, "--json")
    assert (ended.code, rows_of(ended)["outcome"]) == (3, "unknown"), ended
    assert "count_changed: public.credit_transactions shrank from" in rows_of(ended)["detail"]
    nothing_written(bent, ended)


def test_a_daemon_leaves_a_server_alone_for_as_long_as_it_asks(bent: Project, detour: Detour) -> None:
    asked: list[str] = []

    async def bend(request: Request) -> ASGIApp:
        asked.append(request.url.path)
        return PlainTextResponse("", 429, {"Retry-After": "600"})

    detour.bend = bend
    bent.write(main={"every: 2s": "every: 500ms", "timeout: 1900ms": "timeout: 400ms"})
    daemon = bent.start()
    assert daemon.hear("cycle.finished")["outcome"] == "unknown"
    daemon.hear("check.observed", check="backend-health", times=9)
    assert len(daemon.said("cycle.finished")) == 1, "one tick a second, but for the wait it was asked for"
    assert len(asked) <= 2, "the rule's look, and the check's own"
    daemon.signal(signal.SIGTERM)
    assert daemon.end() == 0


@pytest.mark.parametrize(
    ("answer", "results"),
    [
        (HTMLResponse("<html>oops</html>", 200), {"planned": 13}),
        (HTMLResponse("<html>oops</html>", 502), {"planned": 13}),
        (PlainTextResponse("", 429, {"Retry-After": "60"}), {"planned": 13}),
        (half_a_body, {"planned": 13}),
        (JSONResponse([], 201), {"failed": 1, "planned": 12}),  # the first row alone is tried, and the breaker opens
    ],
    ids=["html", "html 502", "429", "half a body", "nothing landed"],
)
def test_a_write_without_a_whole_answer_is_never_counted_as_done(
    bent: Project, detour: Detour, answer: Response | Make, results: dict[str, int]
) -> None:
    async def bend(request: Request) -> ASGIApp | None:
        if request.method != "POST" or request.url.path != "/rest/v1/users":
            return None
        return answer if isinstance(answer, Response) else await answer()

    detour.bend = bend
    ended = bent.ask("backfill", RULE, "--json")
    assert ended.code == 4 if "failed" in results else ended.code in (1, 3), ended
    assert (rows_of(ended)["inserted"], rows_of(ended)["results"]) == (0, results), rows_of(ended)
    detour.bend = None
    assert bent.restored() == 0
    if results == {"planned": 13}:
        after = bent.ask("backfill", RULE, "--json")
        assert (after.code, rows_of(after)["results"]) == (0, {"inserted": 13}), "the run is taken up, and ends"
        assert rows_of(after)["run_id"] == rows_of(ended)["run_id"]


@pytest.mark.parametrize(
    ("piece", "by", "guard", "named"),
    [
        ("{table: public.credit_transactions", "{table: public.ledgerr", "schema_mismatch", "ledgerr"),
        ("{table: public.users", "{table: public.userz", "schema_mismatch", "userz"),
        ("key: user_id", "key: userid", "schema_mismatch", "userid"),
        ("amount: amount", "amount: amnt", "schema_mismatch", "amnt"),
        ("    full_name: {", "    fullname: {", "schema_mismatch", "fullname"),
        ("key: user_id", "key: transaction_type", "key_type_unsupported", "uuid"),
    ],
)
def test_a_rule_that_does_not_fit_the_schema_is_refused_by_name(
    project: Project, piece: str, by: str, guard: str, named: str
) -> None:
    project.write(rule={piece: by})
    ended = project.ask("backfill", RULE, "--json")
    assert (ended.code, rows_of(ended)["refused_by"]) == (4, guard), ended
    assert named in rows_of(ended)["refusal"]["value"]
    nothing_written(project, ended)


def test_a_column_of_the_wrong_type_leaves_the_rule_unknown(project: Project) -> None:
    project.write(rule={"created: created_at, order": "created: amount, order"})
    ended = project.ask("detect", "--json")
    assert ended.code == 3
    assert rows_of(ended)["outcome"] == "unknown"


@pytest.mark.parametrize("blind_from", [1, 2], ids=["before the read", "after the read"])
def test_a_look_that_does_not_see_the_canary_itself_believes_nothing(
    bent: Project, detour: Detour, blind_from: int
) -> None:
    asked = 0

    async def bend(request: Request) -> ASGIApp | None:
        nonlocal asked  # the check asks for the nonce too; this is the look's own client
        if request.url.path != "/rest/v1/sidecar_canary" or request.query_params.get("select") != "id":
            return None
        asked += 1
        return JSONResponse([]) if asked >= blind_from else None

    detour.bend = bend
    ended = bent.ask("backfill", RULE, "--json")
    assert (ended.code, rows_of(ended)["outcome"]) == (3, "unknown"), ended
    assert rows_of(ended)["detail"].startswith("canary_unseen"), rows_of(ended)["detail"]
    nothing_written(bent, ended)


def test_a_ledger_whose_pages_do_not_add_up_is_no_evidence(bent: Project, detour: Detour) -> None:
    async def bend(request: Request) -> ASGIApp | None:
        asked = request.query_params
        later = asked.get("user_id", "").startswith("in.(") and "or" in asked
        return JSONResponse([]) if later and request.url.path == "/rest/v1/credit_transactions" else None

    detour.bend = bend
    ended = bent.ask("backfill", RULE, "--json")
    assert (ended.code, rows_of(ended)["outcome"]) == (3, "unknown"), ended
    assert "pages add up to" in rows_of(ended)["detail"], rows_of(ended)["detail"]
    nothing_written(bent, ended)
