"""The verbs pause, resume, abort, freeze, unfreeze and runs, over the real memory and a world of fakes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.app import App
from sidecar.domain.run import Run
from sidecar.errors import AccessDenied, UsageError
from sidecar.verbs import standing, steering
from sidecar.verbs.result import Exit, Result
from tests.cli.cast import an_app
from tests.engine.cast import Stage, approve, auto, harm, keys_of
from tests.engine.test_resume import killed_after_the_insert, only_run
from tests.fakes import FakeClock

UNREAD = {"inserted": 1, "undetermined": 3}


async def silent(stage: Stage) -> Run:
    """A run of four rows whose process died after the first, with the other three in flight."""
    await killed_after_the_insert(stage)
    return await only_run(stage)


async def told(app: App, run_id: str) -> Result:
    return await standing.runs(app, run_id, follow=False)


async def test_a_pause_names_who_and_what_to_do_and_holds_until_resumed(stage: Stage, app: App) -> None:
    run = await silent(stage)
    assert (await steering.pause(app, run.id, " odd ", "anna")).document == {
        "run": run.id,
        "paused": True,
        "by": "anna",
    }
    shown = await told(app, run.id)
    assert (shown.document["why"], shown.document["next_action"]) == ("paused", f"sidecar resume {run.id}")
    assert "paused by anna 0 s ago: odd" in str(shown.document["why_detail"])
    with pytest.raises(UsageError, match="is paused already"):
        await steering.pause(app, run.id, "", "ben")

    resumed = await steering.resume(app, run.id, "ben")
    assert (resumed.code, f"sidecar backfill {run.rule}" in resumed.lines[1]) == (Exit.CLEAN, True)
    with pytest.raises(UsageError, match="is not paused"):
        await steering.resume(app, run.id, "ben")


async def test_what_is_finished_can_be_neither_paused_nor_resumed_nor_aborted(stage: Stage, app: App) -> None:
    harm(stage.data, "alice")
    await stage.repair.tick(auto())
    run = await only_run(stage)
    for attempt in (
        steering.pause(app, run.id, "", "anna"),
        steering.resume(app, run.id, "anna"),
        steering.abort(app, run.id, "", "anna", unread=False),
    ):
        with pytest.raises(UsageError, match="finished, repaired"):
            await attempt
    with pytest.raises(UsageError, match="there is no run 'nope'"):
        await steering.abort(app, "nope", "", "anna", unread=False)
    assert await app.state.freezes() == []


async def test_an_abort_accounts_for_every_row_and_says_so(stage: Stage, app: App) -> None:
    run = await silent(stage)
    stage.clock.advance(60)
    del stage.data.rows["user-0001"]
    ended = await steering.abort(app, run.id, "wrong plan", "anna", unread=False)

    assert (ended.code, ended.document["outcome"]) == (Exit.CLEAN, "cancelled")
    assert ended.document["results"] == {"inserted": 3, "planned": 1}
    shown = await told(app, run.id)
    assert (shown.document["why"], shown.document["detail"]) == ("finished", "aborted by anna: wrong plan")


async def test_an_abort_works_although_its_rule_was_removed_from_the_configuration(
    stage: Stage, tmp_path: Path
) -> None:
    run = await silent(stage)
    stage.clock.advance(60)
    app = an_app(stage, tmp_path, rules=[])
    stranded = await told(app, run.id)
    assert (stranded.document["why"], stranded.document["caps_left"]) == ("rule_removed", None)
    assert f"sidecar abort {run.id}" in str(stranded.document["next_action"])
    ended = await steering.abort(app, run.id, "", "anna", unread=False)

    assert (ended.document["outcome"], ended.document["results"]) == ("cancelled", UNREAD)


async def test_an_abort_that_cannot_see_says_so_and_offers_to_end_unread(stage: Stage, app: App) -> None:
    run = await silent(stage)
    stage.clock.advance(60)
    stage.data.script["read_rows"].append(AccessDenied("status 403"))
    blind = await steering.abort(app, run.id, "", "anna", unread=False)
    assert (blind.code, "status 403" in blind.lines[0]) == (Exit.UNKNOWN, True)
    assert f"sidecar abort {run.id} --unread" in blind.lines[2]
    assert (await told(app, run.id)).document["why"] == "aborted"

    ended = await steering.abort(app, run.id, "", "anna", unread=True)
    assert (ended.code, ended.document["results"]) == (Exit.CLEAN, UNREAD)


async def test_an_abort_of_a_run_that_another_process_holds_is_left_to_it(stage: Stage, app: App) -> None:
    harm(stage.data, *keys_of(3))
    told_lines: list[str] = []

    async def abort_now() -> None:
        later = replace(app, steering=stage.beside("person").steering)
        result = await steering.abort(later, (await only_run(stage)).id, "", "anna", unread=False)
        told_lines.extend(result.lines)

    # The holder keeps renewing: a clock that only sleepers move never lets its lease run out here.
    stage.data.script["facts"].extend([None, abort_now])
    holder = asyncio.create_task(stage.repair.tick(auto()))
    await holder

    assert "another process holds public.users" in told_lines[0]
    run = await only_run(stage)
    assert (run.status, stage.data.inserted) == ("interrupted", [])
    assert (await stage.repair.tick(auto())).outcome == "cancelled"


async def test_a_list_of_what_is_frozen_changes_nothing(stage: Stage, app: App) -> None:
    run = await silent(stage)
    assert (await steering.freezes(app)).lines == ["nothing is frozen"]
    await steering.freeze(app, None, "migration", "anna")
    await steering.freeze(app, run.rule, "", "ben")
    await steering.pause(app, run.id, "odd", "carl")
    listed = await steering.freezes(app)

    assert [(f["scope"], f["by"]) for f in listed.document["freezes"]] == [  # type: ignore[attr-defined]  # JSON
        ("*", "anna"),
        (run.rule, "ben"),
        (f"run:{run.id}", "carl"),
    ]
    assert listed.lines[0].startswith("everything  by anna since ")
    assert len(await app.state.freezes()) == 3
    latest = await standing.runs(app, None, follow=False)
    assert sum(line.startswith("held up: ") for line in latest.lines) == 3


async def test_a_freeze_file_is_listed_with_the_way_to_lift_it(app: App) -> None:
    app.config.freeze_file.write_text("stop, says olga")
    listed = await steering.freezes(app)

    assert ("stop, says olga" in listed.lines[0], f"remove {app.config.freeze_file}" in listed.lines[0]) == (True, True)


async def test_a_pause_is_not_lifted_as_a_freeze(stage: Stage, app: App) -> None:
    run = await silent(stage)
    await steering.pause(app, run.id, "", "anna")
    with pytest.raises(UsageError):
        await steering.unfreeze(app, f"run:{run.id}", "anna")
    assert len(await app.state.freezes()) == 1


async def test_the_freeze_of_a_rule_that_is_gone_can_be_lifted(stage: Stage, app: App, tmp_path: Path) -> None:
    await steering.freeze(app, approve().name, "", "anna")
    without = an_app(stage, tmp_path, rules=[])

    assert (await steering.unfreeze(without, approve().name, "anna")).code is Exit.CLEAN
    with pytest.raises(UsageError, match="there is no rule"):
        await steering.unfreeze(without, "never_was", "anna")


async def test_one_run_is_told_with_counts_reasons_caps_and_rows(stage: Stage, app: App) -> None:
    harm(stage.data, *keys_of(25))
    await stage.repair.tick(auto())
    run = await only_run(stage)
    shown = await told(app, run.id)

    assert (shown.document["done"], shown.document["total"], shown.document["why"]) == (25, 25, "finished")
    assert shown.document["reasons"] == [{"result": "inserted", "reason": "", "rows": 25}]
    assert shown.document["caps_left"] == {"run": 475, "percent": 975, "day": 4975}
    assert shown.document["verifications"], "what verified it is told with it"
    assert [line for line in shown.lines if "more; all of them" in line] == [
        f"  … and 5 more; all of them: sidecar runs {run.id} --json"
    ]


async def test_a_run_that_the_breaker_stopped_says_so_with_the_rows_that_opened_it(stage: Stage, app: App) -> None:
    harm(stage.data, *keys_of(25))
    stage.data.poison["user-0003"] = "23505"
    await stage.repair.tick(auto())
    shown = await told(app, (await only_run(stage)).id)

    assert shown.document["why"] == "breaker_open"
    assert any(line.startswith("        1  conflict  23505  (another row has") for line in shown.lines)


class Stepping(FakeClock):
    """A clock whose sleeps are the moments at which something happens."""

    def __init__(self, *steps: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._steps = list(steps)

    async def sleep(self, seconds: float) -> None:
        assert self._steps, "it slept on although the run had ended"
        await self._steps.pop(0)()
        self.advance(seconds)


async def test_following_a_run_tells_each_change_until_it_ends(
    stage: Stage, app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await silent(stage)

    async def nothing() -> None:
        """Two looks that see the same say one line."""

    async def pause() -> None:
        await steering.pause(app, run.id, "odd", "anna")

    async def abort() -> None:
        stage.clock.advance(60)
        await steering.abort(app, run.id, "", "anna", unread=False)

    clock = Stepping(nothing, pause, abort)
    ended = await standing.runs(replace(app, clock=clock), run.id, follow=True)

    assert ended.document["outcome"] == "cancelled"
    said = capsys.readouterr().err.splitlines()
    assert [line.split("; ")[1].split(":")[0] for line in said] == ["holder_died", "paused", "ended"], said


async def test_following_ends_when_somebody_stops_it(stage: Stage, app: App) -> None:
    run = await silent(stage)
    stopped = await standing.runs(replace(app, stopping=lambda: True), run.id, follow=True)

    assert stopped.document["status"] == "applying"
