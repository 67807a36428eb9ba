"""People steer a run that another process works on."""

import signal

from anyio.from_thread import BlockingPortal

from tests.e2e.cast import RULE, Detour, Project, until
from tests.e2e.test_daemon import ALL, AUTO, AtInsert, orphan_more


def test_a_run_of_a_daemon_is_paused_told_resumed_and_another_aborted_by_people(
    bent: Project, detour: Detour, portal: BlockingPortal
) -> None:
    assert portal is not None
    orphan_more(bent)
    bent.write(rule=AUTO)
    bend = detour.bend = AtInsert(3)
    daemon = bent.start()
    assert until(bend.gate.came.is_set, lambda: daemon.stderr[-3000:])
    [run] = bent.ask("runs", "--json").document["runs"]
    moving = bent.ask("runs", run["id"], "--json").document
    assert (moving["why"], 0 < moving["done"] < moving["total"]) == ("moving", True), moving
    assert bent.ask("pause", run["id"], "--reason", "support asks", "--as", "anna").code == 0
    bend.gate.opened.set()

    halted = daemon.hear("cycle.finished", outcome="refused")
    assert (halted["guard"], halted["run_id"]) == ("frozen", run["id"])
    daemon.hear("cycle.finished", outcome="refused", times=3)
    written = bent.restored()
    told = bent.ask("runs", run["id"], "--json").document
    assert (told["why"], told["status"], told["done"]) == ("paused", "interrupted", written)
    assert "anna" in told["why_detail"]

    assert bent.ask("resume", run["id"], "--as", "ben").code == 0
    bend = detour.bend = AtInsert(1)
    assert until(bend.gate.came.is_set, lambda: daemon.stderr[-3000:])
    aborting = bent.start("abort", run["id"], "--reason", "wrong plan", "--as", "anna")
    until(lambda: "abort:" in bent.ask("freeze", "--list").stdout, lambda: aborting.stderr)
    bend.gate.opened.set()
    assert aborting.end() == 0, aborting.stderr
    daemon.signal(signal.SIGTERM)
    assert daemon.end() == 0

    ended = bent.ask("runs", run["id"], "--json").document
    assert (ended["outcome"], ended["status"]) == ("cancelled", "finished"), (ended["detail"], aborting.stdout)
    assert ended["results"]["inserted"] < ended["total"]
    assert bent.ask("freeze", "--list").stdout == "nothing is frozen\n"
    assert bent.ask("abort", run["id"]).code == 2
    for _ in range(2):  # what the aborted run did not write, and what the daemon began of it anew
        assert bent.ask("backfill", RULE).code == 0
    assert bent.restored() == ALL
