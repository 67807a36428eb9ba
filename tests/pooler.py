"""A real pgbouncer in transaction mode, as Supabase's pooler works: a server connection is ours for one transaction."""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sidecar.demo.leash import leashed
from sidecar.demo.premises import temporary_data_dir, unprivileged

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
START_SECONDS_AT_MOST = 10.0
SETTINGS = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {server_connections}
max_client_conn = 200
max_db_connections = {server_connections}
"""


@contextlib.asynccontextmanager
async def pooled(url: str, *, server_connections: int) -> AsyncIterator[str]:
    """Run a pooler before the server of `url`; yield the same URL by way of it. Its login is the one in `url`.

    Few `server_connections` make clients share them, so that what one leaves behind is seen by the next. Work that
    holds two transactions open at once needs two. Skips where pgbouncer is not installed.
    """
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed (apt-get install pgbouncer)")
    parts = urlsplit(url)
    with temporary_data_dir() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own_port: int = probe.getsockname()[1]
        probe.close()
        settings = _settings(
            folder,
            host=str(parts.hostname),
            port=str(parts.port),
            user=str(parts.username),
            password=str(parts.password),
            own_port=str(own_port),
            server_connections=str(server_connections),
        )
        process = await asyncio.create_subprocess_exec(
            *leashed(PROGRAM, ["-q", str(settings)], owner=unprivileged()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await _listening(process, own_port)
            yield f"{parts.scheme}://{parts.username}@127.0.0.1:{own_port}{parts.path}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


def _settings(folder: Path, **values: str) -> Path:
    """Write the configuration where the pooler's user alone may read it: the password is in it."""
    file = folder / "pgbouncer.ini"
    file.touch(mode=0o600)
    file.write_text(SETTINGS.format(**values))
    if (owner := unprivileged()) is not None:
        os.chown(file, owner.uid, owner.gid)
    return file


async def _listening(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(START_SECONDS_AT_MOST):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.01)  # it says nowhere that it listens
    _, complaint = await process.communicate()
    message = f"pgbouncer did not start: {complaint.decode(errors='replace').strip()}"
    raise RuntimeError(message)
