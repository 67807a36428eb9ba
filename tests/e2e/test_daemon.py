"""The daemon as a process: how it starts, works beside other commands, and ends."""

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.demo.rest.forward import forward_to
from tests.e2e.cast import RULE, Detour, Gate, Project, Running, entered, rows_of, until
from tests.scripted import Scripted, reply, scripted, unused_port
from tests.telemetry.receiver import Receiver, a_receiver

AUTO = {"mode: approve": "mode: auto"}
MORE = 200  # further orphans, so that a run takes more than one batch
SECOND = range(1, 5)  # rows of the second batch: the first is one row, and the next grows as quickly as that one was
ALL = MORE + 13


@pytest.fixture
def webhook(portal: BlockingPortal) -> Iterator[Scripted]:
    """A server that takes notifications, and keeps them."""
    with entered(portal, scripted(lambda _: reply(200))) as server:
        yield server


@pytest.fixture
def receiver(portal: BlockingPortal) -> Iterator[Receiver]:
    """A server that takes traces, and keeps them."""
    with entered(portal, a_receiver()) as server:
        yield server


def memory(project: Project, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(project.state, timeout=10)) as connection:
        return connection.execute(question).fetchall()


def orphan_more(project: Project) -> None:
    """Take the profiles of many users away; their credits stay."""
    gone = project.sql(
        """delete from public.users where id in (select id from public.users u where exists
           (select from public.credit_transactions t where t.user_id = u.id and t.description = 'Credit pack')
           order by id limit 200) returning id"""
    )
    assert len(gone) == MORE


def is_insert(request: Request) -> bool:
    return request.method == "POST" and request.url.path == "/rest/v1/users"


