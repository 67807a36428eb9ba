"""A user whose profile keeps disappearing is not restored for ever: the cause is what needs a person."""

from contextlib import nullcontext

from sidecar.config.settings import Notice, NotificationConfig
from sidecar.config.variables import Secret
from sidecar.domain.event import CycleFinished, DamageRecurred
from sidecar.domain.run import Outcome
from sidecar.engine.look import RESTORES_AT_MOST, RESTORES_WINDOW
from sidecar.telemetry.lines import line_of
from sidecar.telemetry.notifications import Message, Notifications
from tests.domain.cast import RULE
from tests.engine.cast import Stage, auto, harm

HOUR_SECONDS = 3600.0


async def an_hour(stage: Stage) -> Outcome:
    """Let a tick repair what it will, and a job delete the profile again."""
    cycle = await stage.repair.tick(auto())
    stage.data.rows.pop("alice", None)
    stage.clock.advance(HOUR_SECONDS)
    return cycle.outcome


async def test_a_job_that_deletes_the_profile_each_hour_sees_three_repairs_a_day_and_then_a_person_is_told(
    stage: Stage,
) -> None:
    harm(stage.data, "alice")
    outcomes = [await an_hour(stage) for _ in range(23)]

    print(f"attempt cap: {len(stage.data.inserted)} repairs in 23 hours of hourly deletion (at most 3)")
    assert outcomes == [Outcome.REPAIRED] * 3 + [Outcome.NOTHING_TO_DO] * 20
    assert len(stage.data.inserted) == RESTORES_AT_MOST == 3
    told = stage.reporter.told(DamageRecurred)
    assert {(event.rule, event.users) for event in told} == {(RULE.name, 1)}
    assert (line_of(told[0]).name, line_of(told[0]).level) == ("damage.recurred", "warning")
    held = await stage.state.held(RULE.name, stage.clock.now())
    assert [(row.key, row.reason, row.source) for row in held] == [("alice", "recurring", "look")]


async def test_a_user_beside_one_whose_damage_recurs_is_repaired_all_the_same(stage: Stage) -> None:
    harm(stage.data, "alice")
    for _ in range(3):
        await an_hour(stage)
    harm(stage.data, "bob")
    cycle = await stage.repair.backfill(auto(), "olga")

    assert (cycle.outcome, sorted(stage.data.rows)) == (Outcome.REPAIRED, ["bob"])


async def test_the_window_passes_and_the_user_is_restored_again(stage: Stage) -> None:
    harm(stage.data, "alice")
    for _ in range(4):
        await an_hour(stage)
    stage.clock.advance(RESTORES_WINDOW.total_seconds() - 4 * HOUR_SECONDS)
    assert (await stage.repair.tick(auto())).outcome is Outcome.NOTHING_TO_DO, "to the second"
    stage.clock.advance(1)

    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


async def test_a_person_who_releases_the_user_lets_the_count_begin_anew(stage: Stage) -> None:
    harm(stage.data, "alice")
    for _ in range(4):
        await an_hour(stage)
    [held] = await stage.state.held(RULE.name, stage.clock.now())
    assert await stage.state.let_go(held.id, "olga", stage.clock.now())
    stage.clock.advance(1)
    outcomes = [await an_hour(stage) for _ in range(4)]

    assert outcomes == [Outcome.REPAIRED] * 3 + [Outcome.NOTHING_TO_DO]
    [again] = await stage.state.held(RULE.name, stage.clock.now())
    assert await stage.state.let_go(again.id, "olga", stage.clock.now()), "a second pardon takes the first one's place"
    assert await an_hour(stage) is Outcome.REPAIRED


async def test_the_release_of_a_row_held_for_another_reason_pardons_nobody(stage: Stage) -> None:
    harm(stage.data, "alice")
    for _ in range(4):
        await an_hour(stage)
    await stage.state.hold(RULE.name, {"alice": "conflict:23505"}, "run", stage.clock.now(), None)
    refused = next(row for row in await stage.state.held(RULE.name, stage.clock.now()) if row.source == "run")
    await stage.state.let_go(refused.id, "olga", stage.clock.now())

    assert await an_hour(stage) is Outcome.NOTHING_TO_DO


async def test_what_another_rule_restored_is_not_counted(stage: Stage) -> None:
    harm(stage.data, "alice")
    for _ in range(3):
        await an_hour(stage)
    other = auto(name="another_rule_of_this_table", digest="another-digest")

    assert (await stage.repair.backfill(other, "olga")).outcome is Outcome.REPAIRED


async def test_a_webhook_hears_of_it_once_while_cycles_come_and_go(stage: Stage) -> None:
    queued: list[str] = []
    hook = NotificationConfig(url=Secret("http://127.0.0.1:1/"), events=frozenset(Notice))
    notifications = Notifications(
        [hook], clock=stage.clock, untraced=nullcontext, count=queued.append, write=lambda _: None
    )
    recurred = DamageRecurred(rule=RULE.name, users=2)
    nothing = CycleFinished(
        rule=RULE.name,
        run_id=None,
        outcome=Outcome.NOTHING_TO_DO,
        results={},
        refusal=None,
        detail="",
        drift=None,
        duration_seconds=1.0,
    )
    for event in (recurred, nothing, recurred, nothing):
        notifications.hear(event)
    first = notifications._queue.get_nowait()

    assert isinstance(first, Message)
    assert (first.notice, first.rule) == (Notice.DAMAGE_RECURRED, RULE.name)
    assert "2 users restored again and again" in first.text
    assert (queued, notifications._queue.empty()) == (["repeated"], True)
