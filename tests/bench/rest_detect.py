"""Detection over REST at a million users, beside the same question asked by psql."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sidecar.demo.shipped import shipped_files
from sidecar.demo.stack import Stack, StackSpec, stack
from tests.bench.result import Measured

USERS, ORPHANS = 1_000_000, 10_000
QUESTION = """
select count(distinct l.user_id) from public.credit_transactions l
where l.created_at <= now() - interval '15 minutes'
  and not exists (select from public.users u where u.id = l.user_id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A finished process: its own peak memory and time, as the operating system counts them."""

    code: int
    seconds: float
    peak_mb: float
    output: str


async def rest_detect_1m(scale: float) -> list[Measured]:
    """Time and memory of `sidecar detect` as its own process, and of psql with the anti-join."""
    users, orphans = max(100, round(USERS * scale)), max(1, round(ORPHANS * scale))
    say(f"seeding {users} users with {orphans} orphans")
    spec = StackSpec(users=users, orphans=orphans, seed=7, faults=(), data_dir=None)
    async with stack(spec) as served:
        with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as folder:
            ours = await _detect(served, Path(folder), orphans)
        peer = await asyncio.to_thread(finish, [str(served.psql), served.database_url, "-At", "-c", QUESTION], {})
    say(
        f"sidecar: {ours.seconds:.1f} s, {ours.peak_mb:.0f} MB; psql: {peer.seconds:.2f} s, found {peer.output.strip()}"
    )
    return [
        _measured("rest_detect_1m", ours.seconds, "s", peer.seconds, "none: the REST path pages, psql does not"),
        _measured("rest_detect_1m_memory", ours.peak_mb, "MB", peer.peak_mb, "under 150 MB"),
    ]


def _measured(name: str, value: float, unit: str, peer_value: float, target: str) -> Measured:
    return Measured(
        name=name,
        value=round(value, 2),
        unit=unit,
        peer="psql, NOT EXISTS",
        peer_value=round(peer_value, 2),
        ratio=round(value / peer_value, 2),
        target=target,
    )


async def _detect(served: Stack, folder: Path, orphans: int) -> Process:
    """Run `sidecar detect` against the stack; every orphan is examined, so the cap is sized to them."""
    main, rules = shipped_files()
    (folder / "rules").mkdir()
    text = f"{main}\nstate:\n  url: sqlite:///{folder}/sidecar.db\n"
    (folder / "sidecar.yaml").write_text(text, encoding="utf-8")
    for name, text in rules.items():
        (folder / "rules" / name).write_text(
            text.replace("max_rows: 500", f"max_rows: {orphans + 1}"), encoding="utf-8"
        )
    environment = {
        "PATH": os.environ["PATH"],
        "SUPABASE_URL": served.supabase_url,
        "SUPABASE_SERVICE_ROLE_KEY": served.service_key,
        "SUPABASE_ANON_KEY": served.anon_key,
        "BACKEND_URL": served.backend_url,
        "SIDECAR_CANARY_NONCE": served.canary_nonce,
    }
    command = [sys.executable, "-m", "sidecar", "detect", "--json", "--config", str(folder / "sidecar.yaml")]
    done = await asyncio.to_thread(finish, command, environment)
    if done.code != 1:
        message = f"detect ended with {done.code} instead of 1 (violations): {done.output[-2000:]}"
        raise RuntimeError(message)
    return done


# A process starts with its parent's peak already on its account, so a small parent stands in between and reports.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def finish(command: list[str], environment: dict[str, str]) -> Process:
    """Run a process to its end, with its own peak memory."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - started
    peak_kb = int(done.stderr.splitlines()[-1])
    output = done.stdout if done.returncode == 0 else done.stdout + done.stderr
    return Process(code=done.returncode, seconds=seconds, peak_mb=peak_kb / 1024, output=output)


def say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
