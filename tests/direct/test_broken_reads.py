"""I1: no write unless this cycle's read is proven whole. Twelve broken reads of a database full of damage."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sidecar.domain.event import LookFinished
from sidecar.domain.look import Sighting
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome
from tests.direct.broken import BROKEN, USERS
from tests.direct.cast import Book, Project
from tests.direct.staging import engine, staged


@dataclass
class Tally:
    """What these tests found, told once all of them have run."""

    ended: dict[str, Outcome] = field(default_factory=dict)
    writes: int = 0


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    print(f"broken reads: {len(tally.ended)} of {len(BROKEN)}, {tally.writes} writes")


@pytest.mark.xdist_group("broken reads")
@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_read_ends_with_its_cause_and_writes_nothing(
    broken: str, project: Project, other_project: Project, rule: Rule, tmp_path: Path, tally: Tally
) -> None:
    case = BROKEN[broken]
    async with case.make(project, other_project) as world, engine(world.before or world.data, tmp_path) as stage:
        if world.before is not None:
            assert (await stage.repair.rehearse(rule)).plan is not None
        now = staged(stage.state, world.data)
        cycle = await now.repair.backfill(rule, "olga")
        look = now.reporter.told(LookFinished)[-1]
        written = await world.project.written()
        tally.writes += written
        assert (look.failure, written) == (case.failure, 0), look.detail
        assert case.named in look.detail
        assert cycle.outcome in (Outcome.UNKNOWN, Outcome.REFUSED)
        assert cycle.run_id is None
        assert look.counts is None
        tally.ended[broken] = cycle.outcome


async def test_the_same_database_unbroken_is_repaired(project: Project, rule: Rule, tmp_path: Path) -> None:
    async with project.data() as data, engine(data, tmp_path) as stage:
        cycle = await stage.repair.backfill(rule, "olga")
        assert cycle.outcome is Outcome.REPAIRED, cycle.detail
        assert await project.written() == 13


@pytest.fixture
async def owned(project: Project) -> Project:
    """The detector owns the tables and bypasses nothing."""
    await project.sql("alter role sidecar_detector nobypassrls")
    for table in (USERS, "public.credit_transactions", "public.sidecar_canary", "auth.users"):
        await project.sql(f"alter table {table} owner to sidecar_detector")
    return project


async def test_an_owner_sees_its_tables_without_bypass_unless_it_is_forced(owned: Project, rule: Rule) -> None:
    async with owned.data() as data:
        assert isinstance(await data.sight(rule, Book(), 1), Sighting)


async def test_a_shadow_on_the_search_path_is_never_read(project: Project, rule: Rule) -> None:
    await project.sql("create schema shadow; grant usage on schema shadow to sidecar_detector")
    await project.sql("create table shadow.users (like public.users); grant select on shadow.users to sidecar_detector")
    await project.sql("alter role sidecar_of_these_tests set search_path = shadow, public")
    async with project.data() as data:
        seen = await data.sight(rule, Book(), 1)
        assert isinstance(seen, Sighting)
        assert len(seen.candidates) == 28
