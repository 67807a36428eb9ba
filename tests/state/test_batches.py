"""Batches as the engine holds them open: the same promises wherever the memory is kept."""

import json
from dataclasses import replace

import pytest

from sidecar.batches import AsPlanned
from sidecar.domain.run import RowResult, Settled
from sidecar.domain.steering import pause_of
from sidecar.errors import LeaseLost
from sidecar.ports import State
from tests.state.cast import KEYS, RULE, TABLE, later, started, take
from tests.state.conftest import TrailReader

INSERTED = Settled(result=RowResult.INSERTED, written="d" * 64)


async def results(state: State) -> dict[str, str]:
    return {row.key: "in flight" if row.in_flight else str(row.settled.result) for row in await state.rows("run-1")}


async def test_a_batch_that_was_settled_is_remembered_with_what_was_written(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    async with state.batch("run-1", TABLE, epoch, KEYS[:2], later(1)) as batch:
        assert batch.frozen is None
        await batch.settle({"alice": INSERTED, "bob": Settled(result=RowResult.RACED, reason="row_exists")}, later(2))
    rows = await state.rows("run-1")
    assert rows[0].settled == INSERTED
    assert await results(state) == {"alice": "inserted", "bob": "raced"} | dict.fromkeys(KEYS[2:], "planned")
    run = await state.run("run-1")
    assert run is not None
    assert run.heartbeat_at == later(2)
    assert await state.rows_since(TABLE, later(2)) == 1


async def test_rows_that_landed_as_planned_are_remembered_from_one_text(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    landed = AsPlanned(count=2, digests=json.dumps({"alice": "d" * 64, "bob": "e" * 64}))
    async with state.batch("run-1", TABLE, epoch, KEYS[:3], later(1)) as batch:
        await batch.settle({KEYS[2]: Settled(result=RowResult.RACED, reason="row_exists")}, later(2), landed)
    rows = await state.rows("run-1", KEYS[:2])
    assert [row.settled for row in rows] == [INSERTED, replace(INSERTED, written="e" * 64)]
    expected = {"alice": "inserted", "bob": "inserted", KEYS[2]: "raced"} | dict.fromkeys(KEYS[3:], "planned")
    assert await results(state) == expected
    assert await state.rows_since(TABLE, later(2)) == 2


async def test_a_text_that_names_a_stranger_undoes_the_batch(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    with pytest.raises(ValueError, match="does not have one of the keys"):
        async with state.batch("run-1", TABLE, epoch, KEYS[:1], later(1)) as batch:
            await batch.settle({}, later(2), AsPlanned(count=1, digests='{"mallory": "d"}'))
    assert (await results(state))["alice"] in ("planned", "in flight")


async def test_a_batch_may_be_settled_in_parts(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    async with state.batch("run-1", TABLE, epoch, KEYS[:2], later(1)) as batch:
        await batch.settle({}, later(2), AsPlanned(count=1, digests=json.dumps({"alice": INSERTED.written})))
        await batch.settle({"bob": INSERTED}, later(3))
    assert [row.settled for row in await state.rows("run-1")][:2] == [INSERTED, INSERTED]
    run = await state.run("run-1")
    assert run is not None
    assert run.heartbeat_at == later(3)


async def test_rows_of_a_batch_that_nobody_settled_stay_in_flight_and_count_against_the_day(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    async with state.batch("run-1", TABLE, epoch, KEYS[:2], later(1)) as batch:
        await batch.settle({"alice": INSERTED}, later(2))
    assert (await results(state))["bob"] == "in flight"
    assert await state.rows_since(TABLE, later(1)) == 2


@pytest.mark.parametrize("scope", [RULE, "*", pause_of("run-1")])
async def test_a_freeze_opens_an_empty_batch_that_says_who(state: State, scope: str) -> None:
    epoch = await take(state)
    await started(state, epoch)
    await state.freeze(scope, "olga", "strange numbers", later(1))
    async with state.batch("run-1", TABLE, epoch, KEYS[:2], later(2)) as batch:
        assert batch.frozen is not None
        assert "olga" in batch.frozen
    assert set((await results(state)).values()) == {"planned"}


async def test_a_zombie_opens_no_batch(state: State) -> None:
    old = await take(state)
    await started(state, old)
    await take(state, holder="successor", at=later(11))
    with pytest.raises(LeaseLost):
        async with state.batch("run-1", TABLE, old, KEYS[:2], later(12)):
            pytest.fail("the batch was opened")
    assert set((await results(state)).values()) == {"planned"}


async def test_a_batch_of_a_row_that_landed_is_not_opened(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    async with state.batch("run-1", TABLE, epoch, KEYS[:1], later(1)) as batch:
        await batch.settle({"alice": INSERTED}, later(2))
    with pytest.raises(ValueError, match="not planned any more"):
        async with state.batch("run-1", TABLE, epoch, KEYS[:2], later(3)):
            pytest.fail("the batch was opened")
    assert await results(state) == {"alice": "inserted"} | dict.fromkeys(KEYS[1:], "planned")


async def test_an_error_out_of_a_batch_comes_out_as_itself(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    with pytest.raises(KeyError, match="mine"):
        async with state.batch("run-1", TABLE, epoch, KEYS[:2], later(1)):
            raise KeyError("mine")
    assert (await results(state))["carol"] == "planned"


async def test_a_key_that_the_run_does_not_have_is_not_settled(state: State) -> None:
    epoch = await take(state)
    await started(state, epoch)
    with pytest.raises(ValueError, match="does not have one of the keys"):
        async with state.batch("run-1", TABLE, epoch, KEYS[:1], later(1)) as batch:
            await batch.settle({"mallory": INSERTED}, later(2))
    assert INSERTED not in [row.settled for row in await state.rows("run-1")]


async def test_a_batch_tells_the_audit_that_it_was_announced_and_settled(state: State, read_trail: TrailReader) -> None:
    epoch = await take(state)
    await started(state, epoch)
    before = len(await read_trail())
    async with state.batch("run-1", TABLE, epoch, KEYS[:2], later(1)) as batch:
        await batch.settle({"alice": INSERTED, "bob": INSERTED}, later(2))
    told = [(row["actor"], row["verb"], row["details"]) for row in (await read_trail())[before:]]
    assert told == [
        ("daemon", "batch.announced", '{"batch":1,"epoch":1,"rows":2}'),
        ("daemon", "batch.settled", '{"results":{"inserted":2}}'),
    ]