class AtInsert:
    """Bends the n-th insert: it waits at a gate, before it reaches the database or with its answer."""

    def __init__(self, number: int, *, onward: ASGIApp | None = None) -> None:
        """With `onward` the insert is made, and only its answer waits."""
        self.gate = Gate()
        self._number = number
        self._onward = onward
        self._seen = 0

    async def __call__(self, request: Request) -> ASGIApp | None:
        self._seen += is_insert(request)
        if not is_insert(request) or self._seen != self._number:
            return None
        if self._onward is not None:
            return self._late
        await self.gate.wait()
        return None

    async def _late(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._onward is not None

        async def send_late(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self.gate.wait()
            await send(message)

        await self._onward(scope, receive, send_late)


def phases(daemon: Running) -> list[str]:
    return [line["phase"] for line in daemon.said("lifecycle.changed")]


def ended_well(daemon: Running) -> None:
    """Hold the end to its order, and the log to being JSON alone."""
    assert daemon.end() == 0, daemon.stderr
    assert phases(daemon) == ["started", "stopping", "drained", "stopped"]
    ours = [line for line in daemon.lines if line["event"] != "library.logged"]  # the exporter's thread ends by itself
    assert ours[-1]["event"] == "lifecycle.changed", ours[-1]
    assert len(daemon.lines) == len(daemon.stderr.splitlines()), "a line is not JSON"
    assert daemon.stdout == ""
    assert not daemon.said("fault.caught"), daemon.said("fault.caught")


def test_a_daemon_that_cannot_start_says_why_in_one_line(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        project.write(main={"127.0.0.1:0": f"127.0.0.1:{taken.getsockname()[1]}"})
        busy = project.run("run")
    assert (busy.code, busy.stdout, busy.stderr.count("\n")) == (2, "", 1), busy.stderr
    assert "sidecar: cannot listen on 127.0.0.1" in busy.stderr
    project.state.unlink()
    project.state.mkdir()
    blind = project.run("run")
    assert (blind.code, "StateUnavailable" in blind.stderr, "Traceback" in blind.stderr) == (3, True, False)


def test_an_idle_daemon_tells_how_it_is_and_ends_at_once(bent: Project, detour: Detour) -> None:
    detour.bend = _unavailable
    bent.write(rule={"mode: approve": "mode: observe"})
    daemon = bent.start(environment={"OTLP": f"http://127.0.0.1:{unused_port()}"})
    daemon.hear("cycle.finished", outcome="unknown")
    page, plain = daemon.get("/"), daemon.get("/metrics").text
    assert (page.status_code, "service-key" in page.text, RULE in page.text) == (200, True, True)
    assert "gateway_down" in page.text or "db_down" in page.text, page.text
    assert f'sidecar_rule_evaluations_total{{result="unknown",rule="{RULE}"}} 0.0' not in plain
    assert "sidecar_rule_violations{" not in plain, "what is not proven is not published"
    assert 'sidecar_check_up{check="service-key"' not in plain

    detour.bend = None
    daemon.hear("cycle.finished", outcome="observed")
    said = daemon.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert said.headers["content-type"].startswith("application/openmetrics-text")
    assert said.text.endswith("# EOF\n")
    assert f'sidecar_rule_violations{{class="repairable",rule="{RULE}"}} 13.0' in said.text
    assert 'sidecar_check_up{check="service-key",kind="service_key",severity="critical"} 1.0' in said.text
    assert "text/plain" in daemon.get("/metrics").headers["content-type"]

    _hold_the_memory(bent, daemon)
    asked_at = time.monotonic()
    daemon.signal(signal.SIGTERM)
    ended_well(daemon)
    assert time.monotonic() - asked_at < 12, "two seconds for HTTP, two for spans that nobody takes"


async def _unavailable(_: Request) -> ASGIApp:
    return PlainTextResponse("nobody here", 503)


def _hold_the_memory(project: Project, daemon: Running) -> None:
    """Lock the state file from outside: alive, but not ready; and ready again once it is let go."""
    assert daemon.get("/-/ready").json() == {"ready": True}
    with closing(sqlite3.connect(project.state, isolation_level=None, timeout=10)) as other:
        other.execute("begin exclusive")
        answer = daemon.get("/-/ready")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert answer.json()["reason"]
        assert daemon.get("/-/healthy").text == "healthy\n"
        other.execute("rollback")
    until(lambda: daemon.get("/-/ready").status_code == 200, lambda: daemon.stderr[-2000:])


def test_a_run_stopped_in_the_middle_is_finished_by_the_next_start(bent: Project, detour: Detour) -> None:
    orphan_more(bent)
    bent.write(rule=AUTO)
    bend = detour.bend = AtInsert(2)
    daemon = bent.start()
    assert until(bend.gate.came.is_set, lambda: daemon.stderr[-3000:])
    url = daemon.url
    daemon.signal(signal.SIGTERM)
    daemon.hear("lifecycle.changed", phase="stopping")
    assert daemon.get("/-/healthy").status_code == 200, "HTTP goes last"
    assert "sidecar_run_progress_ratio" in daemon.get("/metrics").text
    bend.gate.opened.set()
    ended_well(daemon)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    [halted] = daemon.said("cycle.finished")
    written = halted["results"]["inserted"]
    assert (halted["outcome"], halted["results"]) == ("cancelled", {"inserted": written, "planned": ALL - written})
    assert written - 1 in SECOND
    assert memory(bent, "select status, outcome from runs") == [("interrupted", None)]

    again = bent.start()
    finished = again.hear("cycle.finished", run_id=halted["run_id"])
    assert (finished["outcome"], finished["results"]) == ("repaired", {"inserted": ALL})
    assert again.said("run.started", resumed=True)
    again.signal(signal.SIGTERM)
    ended_well(again)
    _each_row_once(bent)


def _each_row_once(project: Project) -> None:
    assert project.restored() == ALL
    assert memory(project, "select result, count(*), count(distinct key) from run_rows group by 1") == [
        ("inserted", ALL, ALL)
    ]
    assert memory(project, "select count(*) from run_rows where in_flight") == [(0,)]
    assert memory(project, "select count(*), status from runs group by 2") == [(1, "finished")]


def test_a_batch_whose_answer_never_comes_within_the_drain_is_read_back_by_the_next_start(
    bent: Project, detour: Detour, portal: BlockingPortal
) -> None:
    orphan_more(bent)
    bent.write(main={"drain: 15s": "drain: 500ms"}, rule=AUTO)
    with entered(portal, forward_to(bent.served.supabase_url)) as onward:
        bend = detour.bend = AtInsert(2, onward=onward)
        daemon = bent.start()
        assert until(bend.gate.came.is_set, lambda: daemon.stderr[-3000:])
        daemon.signal(signal.SIGTERM)
        ended_well(daemon)
        bend.gate.opened.set()
    assert daemon.said("lifecycle.changed", phase="drained")[0]["detail"] == f"cancelled: rule {RULE}"
    assert memory(bent, "select status, detail from runs") == [("interrupted", "cancelled")]
    [(in_flight,)] = memory(bent, "select count(*) from run_rows where in_flight")
    assert in_flight in SECOND
    assert bent.restored() == 1 + in_flight, "the database took what nobody heard of"

    assert rows_of(bent.run("backfill", RULE, "--json"))["results"] == {"inserted": ALL}
    _each_row_once(bent)


def test_a_second_signal_ends_it_at_once(bent: Project, detour: Detour) -> None:
    bent.write(rule=AUTO)
    bend = detour.bend = AtInsert(1)
    daemon = bent.start()
    assert until(bend.gate.came.is_set, lambda: daemon.stderr[-3000:])
    daemon.signal(signal.SIGTERM)
    daemon.hear("lifecycle.changed", phase="stopping")
    daemon.signal(signal.SIGINT)
    assert daemon.end() == 130
    assert "drained" not in phases(daemon)
    bend.gate.opened.set()


def test_a_freeze_stops_a_daemon_between_two_batches_and_lifting_it_lets_it_go_on(
    bent: Project, detour: Detour, webhook: Scripted
) -> None:
    orphan_more(bent)
    bent.write(main={"notifications: []": f"notifications: [{{url: '{webhook.url}/hook'}}]"}, rule=AUTO)
    bend = detour.bend = AtInsert(2)
    daemon = bent.start()
    assert until(bend.gate.came.is_set, lambda: daemon.stderr[-3000:])
    assert bent.run("freeze", "--reason", "migration", "--as", "anna").code == 0
    bend.gate.opened.set()
    halted = daemon.hear("cycle.finished", outcome="refused")
    written = halted["results"]["inserted"]
    assert (halted["guard"], halted["results"]) == ("frozen", {"inserted": written, "planned": ALL - written})
    assert written - 1 in SECOND
    daemon.hear("cycle.finished", outcome="refused", times=2)
    assert bent.restored() == written
    assert "migration" in daemon.get("/").text

    assert bent.run("unfreeze", "--as", "anna").code == 0
    assert daemon.hear("cycle.finished", outcome="repaired")["run_id"] == halted["run_id"]
    _each_row_once(bent)
    daemon.signal(signal.SIGTERM)
    ended_well(daemon)
    told = [json.loads(asked.body) for asked in webhook.asked]
    assert [message["notice"] for message in told if message["notice"] == "guard_refused"] == ["guard_refused"]
    assert [m["details"]["outcome"] for m in told if m["notice"] == "run_ended"][-1] == "repaired"


def test_people_and_the_daemon_work_side_by_side(project: Project, webhook: Scripted, receiver: Receiver) -> None:
    project.write(main={"notifications: []": f"notifications: [{{url: '{webhook.url}/hook'}}]"})
    with ThreadPoolExecutor(2) as people:
        daemon = project.start(environment={"OTLP": receiver.url})
        looks = list(people.map(lambda _: project.run("detect", "--json"), range(2)))
    assert [look.code for look in looks] == [1, 1], looks
    made = daemon.hear("plan.made", waiting=True)["plan_id"]
    assert made in daemon.get("/").text
    assert rows_of(project.ask("plan", RULE, "--json"))["plan_id"] == made, "the same rows make the same plan"
    assert project.ask("approve", made, "--as", "anna").code == 0
    applied = project.run("apply", made, "--json", "--as", "anna")
    assert (applied.code, rows_of(applied)["inserted"]) == (0, 13), applied
    assert project.ask("runs", "--json").document["runs"][0]["outcome"] == "repaired"
    assert daemon.get("/").text.count(made) == 0, "it waits no more"
    daemon.signal(signal.SIGTERM)
    ended_well(daemon)
    names = {span.name for span in receiver.spans}
    assert {"check service-key", "check backend-health", f"run {RULE}"} <= names

    again = project.start()
    again.hear("cycle.finished", outcome="nothing_to_do")
    again.signal(signal.SIGTERM)
    ended_well(again)
    told = [json.loads(asked.body) for asked in webhook.asked]
    assert [(message["notice"], message["details"]["plan_id"]) for message in told] == [("plan_waiting", made)]
    cycles = sum(len(one.said("cycle.finished")) for one in (daemon, again)) + 4  # two detects, a plan, an apply
    assert memory(project, "select epoch from leases") == [(cycles,)], "no acquisition of the lease was lost"
    assert memory(project, "select count(*), count(closed_at), sum(proven) from looks") == [(cycles,) * 3]
    assert project.restored() == 13
