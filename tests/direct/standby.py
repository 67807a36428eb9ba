"""A primary that ships its log, and a real standby of it made by pg_basebackup."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sidecar.demo.leash import leashed
from sidecar.demo.postgres import PostgresServer, postgres
from sidecar.demo.premises import Owner, temporary_data_dir, unprivileged
from tests.direct.cast import Project, login_url, make_login, make_seeded

DATABASE = "velro"
READY_SECONDS_AT_MOST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A primary and its standby."""

    primary: Project
    standby: Project


@contextlib.asynccontextmanager
async def primary_and_standby() -> AsyncIterator[Pair]:
    """Run both for the time of the block. The demo's own servers write too little log for a standby."""
    with temporary_data_dir() as data_dir:
        async with postgres(data_dir) as server:
            await make_seeded(server, DATABASE)
            password = await make_login(server.url(DATABASE))
        cluster, copy = data_dir / "postgres", data_dir / "standby"
        async with _running(server, cluster) as primary_port:
            await _copy(server, primary_port, copy)
            async with _running(server, copy) as standby_port:
                yield Pair(
                    primary=_project(server, primary_port, password), standby=_project(server, standby_port, password)
                )


def _project(server: PostgresServer, port: int, password: str) -> Project:
    moved = PostgresServer(data_dir=server.data_dir, port=port, password=server.password, programs=server.programs)
    url, login = moved.url(DATABASE), login_url(moved, DATABASE, password)
    return Project(server=moved, name=DATABASE, url=url, login_url=login)


@contextlib.asynccontextmanager
async def _running(server: PostgresServer, cluster: Path) -> AsyncIterator[int]:
    port = _free_port()
    settings = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "wal_level": "replica",
        "hot_standby": "on",
        "fsync": "off",
        "jit": "off",
        "timezone": "UTC",
    }
    given = [f"--{name}={value}" for name, value in settings.items()]
    process = await asyncio.create_subprocess_exec(
        *leashed(str(server.binary("postgres")), ["-D", str(cluster), *given], owner=unprivileged()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    try:
        await _accepts(server, port)
        yield port
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nobody reads these data again
        await process.wait()


async def _accepts(server: PostgresServer, port: int) -> None:
    """Wait until connections are taken."""
    async with asyncio.timeout(READY_SECONDS_AT_MOST):
        while True:
            asked = await asyncio.create_subprocess_exec(
                str(server.binary("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port)
            )
            if await asked.wait() == 0:
                return
            await asyncio.sleep(0.05)  # the server tells nobody when it is ready


def _make_private(folder: Path, owner: Owner | None) -> None:
    folder.mkdir(mode=0o700)
    if owner:
        shutil.chown(folder, owner.uid, owner.gid)


async def _copy(server: PostgresServer, port: int, to: Path) -> None:
    owner = unprivileged()
    _make_private(to, owner)
    where = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    copying = await asyncio.create_subprocess_exec(
        *leashed(str(server.binary("pg_basebackup")), ["-D", str(to), "-R", "-c", "fast", "-N", *where], owner=owner),
        env={"PATH": os.defpath, "PGPASSWORD": server.password},
        cwd="/",
    )
    assert await copying.wait() == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
