"""Two replicas on one PostgreSQL, each trying to be first."""

import asyncio

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.demo.postgres import PostgresServer
from sidecar.domain.plan import PlanStatus
from sidecar.domain.run import RowResult, RunStatus, Settled
from sidecar.errors import LeaseLost, WriteRejected
from sidecar.ports import State
from sidecar.state.open import open_state
from sidecar.state.tables import HEAD
from tests.state.audit_reading import first_broken, trail_in_postgres
from tests.state.cast import KEYS, NOW, RULE, TABLE, a_plan, a_run, later, sighting, started, take
from tests.state.in_postgres import execute, expire, make_roles, rows_of, until_waiting

INSERTED = Settled(result=RowResult.INSERTED)
Two = tuple[State, State]


async def planned(state: State) -> list[str]:
    return [row.key for row in await state.rows("run-1") if row.settled.result is RowResult.PLANNED]


async def test_of_many_that_take_a_free_lease_at_once_one_has_it(two: Two) -> None:
    taking = [two[n % 2].acquire(TABLE, f"replica-{n}", 10, NOW) for n in range(12)]
    epochs = await asyncio.gather(*taking)
    assert sorted(epochs, key=str) == [1, *[None] * 11]


async def test_of_many_that_take_over_at_once_one_has_it(two: Two, admin_url: str) -> None:
    await take(two[0], holder="dead")
    await expire(admin_url)
    epochs = await asyncio.gather(*[two[n % 2].acquire(TABLE, f"replica-{n}", 10, NOW) for n in range(12)])
    assert sorted(epochs, key=str) == [2, *[None] * 11]


async def test_a_takeover_waits_for_the_end_of_an_open_batch(two: Two, admin_url: str) -> None:
    epoch = await take(two[0])
    await started(two[0], epoch)
    async with two[0].batch("run-1", TABLE, epoch, KEYS[:2], NOW) as batch:
        await expire(admin_url)
        taking = asyncio.create_task(two[1].acquire(TABLE, "successor", 10, NOW))
        await until_waiting(admin_url)
        assert not taking.done()
        await batch.settle(dict.fromkeys(KEYS[:2], INSERTED), NOW)
    assert await taking == epoch + 1
    assert await planned(two[1]) == list(KEYS[2:])


async def test_a_takeover_that_waits_too_long_is_told_that_the_lease_is_held(two: Two, admin_url: str) -> None:
    epoch = await take(two[0])
    await started(two[0], epoch)
    async with two[0].batch("run-1", TABLE, epoch, KEYS[:2], NOW):
        await expire(admin_url)
        assert await two[1].acquire(TABLE, "successor", 10, NOW) is None


async def test_a_holder_renews_its_lease_beside_its_own_open_batch(two: Two) -> None:
    epoch = await take(two[0])
    await started(two[0], epoch)
    async with asyncio.timeout(1.5), two[0].batch("run-1", TABLE, epoch, KEYS[:2], NOW) as batch:
        await two[1].renew(TABLE, epoch, 10, NOW)
        await batch.settle(dict.fromkeys(KEYS[:2], INSERTED), NOW)
    assert await planned(two[0]) == list(KEYS[2:])


async def test_a_batch_that_meets_a_takeover_under_way_waits_and_is_lost(two: Two, admin_url: str) -> None:
    epoch = await take(two[0])
    await started(two[0], epoch)
    async with await psycopg.AsyncConnection.connect(admin_url) as other:
        await other.execute("UPDATE sidecar.leases SET epoch = epoch + 1, holder = 'successor'")
        opening = asyncio.create_task(two[0].intend("run-1", TABLE, epoch, KEYS[:2], NOW))
        await until_waiting(admin_url)
    with pytest.raises(LeaseLost):
        await opening
    assert await planned(two[0]) == list(KEYS)


async def test_a_zombie_neither_settles_nor_opens_a_batch(two: Two, admin_url: str) -> None:
    epoch = await take(two[0])
    await started(two[0], epoch)
    await expire(admin_url)
    assert await two[1].acquire(TABLE, "successor", 10, NOW) == epoch + 1
    with pytest.raises(LeaseLost):
        await two[0].settle("run-1", TABLE, epoch, {"alice": INSERTED}, NOW)
    with pytest.raises(LeaseLost):
        async with two[0].batch("run-1", TABLE, epoch, KEYS[:2], NOW):
            pytest.fail("the batch was opened")
    assert await planned(two[0]) == list(KEYS)


