"""Ledger writers race a backfill: no credit is lost once the horizon has passed."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import psycopg
import pytest

from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome
from tests.engine.cast import Stage
from tests.verify.cast import Ground, a_stage, key_of, the_rule

WRITERS = 8
USERS_A_RUN = 250
LAST = """
    insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)
    select user_id, 'bonus', %(amount)s, balance_after + %(amount)s from public.credit_transactions
    where user_id = %(user)s order by created_at desc, balance_after limit 1
"""
ADD = "update public.users set credits_balance = credits_balance + %(amount)s where id = %(user)s"


@dataclass
class Race:
    """Writers against one run. `held` users' writers stay open until the rows of the run are there."""

    ground: Ground
    chance: random.Random
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(WRITERS + 1))
    held: list[str] = field(default_factory=list)
    unseen: int = 0

    async def write(self, users: list[str]) -> None:
        """Be one writer: one transaction for each user, ledger first, profile second, as an application does."""
        async with await psycopg.AsyncConnection.connect(self.ground.url) as connection:
            held = [user for place, user in enumerate(users) if place % 4 == 0]
            self.held += held
            for user in held:  # all of them in one transaction that is open across the INSERT
                await self._move(connection, user)
            await self.ready.wait()
            async with await psycopg.AsyncConnection.connect(self.ground.url) as other:
                for user in users:
                    if user not in held:
                        await self._move(other, user)
                        await asyncio.sleep(self.chance.uniform(0, 0.15))
                        await other.commit()
            await self.landed.wait()
            await connection.commit()

    async def _move(self, connection: psycopg.AsyncConnection, user: str) -> None:
        values = {"user": user, "amount": self.chance.randint(1, 50)}
        await connection.execute(LAST, values)
        done = await connection.execute(ADD, values)
        self.unseen += done.rowcount == 0


@pytest.mark.timeout(580)
async def test_ledger_writers_against_a_backfill_lose_no_credit(ground: Ground) -> None:
    await _races(ground, interleavings=500)


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_ten_thousand_interleavings_of_ledger_writers_lose_no_credit(ground: Ground) -> None:
    await _races(ground, interleavings=10_000)


async def _races(ground: Ground, *, interleavings: int) -> None:
    seed = random.randrange(2**32)
    print(f"writers drawn from seed {seed}")
    await ground.populate(users=max(interleavings, 5 * USERS_A_RUN), orphans=0)
    rule, corrected, unseen = the_rule(verify_again_after_seconds=()), 0, 0
    runs = range(1, interleavings + 1, USERS_A_RUN)
    async with a_stage(ground) as stage:
        for start in runs:
            users = [key_of(n) for n in range(start, start + USERS_A_RUN)]
            await ground.sql("delete from public.users where id = any(%s::uuid[])", users)
            fixed, lost = await _race(ground, stage, rule, users, random.Random(seed + start))
            corrected, unseen = corrected + fixed, unseen + lost
        await stage.repair.tick(rule)  # whose evidence moved between the look and the batch is repaired now
    off, credits_off = await ground.drift()
    left = await ground.sql(
        "select count(*) from auth.users a where not exists (select from public.users where id = a.id)"
    )
    assert corrected >= interleavings // 8, "the race did not happen"
    assert (off, credits_off) == (0, 0)
    assert left == [(0,)]
    print(
        f"ledger writers: {interleavings} interleavings, drift {credits_off} credits"
        f" ({unseen} movements found no profile, {corrected} rows corrected after the horizon)"
    )


async def _race(ground: Ground, stage: Stage, rule: Rule, users: list[str], chance: random.Random) -> tuple[int, int]:
    race = Race(ground=ground, chance=chance)
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(race.write(users[number::WRITERS]))
        await race.ready.wait()
        async with _watching(ground, race):
            cycle = await stage.repair.tick(rule)
    assert cycle.outcome is Outcome.REPAIRED, (cycle.outcome, cycle.detail, cycle.verified)
    assert cycle.verified is not None
    return cycle.verified.corrected, race.unseen


@contextlib.asynccontextmanager
async def _watching(ground: Ground, race: Race) -> AsyncIterator[None]:
    """Let the held writers go on once the rows of their users are there for everybody to see."""
    there = "select count(*) from public.users where id = any(%s::uuid[])"

    async def watch() -> None:
        while await ground.sql(there, race.held) != [(len(race.held),)]:
            pass  # each turn asks the server
        race.landed.set()

    watcher = asyncio.get_running_loop().create_task(watch())
    try:
        yield
    finally:
        await watcher
