"""Load the stack's database, once for each data directory."""

import asyncio
import contextlib
import os
import secrets
from importlib import resources
from pathlib import Path

import psycopg
from psycopg import sql

from sidecar.config.load import load_rules
from sidecar.demo.faults import Fault, database_faults
from sidecar.demo.postgres import PostgresServer
from sidecar.demo.record import Record, read_record, write_record
from sidecar.demo.seed import Seeded, SeedSpec, seed
from sidecar.demo.shipped import shipped_files
from sidecar.errors import UsageError
from sidecar.fixture import fixture_sql
from sidecar.roles import roles_sql

DATABASE = "velro"


async def load_demo(server: PostgresServer, spec: SeedSpec | None) -> Record:
    """Return what is in the database, after loading schema, fixture and seeds (if any) into a new one."""
    kind = "schema" if spec is None else "demo"
    if (record := _found(server.data_dir, kind)) is not None:
        return record
    await _empty(server)
    nonce = secrets.token_hex(16)
    async with await psycopg.AsyncConnection.connect(server.url(DATABASE)) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("schema.sql").read_bytes())
        await connection.execute(fixture_sql(nonce).encode())
        await connection.execute(roles_sql(load_rules(shipped_files()[1])).encode())
    seeded = await _seeded(server.url(DATABASE), spec) if spec else _no_seeds()
    return _kept(server.data_dir, Record(kind=kind, canary_nonce=nonce, seeded=seeded))


async def _seeded(url: str, spec: SeedSpec) -> Seeded:
    seeded = await seed(url, spec)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(resources.files("sidecar.demo").joinpath("signup.sql").read_bytes())
    return seeded


async def load_file(server: PostgresServer, file: Path) -> Record:
    """Run somebody's SQL with psql, as superuser, in an empty database. Raises: UsageError with psql's complaint."""
    if (record := _found(server.data_dir, "file")) is not None:
        return record
    await _empty(server)
    process = await asyncio.create_subprocess_exec(
        *(str(server.binary("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(file)),
        *("-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-d", DATABASE),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", os.defpath), "PGPASSWORD": server.password, "PGCLIENTENCODING": "UTF8"},
    )
    try:
        _, complaint = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode != 0:
        message = f"{file} cannot be loaded: {complaint.decode(errors='replace').strip()}"
        raise UsageError(message)
    return _kept(server.data_dir, Record(kind="file", canary_nonce="", seeded=_no_seeds()))


async def open_login(server: PostgresServer) -> str:
    """Give Sidecar's login a new password; return its URL, or an empty text where a kept database has no such login."""
    password = secrets.token_urlsafe(24)
    given = sql.SQL("alter role sidecar password {}").format(sql.Literal(password))
    async with await psycopg.AsyncConnection.connect(server.url(DATABASE)) as connection:
        found = await connection.execute("select from pg_roles where rolname = 'sidecar'")
        if not found.rowcount:
            return ""
        await connection.execute(given)
    return f"postgresql://sidecar:{password}@127.0.0.1:{server.port}/{DATABASE}"


async def set_faults(server: PostgresServer, faults: frozenset[Fault]) -> None:
    """Turn the named faults of the database on, and every other one off: a kept database may still have them."""
    async with await psycopg.AsyncConnection.connect(server.url(DATABASE)) as connection:
        for fault, change in database_faults().items():
            await connection.execute((change.on if fault in faults else change.off).encode())


def _found(data_dir: Path, kind: str) -> Record | None:
    record = read_record(data_dir)
    if record is not None and record.kind != kind:
        message = f"{data_dir} holds another kind of database ({record.kind}, not {kind}): name another directory"
        raise UsageError(message)
    return record


def _no_seeds() -> Seeded:
    return Seeded(users=0, repairable=0, unrepairable={}, expected_credits=0)


def _kept(data_dir: Path, record: Record) -> Record:
    write_record(data_dir, record)
    return record


async def _empty(server: PostgresServer) -> None:
    """Make the database, without whatever a loading that was cut off left in it."""
    async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as connection:
        await connection.execute(f"drop database if exists {DATABASE} with (force)".encode())
    await server.create_database(DATABASE)
