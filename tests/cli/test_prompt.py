"""What a person at the prompt sees: a bar on a terminal, lines elsewhere, names that the shell completes."""

import inspect
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sidecar.cli import cli
from sidecar.domain.event import BatchSettled, FaultCaught, RunStarted, VerifyFailed
from sidecar.domain.plan import PlanStatus
from sidecar.domain.run import RowResult
from sidecar.state.open import open_state
from sidecar.verbs import completing
from sidecar.verbs.progress import Progress, pace_words
from tests.e2e.cast import RULE, Project
from tests.state.cast import a_plan, started, take

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def batch(done: int, total: int = 4) -> BatchSettled:
    return BatchSettled(
        rule=RULE, run_id="run-1", results={RowResult.INSERTED: 2}, duration_seconds=0.1, done=done, total=total, at=AT
    )


STARTED = RunStarted(rule=RULE, run_id="run-1", plan_id="plan-1", rows=4, resumed=False)

ON_A_TERMINAL = """
from tests.cli.test_prompt import STARTED, batch
from sidecar.verbs.progress import Progress
with Progress() as progress:
    for event in (STARTED, batch(2), batch(4)):
        progress.emit(event)
"""


def test_elsewhere_than_on_a_terminal_progress_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        for event in (STARTED, batch(2), batch(4)):
            progress.emit(event)
    said = capsys.readouterr()
    lines = said.err.splitlines()

    assert said.out == "", "stdout is the document's"
    assert lines[0] == "sidecar: run run-1: writing 4 rows of plan plan-1"
    assert (lines[1].startswith("sidecar: 2/4 rows, "), " rows/s, about " in lines[1]) == (True, True)
    assert (lines[2].startswith("sidecar: 4/4 rows, "), "left" in lines[2]) == (True, False)


def test_faults_and_failed_verifications_are_said_whatever_else(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.emit(VerifyFailed(rule=RULE, run_id="run-1", invariant="row_missing", rows=2))
    progress.emit(FaultCaught(where="check x", error_type="KeyError", detail="'a'"))

    assert capsys.readouterr().err.splitlines() == [
        "sidecar: VERIFY FAILED: 2 rows, row_missing",
        "sidecar: fault in check x: KeyError 'a'",
    ]


def test_on_a_terminal_progress_is_a_bar_that_gives_the_terminal_back() -> None:
    ours, theirs = os.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "100", "LINES": "20"}
    done = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL], stderr=theirs, stdout=subprocess.PIPE, check=False, env=environment
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert (done.returncode, done.stdout) == (0, b"")
    assert ("2/4" in shown, "4/4" in shown, "rows/s" in shown) == (True, True, True), shown
    hidden, back = shown.rfind("\x1b[?25l"), shown.rfind("\x1b[?25h")
    assert hidden < back, "the cursor is shown again"


@pytest.mark.parametrize(
    ("rate", "left", "words"),
    [
        (None, 5, ""),
        (0.0, 5, ""),
        (2.0, 10, ", 2.0 rows/s, about 5 s left"),
        (50.0, 50_000, ", 50 rows/s, about 17 min left"),
        (1.0, 86_400, ", 1.0 rows/s, about 24 h left"),
        (12.0, 0, ", 12 rows/s"),
    ],
)
def test_a_pace_is_told_in_units_that_fit(rate: float | None, left: int, words: str) -> None:
    assert pace_words(rate, left) == words


async def remembered(state: Path) -> None:
    async with open_state(f"sqlite:///{state}") as memory:
        await started(memory, await take(memory), 1)
        await memory.save_plan(a_plan("other-1"), PlanStatus.WAITING, "olga")


async def test_a_shell_completes_rules_plans_and_runs(project: Project) -> None:
    await remembered(project.state)
    context = given(project.config)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in project.environment.items():
            environment.setenv(name, value)

        assert completing.rules(context, "cred") == [RULE]
        assert completing.rules(context, "zzz") == []
        assert sorted(completing.plans(context, "")) == ["other-1", "plan-1"]
        assert completing.plans(context, "o") == ["other-1"]
        assert completing.runs(context, "run") == ["run-1"]


def test_completing_neither_makes_a_memory_nor_fails_without_a_configuration(project: Project) -> None:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in project.environment.items():
            environment.setenv(name, value)
        assert completing.runs(given(project.config), "") == []
        project.state.parent.mkdir()
        assert completing.runs(given(project.config), "") == []
        assert not project.state.exists(), "a key press creates nothing"
    assert completing.rules(given(project.folder / "nope.yaml"), "") == []


def given(config: Path) -> typer.Context:
    """A context as the shell's completion makes one."""
    context = typer.Context(typer.main.get_command(cli))
    context.params["config"] = config
    return context


def test_every_verb_over_an_app_takes_the_same_shared_options() -> None:
    by_name = {command.callback.__name__: command.callback for command in cli.registered_commands if command.callback}
    shared = {name: set(inspect.signature(callback).parameters) for name, callback in by_name.items()}
    changing = {"detect", "plan", "approve", "reject", "apply", "backfill", "pause", "resume", "abort", "attest"}
    changing |= {"quarantine", "freeze", "unfreeze"}

    for name in set(by_name) - {"run", "demo", "schema", "validate"}:
        assert {"config", "as_json"} <= shared[name], name
    assert {name for name, options in shared.items() if "actor" in options} >= changing
    assert not {"check", "show", "runs", "explain"} & {name for name, o in shared.items() if "actor" in o}


@pytest.mark.parametrize("verb", ["pause", "resume", "abort"])
def test_a_run_must_be_named(verb: str) -> None:
    assert CliRunner().invoke(cli, [verb]).exit_code == 2
