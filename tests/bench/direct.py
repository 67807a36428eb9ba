"""The direct path at size: detection beside the same anti-join in psql, and a backfill beside one INSERT … SELECT."""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sidecar.data.direct.sighting import count_all, find_missing
from sidecar.data.direct.statements import missing_of
from sidecar.domain.event import BatchSettled
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome
from sidecar.sessions import Role, Sessions
from tests.bench.rest_detect import finish, say
from tests.bench.result import Measured
from tests.fakes import RecordingReporter
from tests.trials.world import RULE, World, a_replica, a_world

ROUNDS = 5
# A tenth of the seeded second movements stays: 1.1 ledger rows a user, as the figure asks for.
THIN = "delete from public.credit_transactions where transaction_type = 'usage' and hashtext(id::text) % 10 <> 0"
EXPECTED = """
select distinct on (l.user_id) l.user_id as id, a.email, a.raw_user_meta_data ->> 'full_name' as full_name,
  l.balance_after as credits_balance, '{"restored_by": "sidecar", "plan": "bench"}'::jsonb as metadata
from public.credit_transactions l join auth.users a on a.id = l.user_id
where not exists (select from public.users u where u.id = l.user_id) and a.deleted_at is null and a.email is not null
  and not exists (select from public.users u where u.email = a.email) and l.balance_after >= 0
order by l.user_id, l.created_at desc
"""
COLUMNS = "insert into public.users (id, email, full_name, credits_balance, metadata)"
RAW = f"{COLUMNS} {EXPECTED}"  # finds what is missing and inserts it, as a person would type it, without any guard
BARE = f"{COLUMNS} table public.bench_rows"


async def detect_1m(scale: float) -> list[Measured]:
    """Detection among a million users."""
    return await _detect("detect_1m", users=round(1_000_000 * scale), orphans=round(10_000 * scale))


async def detect_10m(scale: float) -> list[Measured]:
    """Detection among ten million users, and what Sidecar's memory grows by meanwhile."""
    return await _detect("detect_10m", users=round(10_000_000 * scale), orphans=round(100_000 * scale), rss="rss_10m")


async def _detect(name: str, *, users: int, orphans: int, rss: str | None = None) -> list[Measured]:
    async with _world(users=users, orphans=orphans) as world:
        await world.sql(THIN)
        await world.sql("vacuum (analyze)")
        rule, until = world.config().rules[-1], datetime.now(UTC) - timedelta(minutes=15)
        assert rule.name == RULE
        sessions = Sessions(world.served.login_url)
        ours, theirs, whole = [], [], []
        try:
            for _ in range(ROUNDS):
                theirs.append(await _timed(lambda: _psql(world, _statement(rule, until))))
                ours.append(await _timed(lambda: _find(sessions, rule, until)))
                whole.append(await _timed(lambda: _find(sessions, rule, until, count=True)))
        finally:
            await sessions.close()
        peer = statistics.median(theirs)
        say(f"{name}: sidecar {sorted(ours)}, psql {sorted(theirs)}, with counts {sorted(whole)}")
        found = [
            _measured(name, statistics.median(ours), peer, "s", "psql, the same statement", "at most 1.2"),
            _measured(f"{name}_with_counts", statistics.median(whole), peer, "s", "psql, the statement alone", "none"),
        ]
        if rss is not None:
            found.append(await _memory(rss, world))
        return found


async def backfill_100k(scale: float) -> list[Measured]:
    """A backfill with every guard on, beside one raw statement that inserts the same rows."""
    rows = round(100_000 * scale)
    async with _world(users=2 * rows, orphans=rows) as world:
        await world.sql("vacuum (analyze)")
        await world.sql(f"create table public.bench_rows as {EXPECTED}")
        theirs: dict[str, list[float]] = {RAW: [], BARE: []}
        for statement in (RAW, BARE) * 3:
            theirs[statement].append(await _timed(lambda s=statement: _psql(world, s)))  # type: ignore[misc]  # a default binds it
            await world.sql("delete from public.users where metadata ->> 'restored_by' = 'sidecar'")
            await world.sql("vacuum (analyze) public.users")
        await world.forget()
        config = world.config()
        async with a_replica(config, lease_seconds=10) as (app, rule):
            started = time.monotonic()
            cycle = await app.repair.tick(rule)
            whole_seconds = time.monotonic() - started
            assert cycle.outcome is Outcome.REPAIRED, cycle
            assert isinstance(app.reporter, RecordingReporter)
            batches = app.reporter.told(BatchSettled)
        assert len(await world.restored()) == rows + 1
        writing = batches[-1].at - batches[0].at
        rate = rows / writing.total_seconds()
        raw, bare = [rows / statistics.median(theirs[statement]) for statement in (RAW, BARE)]
        longest = max(batch.duration_seconds for batch in batches)
        say(f"backfill: {whole_seconds:.1f} s from look to verification, longest batch {longest:.2f} s")
        return [
            _measured("backfill_100k", rate, raw, "rows/s", "psql, INSERT … SELECT that finds them", "at least 0.5"),
            _measured("backfill_100k_bare", rate, bare, "rows/s", "psql, INSERT … SELECT of rows at hand", "none"),
            _measured("backfill_100k_whole", rows / whole_seconds, raw, "rows/s", "the first, to verification", "none"),
        ]


@contextlib.asynccontextmanager
async def _world(*, users: int, orphans: int) -> AsyncIterator[World]:
    say(f"seeding {users} users with {orphans} orphans")
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-", dir="/var/tmp") as name:  # ours alone
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)
        async with a_world(folder, users=users, orphans=orphans) as world:
            yield world


async def _find(sessions: Sessions, rule: Rule, until: datetime, *, count: bool = False) -> None:
    async with sessions.reading(Role.DETECTOR) as connection:
        found = await find_missing(connection, rule, until)
        if count:
            await count_all(connection, rule)
    assert found.candidates


def _statement(rule: Rule, until: datetime) -> str:
    return missing_of(rule).as_string().replace("%(until)s", f"'{until.isoformat()}'")


async def _psql(world: World, statement: str) -> None:
    settings = "set jit = off; set enable_nestloop = off; set work_mem = '64MB';"
    command = [str(world.served.psql), world.served.database_url, "-qAt", "-o", "/dev/null"]
    done = await asyncio.to_thread(finish, [*command, "-c", settings, "-c", statement], {})
    if done.code != 0:
        message = f"psql ended with {done.code}: {done.output}"
        raise RuntimeError(message)


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    started = time.monotonic()
    await work()
    return round(time.monotonic() - started, 3)


async def _memory(name: str, world: World) -> Measured:
    """Let a child look, and say how far its memory rose above what it was at rest."""
    command = [sys.executable, "-m", "tests.bench.resident", str(world.folder), json.dumps(dict(world.environment))]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    idle_mb, peak_mb = json.loads(done.stdout)
    return _measured(name, peak_mb - idle_mb, idle_mb, "MB", "the same process at rest", "at most 20 MB above")


def _measured(name: str, value: float, peer_value: float, unit: str, peer: str, target: str) -> Measured:
    return Measured(
        name=name,
        value=round(value, 3),
        unit=unit,
        peer=peer,
        peer_value=round(peer_value, 3),
        ratio=round(value / peer_value, 2),
        target=target,
    )
