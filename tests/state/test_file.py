"""The file itself: private, migrated, shared by processes, and honest when it cannot be used."""

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import sidecar.state.open
from sidecar.errors import ConfigError, StateUnavailable
from sidecar.state.columns import Exact, Instant
from sidecar.state.open import open_state
from sidecar.state.tables import APPEND_ONLY, HEAD, metadata, run_rows
from tests.state.audit_reading import first_broken, trail
from tests.state.cast import KEYS, NOW, RULE, TABLE, take

ROOT = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_folder_and_files_are_the_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        async with open_state(f"sqlite:///{path}") as state:
            await state.freeze(RULE, "olga", "why", NOW)
            files = {file.name: mode(file) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert mode(path.parent) == 0o700
    assert files == {"sidecar.db": 0o600, "sidecar.db-wal": 0o600, "sidecar.db-shm": 0o600}


async def test_a_relative_path_is_read_from_where_we_started(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        async with open_state("sqlite:///./var/sidecar.db") as state:
            await state.freeze(RULE, "olga", "why", NOW)
    assert (tmp_path / "var" / "sidecar.db").exists()


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///", "sqlite:///:memory:", "var/sidecar.db"])
async def test_what_is_no_sqlite_file_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ConfigError, match=r"state\.url: not the URL of a SQLite file .*sqlite:///"):
        async with open_state(url):
            pass


async def test_the_migrations_build_what_the_tables_say(path: Path) -> None:
    async with open_state(f"sqlite:///{path}"):
        pass
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": same_type, "compare_server_default": True}
        )
        differences = compare_metadata(context, metadata)
        stored = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        tables: dict[str, str] = {row.name: row.sql for row in stored}
        triggers = set(connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")))
    engine.dispose()
    assert [difference for difference in differences if not is_identity(difference)] == []
    without_rowid = {name for name, text in tables.items() if "WITHOUT ROWID" in text}
    assert without_rowid == {
        t.name for t in metadata.tables.values() if t.dialect_options["sqlite"]["with_rowid"] is False
    }
    guards = {f"{table.name}_no_{verb}" for table in APPEND_ONLY for verb in ("update", "delete")}
    assert triggers == {*guards, "audit_no_replacing"}


def is_identity(difference: object) -> bool:
    """SQLite numbers such a column without being told."""
    match difference:
        case [("modify_default", None, str(table), str(column), *_)]:
            return metadata.tables[table].c[column].identity is not None
    return False


def same_type(
    _context: MigrationContext, _inspected: object, _column: object, stored: sa.types.TypeEngine[object], ours: object
) -> bool | None:
    """Compare our own types by what they store; None leaves the others to Alembic."""
    if isinstance(ours, Instant):
        return not isinstance(stored, sa.BigInteger)
    return not isinstance(stored, sa.Text) if isinstance(ours, Exact) else None


def test_the_head_we_know_is_the_migrations_head() -> None:
    folder = Path(sidecar.state.open.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == HEAD


OPENING = """
import asyncio, sys
from sidecar.state.open import open_state
async def main():
    async with open_state(sys.argv[1]):
        print("alembic" in sys.modules)
asyncio.run(main())
"""


def test_a_schema_at_its_head_is_opened_without_alembic(path: Path) -> None:
    command = [sys.executable, "-c", OPENING, f"sqlite:///{path}"]
    loaded = [subprocess.check_output(command, text=True, cwd=ROOT) for _ in range(2)]  # our own text
    assert loaded == ["True\n", "False\n"]


async def test_a_newer_schema_is_left_alone(path: Path) -> None:
    async with open_state(f"sqlite:///{path}"):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StateUnavailable, match=r"sidecar\.db has schema 9999, .* up to 0002: a newer Sidecar wrote it"):
        async with open_state(f"sqlite:///{path}"):
            pass


@pytest.fixture
def text_file(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text("rule: not a database\n" * 200)
    return path


async def test_a_file_that_is_no_database_is_named(text_file: Path) -> None:
    with pytest.raises(StateUnavailable, match=r"sidecar\.db: it is not a SQLite database"):
        async with open_state(f"sqlite:///{text_file}"):
            pass


async def test_a_damaged_file_is_named(path: Path) -> None:
    async with open_state(f"sqlite:///{path}"):
        pass
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8000)
    with pytest.raises(StateUnavailable, match=r"sidecar\.db: it is damaged; restore a copy"):
        async with open_state(f"sqlite:///{path}"):
            pass


@pytest.mark.parametrize("wrong", ["sidecar.db", "."], ids=["the file", "its folder"])
async def test_a_folder_where_the_file_should_be_is_named(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "sidecar.db").mkdir()
    with pytest.raises(StateUnavailable, match="Is a directory"):
        async with open_state(f"sqlite:///{tmp_path / wrong}"):
            pass


async def test_a_file_where_the_folder_should_be_is_named(text_file: Path) -> None:
    with pytest.raises(StateUnavailable, match=r"sidecar\.db/x\.db: "):
        async with open_state(f"sqlite:///{text_file}/x.db"):
            pass


async def test_a_full_disk_is_told_and_nothing_is_half_written(path: Path) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        writer = state._database._writer  # type: ignore[attr-defined]  # SQLite's own limit stands in for the disk's
        async with writer.connect() as connection:
            await connection.exec_driver_sql("PRAGMA max_page_count = 50")
        look_id = await state.open_look(RULE, NOW)
        seen = [(f"user-{number:06}", 1200) for number in range(20_000)]
        with pytest.raises(StateUnavailable, match=r"sidecar\.db: the disk is full"):
            await state.note(look_id, TABLE, seen, NOW)
        await state.note(look_id, TABLE, seen[:10], NOW)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM snapshots").fetchone() == (10,)


async def test_a_lock_that_another_process_keeps_is_told(path: Path) -> None:
    async with open_state(f"sqlite:///{path}", busy_timeout_seconds=0.05) as state:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateUnavailable, match=r"sidecar\.db: another process keeps it locked"):
                await state.freeze(RULE, "olga", "why", NOW)
            assert await state.frozen(RULE) is None  # reading goes on
        await state.freeze(RULE, "olga", "why", NOW)
        assert await state.frozen(RULE) is not None


