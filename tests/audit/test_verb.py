"""`sidecar audit verify` as people type it, and the anchors that the daemon's log kept for them."""

import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sidecar.cli import cli
from sidecar.domain.audit import AuditRow, Head
from sidecar.errors import UsageError
from sidecar.ports import State
from sidecar.verbs.auditing import Counter, gather
from tests.audit.cast import chained, head_of, lived, overwrite, with_value
from tests.e2e.cast import Ended, Running, command

CONFIG = """\
supabase: {url: "http://127.0.0.1:9", service_key: x, anon_key: y}
backend: {url: "http://127.0.0.1:9"}
checks:
  - {name: backend, kind: http, every: 1h, timeout: 2s, severity: critical, url: /health, expect: [status == 200]}
rules: {path: rules}
state: {url: "sqlite:///%s"}
server: {listen: "127.0.0.1:0"}
telemetry: {log_level: info}
notifications: []
"""


@pytest.fixture
def config(tmp_path: Path, path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    file = tmp_path / "sidecar.yaml"
    file.write_text(CONFIG % path)
    return file


@pytest.fixture
async def rows(state: State) -> list[AuditRow]:
    return await lived(state, 30)


def verify(config: Path, *words: str) -> Ended:
    done = CliRunner(env={}).invoke(cli, ["audit", "verify", *words, "--config", str(config)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Ended(done.exit_code, done.stdout, done.stderr)


def typed(row: AuditRow) -> str:
    return f"--anchor={row.seq}:{row.hash}"


def act(config: Path, *words: str) -> None:
    done = CliRunner(env={}).invoke(cli, [*words, "--config", str(config)])
    assert done.exit_code == 0, done.stderr


def logged(row: AuditRow, before: str = "") -> str:
    return before + json.dumps({"timestamp": "…", "event": "audit.anchored", "seq": row.seq, "hash": row.hash}) + "\n"


def test_a_chain_that_holds_exits_0_and_says_how_far_anchors_vouch_for_it(config: Path, rows: list[AuditRow]) -> None:
    plain = verify(config)
    assert plain.code == 0
    assert f"audit: {len(rows)} rows hold" in plain.stdout
    assert "without an anchor, a tail that was cut off or a chain written anew cannot be seen" in plain.stdout
    assert f"vouch for it up to row 2; {len(rows) - 2} rows are newer" in verify(config, typed(rows[1])).stdout
    assert "anchors vouch for all of it" in verify(config, typed(rows[1]), typed(rows[-1])).stdout
    told = verify(config, typed(rows[1]), "--json").document
    assert told == {
        "verdict": "healthy",
        "rows": len(rows),
        "head": {"seq": len(rows), "hash": rows[-1].hash},
        "broken": None,
        "anchors": 1,
        "newest_anchor": 2,
        "unreadable_lines": 0,
    }


def test_a_broken_chain_exits_5_and_names_the_row(config: Path, path: Path, rows: list[AuditRow]) -> None:
    overwrite(path, [*rows[:4], with_value(rows[4], "actor", "mallory"), *rows[5:]])
    broken = verify(config)
    assert broken.code == 5
    assert broken.stdout.startswith("audit: BROKEN at row 5: row_changed\n")
    told = verify(config, "--json").document
    assert (told["verdict"], told["rows"], told["broken"]["seq"], told["broken"]["flaw"]) == (
        *("unhealthy", 4),
        *(5, "row_changed"),
    )
    assert told["broken"]["detail"] in broken.stdout


def test_a_cut_tail_exits_5_with_the_anchor_of_a_log(
    config: Path, path: Path, rows: list[AuditRow], tmp_path: Path
) -> None:
    overwrite(path, rows[:-1])
    assert verify(config).code == 0, "which is why there are anchors"
    log = tmp_path / "sidecar.log"
    log.write_text("no JSON\n" + logged(rows[7]) + logged(rows[-1], before="Nov 20 host sidecar[7]: "))
    broken = verify(config, "--anchors", str(log), "--json")
    assert (broken.code, broken.document["broken"]["flaw"], broken.document["anchors"]) == (5, "tail_cut", 2)


def test_an_emptied_audit_exits_5_with_an_anchor_and_3_without(config: Path, path: Path, rows: list[AuditRow]) -> None:
    overwrite(path, [])
    assert verify(config, typed(rows[3]), "--json").document["broken"]["flaw"] == "emptied"
    assert verify(config, typed(rows[3])).code == 5
    nothing = verify(config, "--json")
    assert (nothing.code, nothing.document["verdict"]) == (3, "unknown")


def test_memory_that_cannot_be_read_exits_3(config: Path, path: Path) -> None:
    path.mkdir(parents=True)
    blind = verify(config)
    assert (blind.code, "StateUnavailable" in blind.stderr) == (3, True)


@pytest.mark.parametrize("anchor", ["7", "0:" + "a" * 64, "x:" + "a" * 64, "-1:" + "a" * 64, "7:abc", "7:" + "A" * 64])
def test_what_is_no_anchor_exits_2(config: Path, anchor: str) -> None:
    refused = verify(config, f"--anchor={anchor}")
    assert (refused.code, "is no anchor: write SEQ:HASH" in refused.stderr) == (2, True)


def test_a_log_without_anchors_is_refused_since_it_would_vouch_for_nothing(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "sidecar.log"
    log.write_text('{"event": "check.observed", "detail": "audit.anchored"}\n{"event": "audit.anchored", "se\n')
    refused = verify(config, "--anchors", str(log))
    assert (refused.code, "holds no line of the event audit.anchored" in refused.stderr) == (2, True)
    gone = verify(config, "--anchors", str(tmp_path / "gone"))
    assert (gone.code, "cannot read" in gone.stderr) == (2, True)


def test_lines_that_name_an_anchor_and_cannot_be_read_are_counted(rows: list[AuditRow], tmp_path: Path) -> None:
    log = tmp_path / "sidecar.log"
    bad: list[dict[str, Any]] = [{"seq": True, "hash": "a" * 64}, {"seq": 4, "hash": 5}, {"seq": "4"}, {}]
    lines = [json.dumps({"event": "audit.anchored", **fields}) + "\n" for fields in bad]
    log.write_text("".join([*lines, logged(rows[0]), logged(rows[1])[:-9]]))
    anchors = gather([f"3:{'b' * 64}"], log)
    assert (anchors.heads, anchors.unreadable) == ([Head(3, "b" * 64), head_of(rows[0])], len(bad) + 1)
    with pytest.raises(UsageError):
        gather(["nonsense"], None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "said"), [(Terminal(), 40), (io.StringIO(), 5)])
def test_long_work_says_how_far_it_is_in_place_on_a_terminal_and_in_lines_elsewhere(
    stream: io.StringIO, said: int
) -> None:
    now = iter(range(1000))
    counter = Counter(stream, lambda: next(now) / 4)
    for rows in range(1, 40_001):
        counter.told(rows)
    counter.close()
    text = stream.getvalue()
    assert text.count("rows of the audit hold so far") == said
    assert ("\n" in text, "\r" in text) == (said == 5, said == 40)
    assert "40,000 rows" in text


@pytest.fixture
def daemon(config: Path, rows: list[AuditRow], tmp_path: Path) -> Iterator[Running]:
    del rows
    out, err = tmp_path / "out", tmp_path / "err"
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*command(("run",)), "--config", str(config)], stdout=stdout, stderr=stderr, cwd=tmp_path, env=environment
        )
    try:
        yield Running(process, out, err)
    finally:
        process.kill()
        process.wait()


def test_the_daemon_anchors_the_head_at_its_start_and_at_its_end(
    config: Path, path: Path, rows: list[AuditRow], daemon: Running
) -> None:
    first = daemon.hear("audit.anchored")
    assert (first["seq"], first["hash"]) == (len(rows), rows[-1].hash)
    shown = daemon.get("/metrics").text
    assert "sidecar_audit_chain_ok 1.0" in shown
    assert f"sidecar_audit_head_seq {float(len(rows))}" in shown
    act(config, "freeze", "--reason", "migration")
    daemon.signal(signal.SIGTERM)
    assert daemon.end() == 0, daemon.stderr
    last = daemon.said("audit.anchored")[-1]
    assert (last["seq"], last["rows"]) == (len(rows) + 1, 2)
    assert not daemon.said("fault.caught")
    assert verify(config, "--anchors", str(daemon.err)).code == 0
    overwrite(path, chained([with_value(rows[0], "actor", "mallory"), *rows[1:]]))
    assert verify(config).code == 0, "it fits in itself"
    assert verify(config, "--anchors", str(daemon.err)).code == 5
