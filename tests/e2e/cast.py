"""The cast: a stack in a thread of its own, a detour in front of it, and a Sidecar in a folder of its own."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx
import psycopg
from anyio.from_thread import BlockingPortal
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from typer.testing import CliRunner

from sidecar.cli import cli
from sidecar.demo.rest.forward import forward_to
from sidecar.demo.shipped import shipped_files
from sidecar.demo.stack import Stack
from sidecar.serving import listen, serving

T = TypeVar("T")
Bend: TypeAlias = Callable[[Request], Awaitable[ASGIApp | None]]

RULE = "credits_without_profile"
INCIDENT = "22cb3917-57f6-49c6-ac96-ec266570081b"
SECONDS_AT_MOST = 40.0  # for anything that should happen; far more than it takes, since machines are shared


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:  # noqa: ANN401  # JSON
        return json.loads(self.stdout)


def command(words: Sequence[str]) -> list[str]:
    """Return the command line of a verb in a process of its own."""
    return [sys.executable, "-W", "error", "-m", "sidecar", *words]


RESTORE = """
    set local session_replication_role = replica;
    delete from public.users;
    insert into public.users select * from kept.users;
    delete from public.credit_transactions;
    insert into public.credit_transactions select * from kept.credit_transactions;
"""

MAIN = """\
supabase:
  url: ${SUPABASE_URL}
  service_key: ${SUPABASE_SERVICE_ROLE_KEY}
  anon_key: ${SUPABASE_ANON_KEY}
backend:
  url: ${BACKEND_URL}
checks:
  - name: service-key
    kind: service_key
    every: 30s
    timeout: 10s
    severity: critical
    tables: [public.users, public.credit_transactions, public.generations]
    public_tables: [public.ai_models]
    canary:
      nonce: ${SIDECAR_CANARY_NONCE:-}
  - name: backend-health
    kind: http
    every: 2s
    timeout: 1900ms
    url: /health
    expect:
      - status == 200
rules:
  path: rules
state:
  url: sqlite:///%(folder)s/var/sidecar.db
server:
  listen: 127.0.0.1:0
  drain: 15s
telemetry:
  otlp: ${OTLP:-}
  log_level: debug
notifications: []
"""


class Detour:
    """Stands before the stand-in. `bend` may answer in its place; it is asked in the stack's own thread."""

    def __init__(self) -> None:
        self.url = ""
        self.bend: Bend | None = None
        self._onward: ASGIApp | None = None

    @contextlib.asynccontextmanager
    async def serving(self, supabase_url: str) -> Any:  # noqa: ANN401  # an async iterator of nothing
        """Serve for the time of the block."""
        async with forward_to(supabase_url) as onward, serving(self, listen("127.0.0.1", 0), drain_seconds=1) as url:
            self._onward, self.url = onward, url
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._onward is not None
        bent = await self.bend(Request(scope)) if self.bend is not None and scope["type"] == "http" else None
        with contextlib.suppress(ClientDisconnect):  # processes are killed here
            await (bent or self._onward)(scope, receive, send)


class Gate:
    """Lets requests wait until a test opens it, and tells the test that one has come."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.opened = threading.Event()

    async def wait(self) -> None:
        """Wait without holding up the loop."""
        self.came.set()
        await asyncio.to_thread(self.opened.wait, SECONDS_AT_MOST)


@dataclass(slots=True)
class Running:
    """A process that runs, and what it has said so far."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    @property
    def stderr(self) -> str:
        return self.err.read_text()

    @property
    def lines(self) -> list[Any]:
        """The log lines that are whole by now."""
        whole = self.stderr.rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in whole if line.startswith("{")]

    def said(self, event: str, **fields: object) -> list[Any]:
        """Return the lines of this event whose fields are these."""
        return [
            line
            for line in self.lines
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]

    def hear(self, event: str, *, times: int = 1, **fields: object) -> Any:  # noqa: ANN401  # a log line
        """Wait until a line was written often enough; return the last one."""

        def heard() -> Any:  # noqa: ANN401  # a log line
            found = self.said(event, **fields)
            if len(found) < times and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.stderr[-3000:]}")
            return found[-1] if len(found) >= times else None

        return until(heard, lambda: f"{event} {fields} in {self.stderr[-3000:]}")

    @property
    def url(self) -> str:
        """Where the daemon is served, without a trailing slash."""
        return str(self.hear("lifecycle.changed", phase="started")["detail"]).rstrip("/")

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=20, trust_env=False)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(SECONDS_AT_MOST)


