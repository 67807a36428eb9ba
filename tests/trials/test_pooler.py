"""A whole backfill, its verification and its undo behind a pooler that gives out connections for one transaction."""

from dataclasses import replace
from pathlib import Path

from sidecar.domain.run import Outcome, RowResult
from tests.pooler import pooled
from tests.trials.world import a_replica, a_world


async def test_a_backfill_and_its_undo_behind_a_transaction_mode_pooler(shared_tmp: Path) -> None:
    async with a_world(shared_tmp, orphans=150, users=400) as world:
        await world.forget()
        async with pooled(world.served.login_url, server_connections=4) as url:
            behind = replace(world, served=replace(world.served, login_url=url))
            async with a_replica(behind.config(), lease_seconds=5) as (app, rule):
                cycle = await app.repair.tick(rule)
                assert (cycle.outcome, cycle.results) == (Outcome.REPAIRED, {RowResult.INSERTED: 151})
                assert len(await world.restored()) == 151

                run = await app.state.run(str(cycle.run_id))
                assert run is not None
                planned = await app.undo.plan(rule, run, "olga", approved=True)
                assert planned.plan is not None
                stored = await app.state.undo(planned.plan.id)
                assert stored is not None
                undone = await app.undo.apply(rule, stored, "olga")
                assert undone.counts == {"undone": 151}
                assert await world.restored() == []
        left = await world.sql("select count(*) from pg_stat_activity where usename = 'sidecar' and state <> 'idle'")
    assert left == [(0,)]