async def test_a_freeze_during_a_batch_stops_the_next_one(two: Two) -> None:
    epoch = await take(two[0])
    await started(two[0], epoch)
    async with asyncio.timeout(1.5), two[0].batch("run-1", TABLE, epoch, KEYS[:2], NOW) as batch:
        await two[1].freeze(RULE, "olga", "why", NOW)  # waits for nothing
        await batch.settle(dict.fromkeys(KEYS[:2], INSERTED), NOW)
    async with two[0].batch("run-1", TABLE, epoch, KEYS[2:], NOW) as batch:
        assert batch.frozen is not None
    assert await planned(two[0]) == list(KEYS[2:])


async def test_a_run_that_somebody_ends_waits_for_its_open_batch(two: Two, admin_url: str) -> None:
    epoch = await take(two[0])
    await started(two[0], epoch)
    async with two[0].batch("run-1", TABLE, epoch, KEYS[:2], NOW) as batch:
        ending = asyncio.create_task(two[1].move_run("run-1", RunStatus.APPLYING, RunStatus.INTERRUPTED, later(1)))
        await until_waiting(admin_url)
        await batch.settle(dict.fromkeys(KEYS[:2], INSERTED), NOW)
    assert await ending
    with pytest.raises(LeaseLost, match="not applying"):
        async with two[0].batch("run-1", TABLE, epoch, KEYS[2:], NOW):
            pytest.fail("the batch was opened")


async def test_what_fails_in_a_batch_undoes_rows_announcement_and_audit(
    two: Two, memory_url: str, admin_url: str
) -> None:
    await execute(
        admin_url, "CREATE TABLE public.users (id text PRIMARY KEY)", "GRANT INSERT ON public.users TO sidecar_fixer"
    )
    epoch = await take(two[0])
    await started(two[0], epoch)
    before = await trail_in_postgres(memory_url)
    with pytest.raises(WriteRejected, match="23505"):
        await insert_alice_twice(two[0], epoch)
    assert await planned(two[0]) == list(KEYS)
    assert not any(row.in_flight for row in await two[0].rows("run-1"))
    assert await rows_of(admin_url, "SELECT * FROM sidecar.batches") == []
    assert await rows_of(admin_url, "SELECT * FROM public.users") == []
    assert await trail_in_postgres(memory_url) == before


async def insert_alice_twice(state: State, epoch: int) -> None:
    async with state.batch("run-1", TABLE, epoch, KEYS[:2], NOW) as batch:
        assert isinstance(batch.transaction, AsyncConnection)
        await batch.transaction.execute(sa.text("INSERT INTO public.users VALUES ('alice')"))
        await batch.settle(dict.fromkeys(KEYS[:2], INSERTED), NOW)
        await batch.transaction.execute(sa.text("INSERT INTO public.users VALUES ('alice')"))


async def test_a_batch_and_its_rows_bear_the_number_of_one_transaction(two: Two, admin_url: str) -> None:
    await execute(
        admin_url, "CREATE TABLE public.users (id text PRIMARY KEY)", "GRANT INSERT ON public.users TO sidecar_fixer"
    )
    epoch = await take(two[0])
    await started(two[0], epoch)
    async with two[0].batch("run-1", TABLE, epoch, KEYS[:1], NOW) as batch:
        assert isinstance(batch.transaction, AsyncConnection)
        await batch.transaction.execute(sa.text("INSERT INTO public.users VALUES ('alice')"))
        await batch.settle({"alice": INSERTED}, NOW)
    query = "SELECT b.xid % 4294967296 = u.xmin::text::bigint AS same FROM sidecar.batches b, public.users u"
    assert await rows_of(admin_url, query) == [{"same": True}]


