"""A file that freezes everything by being there, and stops everything while nobody can say whether it is."""

import os
from pathlib import Path

import pytest

from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.event import FreezeRead
from sidecar.domain.run import Outcome, RunStatus
from sidecar.freeze_file import FreezeFile
from tests.engine.cast import Stage, approve, auto, harm, keys_of
from tests.fakes import FakeSwitch


async def look(path: Path) -> Refuse | None:
    return await FreezeFile(path).thrown()


async def test_no_file_is_no_freeze_nor_is_a_folder_that_is_missing(tmp_path: Path) -> None:
    assert await look(tmp_path / "freeze") is None
    assert await look(tmp_path / "nowhere" / "freeze") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no reason given"),
        (b"  audit\n of\tFriday\n", "audit of Friday"),
        (b"\x1b[31mred\x07", "[31mred"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x " * 100_000, ("x " * 79 + " …").replace("  ", " ")),
    ],
)
async def test_the_text_of_the_file_is_the_reason(tmp_path: Path, text: bytes, reason: str) -> None:
    file = tmp_path / "freeze"
    file.write_bytes(text)
    refusal = await look(file)

    assert refusal is not None
    assert (refusal.guard, refusal.hint) == (GuardName.FROZEN, f"remove {file}")
    assert refusal.value == f"the file {file} froze everything: {reason}"


@pytest.mark.parametrize("kind", ["folder", "dangling link", "pipe"])
async def test_whatever_is_there_freezes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "freeze"
    match kind:
        case "folder":
            path.mkdir()
        case "dangling link":
            path.symlink_to(tmp_path / "nowhere")
        case _:
            os.mkfifo(path)
    refusal = await look(path)

    assert refusal is not None
    assert (refusal.guard, refusal.value) == (
        GuardName.FROZEN,
        f"the file {path} froze everything: not a regular file",
    )


@pytest.mark.parametrize("kind", ["below a file", "name too long", "loop of links", "no path"])
async def test_a_file_that_cannot_be_examined_is_not_taken_for_one_that_is_missing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    paths = {
        "below a file": tmp_path / "file" / "freeze",
        "name too long": tmp_path / ("x" * 300),
        "loop of links": tmp_path / "loop" / "freeze",
        "no path": Path("a\0b"),
    }
    refusal = await look(paths[kind])

    assert refusal is not None
    assert refusal.guard is GuardName.FREEZE_UNREADABLE


FROZEN = Refuse(guard=GuardName.FROZEN, value="the file froze everything: audit", limit="not frozen", hint="remove it")
UNREADABLE = Refuse(guard=GuardName.FREEZE_UNREADABLE, value="I/O error", limit="there, or not there", hint="mend it")


@pytest.mark.parametrize("refusal", [FROZEN, UNREADABLE])
@pytest.mark.parametrize("how", ["automatic", "typed", "approved"])
async def test_nothing_begins_while_it_is_thrown(stage: Stage, how: str, refusal: Refuse) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(approve())
    stored = await stage.approve_newest()
    assert isinstance(stage.switch, FakeSwitch)
    stage.switch.refusal = refusal
    cycle = await {
        "automatic": lambda: stage.repair.tick(auto()),
        "typed": lambda: stage.repair.backfill(auto(), "olga"),
        "approved": lambda: stage.repair.apply(approve(), stored, "olga"),
    }[how]()

    assert (cycle.outcome, cycle.refusal, stage.data.made("insert")) == (Outcome.REFUSED, refusal, [])
    assert stage.reporter.told(FreezeRead)[-1].frozen


@pytest.mark.parametrize("refusal", [FROZEN, UNREADABLE])
async def test_it_stops_a_run_before_the_next_request_and_its_lifting_lets_it_go_on(
    stage: Stage, refusal: Refuse
) -> None:
    keys = keys_of(1 + 4 + 3)
    harm(stage.data, *keys)
    assert isinstance(stage.switch, FakeSwitch)
    switch = stage.switch
    stage.data.script["insert"].append(lambda: setattr(switch, "refusal", refusal))
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.refusal, stage.data.inserted) == (Outcome.REFUSED, refusal, keys[:1])
    assert cycle.run_id is not None
    run = await stage.state.run(cycle.run_id)
    assert run is not None
    assert (run.status, run.detail) == (RunStatus.INTERRUPTED, refusal.value)
    again = await stage.repair.tick(auto())
    assert (again.refusal, again.run_id) == (refusal, cycle.run_id)
    switch.refusal = None
    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED
    assert stage.data.inserted == keys


async def test_halves_of_a_refused_batch_ask_for_themselves(stage: Stage) -> None:
    keys = keys_of(1 + 4)
    await stage.season()
    harm(stage.data, *keys)
    stage.data.poison[keys[4]] = "23505"
    assert isinstance(stage.switch, FakeSwitch)
    switch = stage.switch
    stage.data.script["insert"].extend([None, None, lambda: setattr(switch, "refusal", FROZEN)])
    cycle = await stage.repair.tick(auto())

    assert (cycle.refusal, stage.data.inserted) == (FROZEN, keys[:3]), "the first half was on its way"
