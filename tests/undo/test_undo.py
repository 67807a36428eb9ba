"""An undo takes back what nobody built on, and nothing else."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from sidecar.batches import Transaction
from sidecar.data.direct.aftermath import Aftermath
from sidecar.domain.decide import GuardName, judge_freeze
from sidecar.domain.plan import PlanStatus
from sidecar.domain.rule import Mode, Rule
from sidecar.domain.run import Outcome, Run, RunStatus
from sidecar.domain.undo import Removal
from sidecar.engine.undo import Undone
from sidecar.sessions import Sessions
from tests.engine.cast import Stage
from tests.fakes import FakeSwitch
from tests.verify.cast import Ground, a_stage, key_of, the_rule


async def repaired(stage: Stage, rule: Rule) -> Run:
    """Let the engine repair, and return its run."""
    cycle = await stage.repair.tick(rule)
    assert cycle.outcome is Outcome.REPAIRED, cycle
    run = await stage.state.run(cycle.run_id or "")
    assert run is not None
    return run


async def undone(stage: Stage, rule: Rule, run: Run) -> Undone:
    """Plan, approve and carry out an undo, as a person at the prompt does."""
    made = await stage.undo.plan(rule, run, "olga", approved=True)
    assert made.plan is not None, made
    stored = await stage.state.undo(made.plan.id)
    assert stored is not None, made
    return await stage.undo.apply(rule, stored, "olga")


async def edit(ground: Ground, *numbers: int) -> None:
    """Let users change their profiles."""
    await ground.sql("update public.users set full_name = 'Mine' where id = any(%s)", [key_of(n) for n in numbers])


async def build_on(ground: Ground, *numbers: int) -> None:
    """Let users make generations, which cascade from the profile."""
    await ground.sql(
        "insert into public.ai_models (id, name, type, credits) values ('m', 'm', 'image', 1) on conflict do nothing"
    )
    await ground.sql(
        "insert into public.generations (user_id, model_id, prompt) select id, 'm', 'a fog' from unnest(%s::uuid[]) id",
        [key_of(n) for n in numbers],
    )


@pytest.mark.timeout(580)
async def test_an_undo_removes_exactly_what_is_untouched(ground: Ground) -> None:
    await _trial(ground, rows=1_000)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_an_undo_of_ten_thousand_rows_removes_exactly_what_is_untouched(ground: Ground) -> None:
    await _trial(ground, rows=10_000)


async def _trial(ground: Ground, *, rows: int) -> None:
    await ground.populate(users=rows * 6, orphans=rows)
    rule, part = the_rule(), rows // 20
    edited, parents = range(1, part + 1), range(part + 1, 2 * part + 1)
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        await edit(ground, *edited)
        await build_on(ground, *parents)
        others = await ground.sql("select md5(string_agg(u::text, ',' order by id)) from public.users u")
        first = await undone(stage, rule, run)
        again = await stage.undo.plan(rule, run, "olga")
        left = {row.key for row in first.rows if row.standing is not Removal.UNDONE}
        stood = await ground.sql("select id::text from public.users where metadata ->> 'restored_by' = 'sidecar'")
    assert first.counts == {"edited": part, "has_dependants": part, "undone": rows - 2 * part}
    assert {key for (key,) in stood} == left == {key_of(n) for n in (*edited, *parents)}
    assert again.plan is not None
    assert (again.plan.removable, again.status) == ([], None)
    assert await ground.sql("select count(*) from public.generations") == [(part,)]
    assert others
    kept = await ground.sql("select count(*) from public.users")
    assert kept == [(rows * 5 + 2 * part,)]
    print(f"undo: {rows} inserted, {part} edited, {part} with children: {rows - 2 * part} removed, {len(left)} listed")


async def test_what_a_person_undid_is_not_repaired_again_until_it_is_released(ground: Ground) -> None:
    await ground.populate(users=20, orphans=2)
    rule = the_rule()
    async with a_stage(ground) as stage:
        await undone(stage, rule, await repaired(stage, rule))
        idle = await stage.repair.tick(rule)
        held = await stage.state.held(rule.name, stage.clock.now())
        undone_keys = [one for one in held if one.reason == "undone"]
        assert sorted(one.key for one in undone_keys) == sorted([key_of(1), key_of(2)])
        await stage.state.let_go(undone_keys[0].id, "olga", stage.clock.now())
        after = await stage.repair.tick(rule)
    assert idle.outcome is Outcome.NOTHING_TO_DO
    assert (after.outcome, len(after.plan.rows if after.plan else ())) == (Outcome.REPAIRED, 1)


async def test_a_row_that_was_edited_after_the_plan_stays(ground: Ground) -> None:
    await ground.populate(users=20, orphans=3)
    rule = the_rule()
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        made = await stage.undo.plan(rule, run, "olga", approved=True)
        assert made.plan is not None
        await edit(ground, 1)
        await build_on(ground, 2)
        stored = await stage.state.undo(made.plan.id)
        assert stored is not None
        done = await stage.undo.apply(rule, stored, "olga")
    assert done.counts == {"edited": 1, "has_dependants": 1, "undone": 1}


async def test_a_dependant_that_comes_while_the_rows_are_locked_is_seen(ground: Ground) -> None:
    """Its writer holds the profile; the DELETE would wait for him, and its cascade would take his row along."""
    await ground.populate(users=20, orphans=1)
    await ground.sql("insert into public.ai_models (id, name, type, credits) values ('m', 'm', 'image', 1)")
    rule = the_rule()
    async with a_stage(ground) as stage, await psycopg.AsyncConnection.connect(ground.url) as writer:
        run = await repaired(stage, rule)
        made = await stage.undo.plan(rule, run, "olga", approved=True)
        assert made.plan is not None
        stored = await stage.state.undo(made.plan.id)
        assert stored is not None
        await writer.execute(
            "insert into public.generations (user_id, model_id, prompt) values (%s, 'm', 'a fog')", (key_of(1),)
        )
        async with asyncio.TaskGroup() as group:
            undoing = group.create_task(stage.undo.apply(rule, stored, "olga"))
            while not undoing.done() and not await ground.sql("select 1 from pg_locks where not granted"):
                pass  # each turn asks the server
            await writer.commit()
        done = undoing.result()
    assert done.counts == {"has_dependants": 1}
    assert await ground.sql("select count(*) from public.generations") == [(1,)]


async def test_an_undo_that_nobody_approved_is_refused(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    rule = the_rule()
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        made = await stage.undo.plan(rule, run, "olga")
        assert (made.status, made.plan is None) == (PlanStatus.WAITING, False)
        stored = await stage.state.undo(made.plan.id if made.plan else "")
        assert stored is not None
        done = await stage.undo.apply(rule, stored, "olga")
    assert done.refusal is not None
    assert done.refusal.guard is GuardName.PLAN_NOT_APPROVED
    assert await ground.sql("select count(*) from public.users") == [(20,)]


async def test_nothing_is_planned_under_a_freeze(ground: Ground) -> None:
    await ground.populate(users=20, orphans=2)
    rule = the_rule()
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        await stage.state.freeze(rule.name, "olga", "stop", stage.clock.now())
        made = await stage.undo.plan(rule, run, "olga", approved=True)
        assert await stage.state.undos(run.id) == []
    assert made.refusal is not None
    assert made.refusal.guard is GuardName.FROZEN


class Freezing(Aftermath):
    """Somebody freezes everything while the first batch is under way."""

    def __init__(self, sessions: Sessions, stage: Stage) -> None:
        super().__init__(sessions)
        self._stage = stage

    async def remove(self, rule: Rule, written: Mapping[str, str], transaction: Transaction) -> Mapping[str, Removal]:
        removed = await super().remove(rule, written, transaction)
        await self._stage.state.freeze("*", "olga", "stop", self._stage.clock.now())
        return removed


async def test_a_freeze_stops_an_undo_between_its_batches(ground: Ground) -> None:
    await ground.populate(users=1000, orphans=150)
    rule, sessions = the_rule(), Sessions(ground.login_url)
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        made = await stage.undo.plan(rule, run, "olga", approved=True)
        assert made.plan is not None
        stored = await stage.state.undo(made.plan.id)
        assert stored is not None
        stage.undo._direct = Freezing(sessions, stage)
        done = await stage.undo.apply(rule, stored, "olga")
        await sessions.close()
    assert done.refusal is not None
    assert done.refusal.guard is GuardName.FROZEN
    assert (done.counts, done.status) == ({"removable": 50, "undone": 100}, PlanStatus.APPROVED)
    assert await ground.sql("select count(*) from public.users") == [(900,)]


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        ({"max_rows": 1}, GuardName.MAX_ROWS),
        ({"max_rows_per_day": 1}, GuardName.MAX_ROWS_PER_DAY),
    ],
)
async def test_an_undo_is_capped_like_a_repair(ground: Ground, changes: dict[str, int], guard: GuardName) -> None:
    await ground.populate(users=20, orphans=2)
    rule = the_rule()
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        tight = replace(rule, guard=replace(rule.guard, **changes))  # type: ignore[arg-type]  # numbers
        made = await stage.undo.plan(tight, run, "olga", approved=True)
        assert made.refusal is not None
        assert made.refusal.guard is guard
        assert await stage.state.undos(run.id) == []


async def test_the_daily_cap_counts_what_was_undone_before(ground: Ground) -> None:
    await ground.populate(users=20, orphans=2)
    rule = the_rule()
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        await edit(ground, 1)
        await undone(stage, rule, run)
        since = stage.clock.now() - timedelta(hours=24)
        assert await stage.state.undone_since("public.users", since) == 1
        assert await stage.state.rows_since("public.users", since) == 2  # undoing makes no room for more


async def test_a_rule_that_only_watches_undoes_nothing(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    rule = the_rule()
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        made = await stage.undo.plan(replace(rule, mode=Mode.OBSERVE), run, "olga", approved=True)
    assert made.refusal is not None
    assert made.refusal.guard is GuardName.MODE


@pytest.mark.parametrize(
    ("tampering", "changes", "guard"),
    [
        ("update sidecar.undo_rows set written = 'another'", {}, GuardName.PLAN_STALE),
        (
            "update sidecar.undos set body = replace(body, '\"subjects\":20', '\"subjects\":21')",
            {},
            GuardName.PLAN_STALE,
        ),
        ("alter table public.users add column nick text", {}, GuardName.PLAN_STALE),
        ("select 1", {"digest": "edited"}, GuardName.PLAN_STALE),
        ("select 1", {}, GuardName.PLAN_EXPIRED),
    ],
)
async def test_an_undo_plan_that_is_not_what_was_approved_is_refused(
    ground: Ground, tampering: str, changes: dict[str, str], guard: GuardName
) -> None:
    await ground.populate(users=20, orphans=2)
    rule = the_rule(repair=replace(the_rule().repair, plan_expires_seconds=0.0 if "expired" in guard else 3600.0))
    async with a_stage(ground) as stage:
        run = await repaired(stage, the_rule())
        made = await stage.undo.plan(rule, run, "olga", approved=True)
        assert made.plan is not None
        await ground.sql(tampering)
        stored = await stage.state.undo(made.plan.id)
        assert stored is not None
        done = await stage.undo.apply(replace(rule, **changes), stored, "olga")  # type: ignore[arg-type]  # texts
    assert done.refusal is not None
    assert done.refusal.guard is guard
    assert await ground.sql("select count(*) from public.users") == [(20,)]


async def test_a_run_that_is_not_over_is_not_undone(ground: Ground) -> None:
    await ground.populate(users=20, orphans=1)
    rule = the_rule()
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        made = await stage.undo.plan(rule, replace(run, status=RunStatus.INTERRUPTED), "olga")
        elsewhere = await stage.undo.plan(rule, replace(run, lease="public.others"), "olga")
    assert made.refusal is not None
    assert elsewhere.refusal is not None
    assert (made.refusal.guard, elsewhere.refusal.guard) == (GuardName.RULE_BUSY, GuardName.PLAN_STALE)


async def test_the_freeze_file_stops_an_undo_between_its_batches(ground: Ground) -> None:
    await ground.populate(users=1000, orphans=150)
    rule = the_rule()
    async with a_stage(ground) as stage:
        run = await repaired(stage, rule)
        made = await stage.undo.plan(rule, run, "olga", approved=True)
        assert made.plan is not None
        stored = await stage.state.undo(made.plan.id)
        assert stored is not None
        switch = stage.switch
        assert isinstance(switch, FakeSwitch)
        asked = switch.asked

        def throw() -> None:
            if switch.asked == asked + 3:  # the guards, the first batch, and now the second
                switch.refusal = judge_freeze("a file says so")

        switch.happening = throw
        done = await stage.undo.apply(rule, stored, "olga")
        switch.happening, switch.refusal = lambda: None, None
        rest = await stage.undo.apply(rule, await stage.state.undo(made.plan.id) or stored, "olga")
    assert done.refusal is not None
    assert (done.counts, done.status) == ({"removable": 50, "undone": 100}, PlanStatus.APPROVED)
    assert (rest.counts, rest.status) == ({"undone": 150}, PlanStatus.APPLIED)
