"""kill -9 at random moments of a backfill, started again each time: no row twice, none missed, all accounted for."""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from sidecar.demo.shipped import shipped_files
from sidecar.demo.stack import Stack, StackSpec, stack
from tests.e2e.conftest import command

RULE = "credits_without_profile"


@dataclass(slots=True)
class Tally:
    """What the trials came to."""

    kills: int = 0
    trials: int = 0
    unbroken_seconds: float = 0.0


@pytest.mark.timeout(580)
async def test_a_backfill_killed_at_random_moments_ends_as_an_unbroken_one(shared_tmp: Path) -> None:
    await _trials(shared_tmp, kills=5, orphans=150)


@pytest.mark.soak
@pytest.mark.timeout(5400)
async def test_a_backfill_killed_a_hundred_times_ends_as_an_unbroken_one(shared_tmp: Path) -> None:
    await _trials(shared_tmp, kills=100, orphans=5_000)


async def _trials(folder: Path, *, kills: int, orphans: int) -> None:
    seed = random.randrange(2**32)
    print(f"kill trials drawn from seed {seed}")
    moments = random.Random(seed)
    spec = StackSpec(users=orphans * 2, orphans=orphans, seed=7, faults=(), data_dir=None)
    tally = Tally()
    async with stack(spec) as served:
        await _let_nobody_come_of_age(served)
        started = time.monotonic()
        unbroken = await _unbroken(served, folder / "unbroken")
        tally.unbroken_seconds = time.monotonic() - started
        assert len(unbroken) == orphans + 1
        while tally.kills < kills:
            await _forget(served)
            state = folder / f"trial{tally.trials}"
            await asyncio.to_thread(_trial, served, state, moments, tally, kills)
            assert await _restored(served) == unbroken
            _account(state, rows=len(unbroken))
            print(f"{tally.kills} kills in {tally.trials} trials so far, each trial as the unbroken run", flush=True)
    told = f"{tally.kills} kills in {tally.trials} trials of {orphans + 1} rows: 0 twice, 0 missed"
    print(f"{told}; an unbroken run takes {tally.unbroken_seconds:.0f} s")


async def _unbroken(served: Stack, folder: Path) -> list[tuple[object, ...]]:
    process = _start(served, folder)
    output, errors = await asyncio.to_thread(process.communicate, timeout=300)
    assert process.returncode == 0, output + errors
    return await _restored(served)


def _trial(served: Stack, folder: Path, moments: random.Random, tally: Tally, kills: int) -> None:
    """Kill and start again until the backfill ends by itself."""
    tally.trials += 1
    for _ in range(200):
        process = _start(served, folder)
        try:
            wait_seconds = moments.uniform(0.2, tally.unbroken_seconds) if tally.kills < kills else 300
            output, errors = process.communicate(timeout=wait_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            tally.kills += 1
            continue
        assert process.returncode == 0, output + errors
        [ended] = json.loads(output)["rules"]
        if ended["outcome"] == "nothing_to_do":
            return
    pytest.fail("the backfill never ended")


def _start(served: Stack, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(["backfill", RULE, "--json", "--config", str(_configured(folder))]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "SUPABASE_URL": served.supabase_url,
            "SUPABASE_SERVICE_ROLE_KEY": served.service_key,
            "SUPABASE_ANON_KEY": served.anon_key,
            "BACKEND_URL": served.backend_url,
            "SIDECAR_CANARY_NONCE": served.canary_nonce,
        },
    )


def _configured(folder: Path) -> Path:
    """Write the shipped configuration with caps that let every orphan through, once."""
    path = folder / "sidecar.yaml"
    if not path.exists():
        (folder / "rules").mkdir(parents=True)
        main, rules = shipped_files()
        text = rules[f"{RULE}.yaml"].replace("max_rows: 500", "max_rows: 100000")
        text = text.replace("max_percent: 0.5", "max_percent: 100").replace("per_day: 5000", "per_day: 100000")
        (folder / "rules" / f"{RULE}.yaml").write_text(text)
        path.write_text(f"{main}\nstate:\n  url: sqlite:///{folder}/sidecar.db\n")
    return path


async def _let_nobody_come_of_age(served: Stack) -> None:
    """Take out the users who are too young to be judged: in the quarter of an hour of a soak they no longer are."""
    async with await psycopg.AsyncConnection.connect(served.database_url, autocommit=True) as connection:
        await connection.execute(
            "delete from public.credit_transactions where created_at > now() - interval '20 minutes'"
        )


async def _forget(served: Stack) -> None:
    async with await psycopg.AsyncConnection.connect(served.database_url, autocommit=True) as connection:
        await connection.execute("delete from public.users where metadata ->> 'restored_by' = 'sidecar'")


async def _restored(served: Stack) -> list[tuple[object, ...]]:
    """Return everything that was written but clock values and plan ids."""
    async with await psycopg.AsyncConnection.connect(served.database_url) as connection:
        found = await connection.execute(
            """select id, email, full_name, credits_balance, metadata - 'plan', avatar_url, is_active, current_plan
               from public.users where metadata ->> 'restored_by' = 'sidecar' order by id"""
        )
        return await found.fetchall()


def _account(folder: Path, *, rows: int) -> None:
    """Ask Sidecar's own memory: each row was inserted by exactly one run, and no row of any run is left in doubt."""
    with sqlite3.connect(folder / "sidecar.db") as database:
        inserted = database.execute(
            "select count(*), count(distinct key) from run_rows where result = 'inserted'"
        ).fetchone()
        doubtful = database.execute(
            "select count(*) from run_rows where in_flight or result = 'undetermined'"
        ).fetchone()
        unfinished = database.execute("select count(*) from runs where status <> 'finished'").fetchone()
    assert inserted == (rows, rows)
    assert (doubtful, unfinished) == ((0,), (0,))