async def test_readers_cannot_write(path: Path) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        database = state._database  # type: ignore[attr-defined]  # the guard is below the port
        with pytest.raises(StateUnavailable, match="cannot be written"):
            async with database.reading() as connection:
                await connection.exec_driver_sql("DELETE FROM checks")


async def test_rows_of_a_run_that_is_not_there_are_refused(path: Path) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        database = state._database  # type: ignore[attr-defined]  # the guard is below the port
        orphan = run_rows.insert().values(
            run_id="run-9", key="alice", position=0, result="planned", reason="", written="", in_flight=False
        )
        with pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY"):
            async with database.writing() as connection:
                await connection.execute(orphan)


async def test_errors_do_not_show_values(path: Path) -> None:
    async with open_state(f"sqlite:///{path}", busy_timeout_seconds=0.05) as state:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ALTER TABLE freezes RENAME TO gone")
            other.execute("COMMIT")
        with pytest.raises(StateUnavailable) as caught:
            await state.freeze(RULE, "olga", "asked by alice@example.org", NOW)
    assert "alice@example.org" not in f"{caught.value} {caught.value.__cause__}"


async def test_cancelled_writers_leave_neither_lock_nor_half_a_change(path: Path) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        for steps in range(60):
            writing = asyncio.create_task(state.freeze(RULE, "olga", "why", NOW))
            for _ in range(steps):
                await asyncio.sleep(0)
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
        await state.freeze(RULE, "olga", "why", NOW)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
            frozen = other.execute("SELECT count(*) FROM freezes").fetchone()
    assert frozen == (len(trail(path)),)
    assert first_broken(trail(path)) is None


async def test_many_writers_of_one_process_all_come_through(path: Path) -> None:
    async with open_state(f"sqlite:///{path}") as state:
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(take(state))
        assert await state.acquire(TABLE, "daemon", 10, NOW) == 51


async def test_the_book_is_streamed_in_constant_memory(path: Path) -> None:
    number = 100_000
    async with open_state(f"sqlite:///{path}") as state:
        look_id = await state.open_look(RULE, NOW)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE looks SET proven = 1")
            rows = ((TABLE, f"{n:036}", 0, look_id, 1, "1200") for n in range(number))
            connection.executemany("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?)", rows)
        tracemalloc.start()
        try:
            seen = 0
            async for key, _ in state.known(TABLE):
                assert key == f"{seen:036}"
                seen += 1
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert seen == number
    assert peak < 8_000_000  # all of them at once take more than 20 MB


def worker(verb: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.state.worker", verb, f"sqlite:///{path}", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )  # our own module


async def test_two_processes_lose_none_of_600_updates(path: Path) -> None:
    """Both start on a file that does not exist: creating and migrating it is part of the race."""
    workers = [worker("take", path, "300") for _ in range(2)]
    ends = [process.communicate(timeout=60)[1] for process in workers]
    assert [process.returncode for process in workers] == [0, 0], ends
    async with open_state(f"sqlite:///{path}") as state:
        assert await state.acquire(TABLE, "daemon", 10, NOW) == 601
    assert first_broken(trail(path)) is None


async def test_many_processes_open_a_new_file_at_once(path: Path) -> None:
    workers = [worker("take", path, "1") for _ in range(6)]
    ends = [process.communicate(timeout=60)[1] for process in workers]
    assert [process.returncode for process in workers] == [0] * 6, ends
    assert len(trail(path)) == 6


async def test_a_process_killed_between_announcement_and_settlement_leaves_its_rows_in_flight(path: Path) -> None:
    process = worker("announce", path)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "announced\n"
    finally:
        process.kill()
        process.communicate()
    async with open_state(f"sqlite:///{path}") as state:
        rows = await state.rows("run-1")
        assert [row.key for row in rows if row.in_flight] == list(KEYS[2:4])
        assert [str(row.settled.result) for row in rows] == ["inserted"] * 2 + ["planned"] * 3
        assert await state.rows_since(TABLE, NOW) == 4
    assert first_broken(trail(path)) is None
