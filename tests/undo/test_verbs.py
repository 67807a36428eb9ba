"""`sidecar undo` at the prompt: approved by typing it, or, with tokens, by another one than its author's."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.app import App
from sidecar.config.settings import Scope, Token
from sidecar.config.variables import Secret
from sidecar.domain.decide import GuardName
from sidecar.domain.plan import PlanStatus
from sidecar.domain.run import Outcome
from sidecar.errors import AccessDenied, UsageError
from sidecar.state.open import open_state
from sidecar.verbs import undoing
from sidecar.verbs.result import Exit
from tests.engine.cast import Stage, auto, harm
from tests.engine.cast import a_world as a_small_world
from tests.fakes import FakeClock
from tests.trials.world import World, a_replica, a_world

COUNT = "select count(*) from public.users where metadata ->> 'restored_by' = 'sidecar'"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach."""
    with tempfile.TemporaryDirectory(prefix="sidecar-undo-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def world(folder: Path) -> AsyncIterator[World]:
    async with a_world(folder, orphans=3, users=40) as world:
        yield world


async def run_of(app: App) -> str:
    cycle = await app.repair.tick(app.rule("credits_without_profile"))
    assert cycle.outcome is Outcome.REPAIRED
    return cycle.run_id or ""


async def test_typing_it_is_the_approval_and_once_more_is_nothing_more(world: World) -> None:
    async with a_replica(world.config(), lease_seconds=10.0) as (app, _):
        run_id = await run_of(app)
        tried = await undoing.undo(app, run_id, "olga", dry_run=True)
        stood = await world.sql(COUNT)
        done = await undoing.undo(app, run_id, "olga", dry_run=False)
        again = await undoing.undo(app, run_id, "olga", dry_run=False)
        with pytest.raises(UsageError, match="no run 'nonsense'"):
            await undoing.undo(app, "nonsense", "olga", dry_run=False)
    assert (tried.code, tried.document["counts"], tried.document["undo"]) == (Exit.CLEAN, {"removable": 4}, None)
    assert stood == [(4,)]
    assert (done.code, done.document["counts"]) == (Exit.CLEAN, {"undone": 4})
    assert (again.code, again.document["counts"]) == (Exit.CLEAN, {})
    assert again.lines[0].endswith("nothing to remove")
    assert await world.sql(COUNT) == [(0,)]


async def test_with_tokens_another_than_the_author_approves(world: World) -> None:
    async with a_replica(world.config(), lease_seconds=10.0) as (bare, _):
        token = Token(name="olga", scopes=frozenset({Scope.OPERATE, Scope.APPROVE}), value=Secret("s" * 40))
        server = replace(bare.config.server, tokens=(token,))
        app = replace(bare, config=replace(bare.config, server=server))
        run_id = await run_of(app)
        made = await undoing.undo(app, run_id, "olga", dry_run=False)
        undo_id = str(made.document["undo"])
        early = await undoing.apply(app, undo_id, "olga")
        with pytest.raises(AccessDenied, match="another token than its author's"):
            await undoing.judge(app, undo_id, "olga", PlanStatus.APPROVED)
        stood = await world.sql(COUNT)
        shown = await undoing.show(app, undo_id)
        approved = await undoing.judge(app, undo_id, "anna", PlanStatus.APPROVED)
        done = await undoing.apply(app, undo_id, "olga")
        again = await undoing.apply(app, undo_id, "olga")
    assert (made.code, made.document["status"]) == (Exit.VIOLATIONS, "waiting")
    assert undoing.is_undo(undo_id)
    assert (early.code, early.document["refused_by"]) == (Exit.REFUSED, "plan_not_approved")
    assert stood == [(4,)]
    assert any("removes 4 rows" in line for line in shown.lines)
    assert approved.code is Exit.CLEAN
    assert (done.code, done.document["counts"]) == (Exit.CLEAN, {"undone": 4})
    assert (again.code, again.document["counts"]) == (Exit.CLEAN, {"undone": 4})
    assert await world.sql(COUNT) == [(0,)]


async def test_over_rest_an_undo_is_refused(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_state(f"sqlite:///{tmp_path / 'sidecar.db'}") as state:
        stage = Stage(state=state, clock=clock, data=a_small_world(clock))
        harm(stage.data, "alice")
        run = await state.run((await stage.repair.tick(auto())).run_id or "")
        assert run is not None
        refused = await stage.undo.plan(auto(), run, "olga", approved=True)
    assert refused.refusal is not None
    assert refused.refusal.guard is GuardName.UNDO_NEEDS_DATABASE
    assert "database.url" in refused.refusal.hint
    assert undoing._result(refused, dry_run=False).code is Exit.REFUSED
    assert "alice" in stage.data.rows