async def test_audit_rows_appended_at_once_keep_one_unbroken_chain(two: Two, memory_url: str) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(60):
            group.create_task(two[number % 2].freeze(f"rule-{number}", "olga", "why", NOW))
    rows = await trail_in_postgres(memory_url)
    assert len(rows) == 60
    assert first_broken(rows) is None


async def test_of_two_that_start_a_plan_one_runs_it(two: Two) -> None:
    plan = a_plan()
    await two[0].save_plan(plan, PlanStatus.APPROVED, "olga")
    epoch = await take(two[0])
    starts = [two[n % 2].start_run(a_run(plan, epoch, f"run-{n}"), plan, TABLE, KEYS) for n in range(6)]
    assert sorted(await asyncio.gather(*starts)) == [False] * 5 + [True]
    assert len(await two[0].runs()) == 1


async def test_of_plans_saved_at_once_one_waits(two: Two) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            plan = a_plan(f"plan-{number}")
            group.create_task(two[number % 2].save_plan(plan, PlanStatus.WAITING, "sidecar"))
    assert len(await two[0].plans(RULE, PlanStatus.WAITING)) == 1


async def test_of_many_people_one_moves_a_plan(two: Two) -> None:
    await two[0].save_plan(a_plan(), PlanStatus.WAITING, "sidecar")
    moves = [
        two[n % 2].move_plan("plan-1", PlanStatus.WAITING, PlanStatus.APPROVED, f"person-{n}", NOW) for n in range(6)
    ]
    assert sorted(await asyncio.gather(*moves)) == [False] * 5 + [True]


async def test_of_what_two_looks_hold_at_once_one_whole_set_stays(two: Two) -> None:
    sets = [{f"{who}-{n}": "banned" for n in range(50)} for who in ("one", "other")]
    for turn in range(4):
        await asyncio.gather(*[two[n].hold(RULE, sets[n], "look", later(turn), None) for n in (0, 1)])
        held = {row.key: row.reason for row in await two[0].held(RULE, NOW)}
        assert held in sets


async def test_of_two_looks_closed_at_once_one_confirms_its_candidates_alone(two: Two) -> None:
    sets = [[f"{who}-{n}" for n in range(50)] for who in ("one", "other")]
    for _ in range(4):
        ids = [await two[n].open_look(RULE, NOW) for n in (0, 1)]
        await asyncio.gather(*[two[n].close_look(ids[n], sighting(*sets[n]), NOW) for n in (0, 1)])
        assert sorted(await two[0].confirmations(RULE)) in [sorted(keys) for keys in sets]


async def test_a_look_that_is_being_opened_is_cut_off_with_the_baseline(two: Two, admin_url: str) -> None:
    """A lock on the audit keeps the opening from its end, when its number is taken and nobody else sees it yet."""
    async with await psycopg.AsyncConnection.connect(admin_url) as other:
        await other.execute("SELECT pg_advisory_xact_lock(hashtextextended('sidecar:audit', 0))")
        opening = asyncio.create_task(two[0].open_look(RULE, NOW))
        await until_waiting(admin_url)
        dropping = asyncio.create_task(two[1].drop_baseline(RULE, "olga", NOW))
        await until_waiting(admin_url, transactions=2)
    look_id = await opening
    await dropping
    assert await rows_of(admin_url, "SELECT look_id FROM sidecar.cutoffs") == [{"look_id": look_id}]


async def test_of_many_replicas_that_tick_at_once_one_looks(two: Two) -> None:
    for turn in range(5):
        claims = [two[n % 2].claim_tick(f"{RULE}-{turn}", 300, f"replica-{n}", NOW) for n in range(8)]
        assert sorted(await asyncio.gather(*claims)) == [False] * 7 + [True]


async def test_replicas_that_start_together_on_a_new_database_make_its_tables_once(
    postgres_server: PostgresServer, database_url: str
) -> None:
    url = await make_roles(postgres_server, database_url.rsplit("/", 1)[1])

    async def replica(number: int) -> None:
        async with open_state(url) as state:
            await state.freeze(f"rule-{number}", "olga", "why", NOW)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(replica(number))
    assert len(await trail_in_postgres(url)) == 5
    assert await rows_of(url, "SELECT version_num FROM sidecar.alembic_version") == [{"version_num": HEAD}]
