from sidecar.ports import State
from tests.state.cast import NOW, RULE, later


async def keys(state: State, rule: str | None = RULE, after_seconds: float = 100) -> dict[str, str]:
    return {row.key: row.reason for row in await state.held(rule, later(after_seconds))}


async def test_a_proven_look_replaces_the_rules_whole_set(state: State) -> None:
    await state.hold(RULE, {"alice": "no_evidence", "bob": "banned"}, "look", NOW, None)
    await state.hold(RULE, {"bob": "deleted", "carol": "no_evidence"}, "look", later(1), None)
    assert await keys(state) == {"bob": "deleted", "carol": "no_evidence"}
    await state.hold(RULE, {}, "look", later(2), None)
    assert await keys(state) == {}


async def test_a_key_that_stays_held_keeps_its_number_and_age(state: State) -> None:
    await state.hold(RULE, {"alice": "banned"}, "look", NOW, None)
    before = (await state.held(RULE, NOW))[0]
    await state.hold(RULE, {"alice": "deleted"}, "look", later(1), None)
    after = (await state.held(RULE, NOW))[0]
    assert (after.id, after.since_at, after.reason) == (before.id, NOW, "deleted")


async def test_a_look_leaves_rows_of_runs_and_of_other_rules_alone(state: State) -> None:
    await state.hold(RULE, {"alice": "conflict:23505"}, "run", NOW, later(3600))
    await state.hold("other", {"bob": "banned"}, "look", NOW, None)
    for _ in range(3):
        await state.hold(RULE, {"carol": "banned"}, "look", later(1), None)
    assert await keys(state) == {"alice": "conflict:23505", "carol": "banned"}
    assert await keys(state, None) == {"alice": "conflict:23505", "bob": "banned", "carol": "banned"}


async def test_a_run_adds_to_what_runs_hold(state: State) -> None:
    await state.hold(RULE, {"alice": "conflict:23505"}, "run", NOW, later(50))
    await state.hold(RULE, {"bob": "failed:22001"}, "run", NOW, later(200))
    await state.hold(RULE, {"alice": "conflict:23503"}, "run", later(1), later(200))
    assert await keys(state) == {"alice": "conflict:23503", "bob": "failed:22001"}


async def test_what_has_run_out_is_not_held(state: State) -> None:
    await state.hold(RULE, {"alice": "conflict:23505"}, "run", NOW, later(60))
    assert await keys(state, after_seconds=59) == {"alice": "conflict:23505"}
    assert await keys(state, after_seconds=60) == {}


async def test_what_is_held_again_after_it_ran_out_is_young_again(state: State) -> None:
    await state.hold(RULE, {"alice": "conflict:23505"}, "run", NOW, later(60))
    await state.hold(RULE, {"alice": "conflict:23505"}, "run", later(90), later(160))
    assert [row.since_at for row in await state.held(RULE, later(100))] == [later(90)]


async def test_the_oldest_comes_first(state: State) -> None:
    await state.hold(RULE, {"young": "banned"}, "run", later(5), None)
    await state.hold(RULE, {"old": "banned"}, "look", NOW, None)
    assert [row.key for row in await state.held(RULE, later(9))] == ["old", "young"]


async def test_a_person_lets_one_row_go_once(state: State) -> None:
    await state.hold(RULE, {"alice": "banned", "bob": "banned"}, "look", NOW, None)
    alice = next(row for row in await state.held(RULE, NOW) if row.key == "alice")
    assert await state.let_go(alice.id, "olga", later(1))
    assert await keys(state) == {"bob": "banned"}
    assert not await state.let_go(alice.id, "olga", later(2))


async def test_a_row_let_go_is_held_again_when_it_is_still_bad(state: State) -> None:
    await state.hold(RULE, {"alice": "banned"}, "look", NOW, None)
    held = (await state.held(RULE, NOW))[0]
    await state.let_go(held.id, "olga", later(1))
    await state.hold(RULE, {"alice": "banned"}, "look", later(2), None)
    again = (await state.held(RULE, later(3)))[0]
    assert again.id != held.id
    assert again.since_at == later(2)
