"""A row is read again before it is written, unless nothing that it was judged by can have changed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from sidecar.domain.run import Outcome, RowResult
from sidecar.engine.freshness import CLOCKS_APART_AT_MOST
from tests.engine.cast import Stage, approve, auto, harm
from tests.fakes import FakeData

TABLE = "public.users"
KEYS = ("alice", "bob")


def versioned(data: FakeData) -> None:
    harm(data, *KEYS)
    data.versions.update(dict.fromkeys(KEYS, "v1"))


async def test_a_row_whose_version_stands_is_not_read_again(stage: Stage) -> None:
    versioned(stage.data)
    cycle = await stage.repair.tick(auto())
    assert cycle.outcome is Outcome.REPAIRED
    assert stage.data.made("facts") == [KEYS]


async def test_only_the_row_whose_version_moved_is_read_again(stage: Stage) -> None:
    versioned(stage.data)
    await stage.repair.tick(approve())
    stage.data.versions["bob"] = "v2"
    cycle = await stage.apply_newest(approve())
    assert cycle.results == {RowResult.INSERTED: 2}
    assert stage.data.made("facts") == [KEYS, ("bob",)]


def _vouch(stage: Stage) -> object:
    return stage.state.attest(TABLE, "alice", 7, "she said so", "olga", stage.clock.now())


def _forgeable(stage: Stage) -> object:
    stage.data.catalogue_seen = replace(stage.data.catalogue_seen, ledger_writers=("authenticated",))
    return None


@pytest.mark.parametrize("happening", [_vouch, _forgeable])
async def test_what_a_version_does_not_show_is_read_again(stage: Stage, happening: Callable[[Stage], object]) -> None:
    """A balance that somebody vouches for, and a ledger that users may write by now."""
    versioned(stage.data)
    await stage.repair.tick(approve())
    stored = await stage.newest_plan()
    done = happening(stage)
    if done is not None:
        await done  # type: ignore[misc]  # a coroutine of the memory's
    cycle = await stage.apply_newest(approve())
    assert stored.plan.rows[0].version == "v1"
    assert ("alice",) in stage.data.made("facts")
    assert (await stage.rows(cycle))["alice"] == (RowResult.RACED, "evidence_moved")


async def test_balances_count_from_well_before_the_plan_as_clocks_may_differ(stage: Stage) -> None:
    now = stage.clock.now()
    await stage.state.attest(TABLE, "alice", Decimal(7), "she said so", "olga", now - CLOCKS_APART_AT_MOST)
    since = now - CLOCKS_APART_AT_MOST
    assert await stage.state.anchored_since(TABLE, KEYS, since, missed_since=now) == {"alice"}
    later = since + timedelta(seconds=1)
    assert await stage.state.anchored_since(TABLE, KEYS, later, missed_since=now) == frozenset()