def until(asked: Callable[[], T | None], told: Callable[[], str]) -> T:
    """Ask again and again until the answer is true."""
    ends = time.monotonic() + SECONDS_AT_MOST
    while time.monotonic() < ends:
        if answer := asked():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"did not happen in {SECONDS_AT_MOST:g} s: {told()}")


@dataclass(slots=True)
class Project:
    """A configured Sidecar beside a stack."""

    folder: Path
    served: Stack
    url: str
    environment: dict[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.environment |= {
            "SUPABASE_URL": self.url,
            "SUPABASE_SERVICE_ROLE_KEY": self.served.service_key,
            "SUPABASE_ANON_KEY": self.served.anon_key,
            "BACKEND_URL": self.served.backend_url,
            "SIDECAR_CANARY_NONCE": self.served.canary_nonce,
        }
        self.write()

    @property
    def config(self) -> Path:
        return self.folder / "sidecar.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "var" / "sidecar.db"

    def write(self, *, main: Mapping[str, str] | None = None, rule: Mapping[str, str] | None = None) -> None:
        """Write configuration and rule anew. Both mappings replace pieces of the texts; each piece must be there."""
        (self.folder / "rules").mkdir(exist_ok=True)
        self.config.write_text(_bent(MAIN % {"folder": self.folder}, main or {}))
        ours = {
            "every: 5m": "every: 1s",
            "confirmations: 2": "confirmations: 1",
            "max_percent: 0.5": "max_percent: 100",
            **(rule or {}),
        }
        (self.folder / "rules" / f"{RULE}.yaml").write_text(_bent(shipped_files()[1][f"{RULE}.yaml"], ours))

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> Ended:
        """Run a verb with this configuration to its end."""
        done = subprocess.run(
            [*command(words), "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=SECONDS_AT_MOST,
            check=False,
            cwd=self.folder,
            env=self._whole(environment),
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def ask(self, *words: str, environment: Mapping[str, str] | None = None) -> Ended:
        """Run a verb as `run` does, but in this process, which saves the second that a start takes."""
        given = {**self.environment, **(environment or {})}
        done = CliRunner(env=given).invoke(cli, [*words, "--config", str(self.config)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ended(done.exit_code, done.stdout, done.stderr)

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> Running:
        """Start a verb, the daemon where none is named; it is killed at the end of the test at the latest."""
        number = len(self.started)
        out, err = self.folder / f"out{number}", self.folder / f"err{number}"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*command(words or ("run",)), "--config", str(self.config)],
                stdout=stdout,
                stderr=stderr,
                cwd=self.folder,
                env=self._whole(environment),
            )
        running = Running(process, out, err)
        self.started.append(running)
        return running

    def close(self) -> None:
        """End what still runs."""
        for running in self.started:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()

    def _whole(self, more: Mapping[str, str] | None) -> dict[str, str]:
        given = {**self.environment, **(more or {})}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **given}

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run SQL as superuser; return the rows, where there are any."""
        with psycopg.connect(self.served.database_url, autocommit=True) as connection:
            done = connection.execute(statement.encode(), values or None)
            return done.fetchall() if done.description else []

    def restored(self) -> int:
        """Count the rows that Sidecar wrote."""
        return int(self.sql("select count(*) from public.users where metadata ->> 'restored_by' = 'sidecar'")[0][0])


def _bent(text: str, pieces: Mapping[str, str]) -> str:
    for piece, by in pieces.items():
        assert piece in text, f"{piece!r} is not in the text"
        text = text.replace(piece, by, 1)
    return text


def remember(database_url: str) -> None:
    """Keep a copy of what tests change."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create schema kept")
        connection.execute("create table kept.users as table public.users")
        connection.execute("create table kept.credit_transactions as table public.credit_transactions")


def restore(database_url: str) -> None:
    """Bring back what was remembered."""
    with psycopg.connect(database_url) as connection:
        connection.execute(RESTORE)


def entered(portal: BlockingPortal, manager: Any) -> AbstractContextManager[Any]:  # noqa: ANN401  # any async manager
    """Turn an asynchronous context into one for plain tests; its loop runs in the portal's thread."""
    return portal.wrap_async_context_manager(manager)


def rows_of(ended: Ended) -> Any:  # noqa: ANN401  # JSON
    """Return the one rule's part of a document."""
    [rule] = ended.document["rules"]
    return rule
