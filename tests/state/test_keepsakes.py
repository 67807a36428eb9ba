"""What checks remember: one writer at a time, and no purse overdrawn by anybody, also over a restart."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from sidecar.ports import State
from sidecar.sights import Kept
from sidecar.state.open import open_state
from tests.state.cast import NOW, later
from tests.state.conftest import Opener
from tests.state.in_postgres import execute, open_aged

DAY = 86_400


async def test_what_was_kept_is_recalled_and_changed_by_whoever_saw_it_last(state: State) -> None:
    assert await state.recall("log errors") is None
    assert await state.keep("log errors", "one", 0, NOW)
    assert not await state.keep("log errors", "another first", 0, NOW)
    assert await state.recall("log errors") == Kept(body="one", version=1)
    assert await state.keep("log errors", "two", 1, NOW)
    assert not await state.keep("log errors", "from an old sight", 1, NOW)
    assert await state.recall("log errors") == Kept(body="two", version=2)
    assert await state.recall("log others") is None


async def test_a_purse_is_not_overdrawn_also_after_a_restart(open_memory: Opener) -> None:
    async with open_memory() as state:
        assert await state.spend("journey", 60, 100, later(-DAY), NOW)
        assert await state.spend("other", 100, 100, later(-DAY), NOW)
    async with open_memory() as state:
        assert not await state.spend("journey", 41, 100, later(-DAY), later(1))
        assert await state.spend("journey", 40, 100, later(-DAY), later(2))
        assert not await state.spend("journey", 1, 100, later(-DAY), later(3))
        assert await state.spend("journey", 60, 100, later(1), later(DAY + 1))  # the first spending left the day


async def test_of_many_that_spend_at_once_no_more_pass_than_the_purse_holds(state: State) -> None:
    passed = await asyncio.gather(*(state.spend("journey", 30, 100, later(-DAY), NOW) for _ in range(8)))
    assert sum(passed) == 3


async def test_a_memory_of_before_is_brought_up_to_date(path: Path) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        await state.freeze("*", "olga", "of before", NOW)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TABLE keepsakes; DROP TABLE spending; UPDATE alembic_version SET version_num = '0001';"
        )
    async with open_state(f"sqlite:///{path}") as state:
        assert await state.spend("journey", 1, 1, later(-DAY), NOW)
        assert await state.keep("log errors", "one", 0, NOW)
        assert await state.frozen("any") == "olga froze everything: of before"


async def test_a_memory_of_before_in_postgresql_too_and_its_grants(memory_url: str, admin_url: str) -> None:
    await execute(admin_url, "DROP TABLE sidecar.keepsakes, sidecar.spending")
    await execute(admin_url, "UPDATE sidecar.alembic_version SET version_num = '0001'")
    async with open_aged(memory_url) as state:
        assert await state.spend("journey", 1, 1, later(-DAY), NOW)
        assert await state.keep("log errors", "one", 0, NOW)
