"""Schema `sidecar` of a PostgreSQL database: made as the tables say, and closed to whom it does not concern."""

import asyncio

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from sidecar.demo.postgres import PostgresServer
from sidecar.domain.run import RowResult, Settled
from sidecar.errors import StateUnavailable
from sidecar.ports import State
from sidecar.sessions import Role
from sidecar.state.open import open_state
from sidecar.state.postgres import PostgresDatabase
from sidecar.state.tables import APPEND_ONLY, metadata, run_rows
from tests.state.cast import KEYS, NOW, RULE, TABLE, later, started, take
from tests.state.in_postgres import PROJECT, execute, expire, make_roles, rows_of
from tests.state.test_audit import CHANGES
from tests.state.test_file import same_type

OUTSIDERS = ("anon", "authenticated", "service_role")
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def differences(connection: sa.Connection) -> object:
    options = {"compare_type": same_type, "compare_server_default": True, "include_schemas": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


async def test_the_migrations_build_what_the_tables_say_in_postgresql(admin_url: str) -> None:
    engine = sa.create_engine(sa.make_url(admin_url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        # The tables name no schema; the search path stands in for the translation.
        connection.exec_driver_sql("SET search_path = sidecar")
        connection.dialect.default_schema_name = "sidecar"
        found = differences(connection)
    engine.dispose()
    assert [d for d in found if d[0] != "remove_table"] == []  # type: ignore[attr-defined]  # Alembic's own table, auth's


async def privileges(admin_url: str, role: str) -> dict[str, set[str]]:
    """Return what a role may do with each table of the memory, columns included."""
    query = (
        "SELECT c.relname AS name, v.verb FROM pg_class c, unnest(%s::text[]) v (verb) "
        "WHERE c.relnamespace = 'sidecar'::regnamespace AND c.relkind = 'r' AND (has_table_privilege(%s, c.oid, v.verb)"
        " OR v.verb IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') AND has_any_column_privilege(%s, c.oid, v.verb))"
    )
    found: dict[str, set[str]] = {}
    async with await psycopg.AsyncConnection.connect(admin_url) as connection:
        for name, verb in await (await connection.execute(query.encode(), (list(VERBS), role, role))).fetchall():
            found.setdefault(name, set()).add(verb)
    return found


@pytest.mark.parametrize("role", [Role.FIXER, Role.OPERATOR])
async def test_writers_add_to_evidence_and_never_change_it(admin_url: str, role: Role) -> None:
    found = await privileges(admin_url, role)
    assert found.keys() == {table.name for table in metadata.tables.values()}
    for table in APPEND_ONLY:
        assert found[table.name] == {"SELECT", "INSERT"}
    may_delete = {name for name, verbs in found.items() if "DELETE" in verbs}
    assert may_delete == {"baselines", "confirmations", "quarantine"}
    assert not set().union(*found.values()) & {"TRUNCATE", "REFERENCES", "TRIGGER"}


async def test_the_detector_reads_and_nobody_else_does_anything(admin_url: str) -> None:
    found = await privileges(admin_url, Role.DETECTOR)
    assert found.keys() == {table.name for table in metadata.tables.values()}
    assert all(verbs == {"SELECT"} for verbs in found.values())
    for outsider in OUTSIDERS:
        assert await privileges(admin_url, outsider) == {}


async def test_row_level_security_is_on_for_every_table(admin_url: str) -> None:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'sidecar'::regnamespace AND relkind = 'r'"
    tables = await rows_of(admin_url, query)
    assert len(tables) == len(metadata.tables) + 1
    assert await rows_of(admin_url, f"{query} AND NOT relrowsecurity") == []


async def test_a_grant_by_mistake_shows_nothing(admin_url: str, memory_url: str) -> None:
    async with open_state(memory_url) as state:
        await state.freeze(RULE, "olga", "why", NOW)
    await execute(admin_url, "GRANT USAGE ON SCHEMA sidecar TO anon", "GRANT SELECT ON sidecar.audit TO anon")
    async with await psycopg.AsyncConnection.connect(admin_url) as connection:
        await connection.execute("SET LOCAL ROLE anon")
        assert await (await connection.execute("SELECT * FROM sidecar.audit")).fetchall() == []


FORBIDDEN = [
    "UPDATE sidecar.audit SET actor = 'nobody'",
    "DELETE FROM sidecar.audit",
    "UPDATE sidecar.snapshots SET amount = '999999'",
    "DELETE FROM sidecar.attestations",
    "UPDATE sidecar.batches SET row_count = 0",
    "DELETE FROM sidecar.run_rows",
    "TRUNCATE sidecar.audit",
    "DROP TABLE sidecar.audit",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_evidence_and_trail_are_append_only_for_whoever_writes(memory_url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(memory_url) as connection:
        await connection.execute("SET LOCAL ROLE sidecar_fixer")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_every_change_is_within_the_writers_grants(memory_url: str) -> None:
    async with open_state(memory_url) as state:
        for name, (change, _) in CHANGES.items():
            if name == "acquire again":
                await expire(memory_url)
            await change(state)
        assert await state.holder(TABLE) is not None


async def test_leases_run_by_the_databases_clock_alone(memory_url: str) -> None:
    async with open_state(memory_url) as state:
        assert await state.acquire(TABLE, "daemon", 10, later(-86400)) == 1
        assert await state.acquire(TABLE, "cli", 10, later(86400)) is None
        assert await state.claim_tick(RULE, 300, "daemon", later(-86400))
        assert not await state.claim_tick(RULE, 300, "cli", later(86400))
        await expire(memory_url)
        assert await state.acquire(TABLE, "cli", 10, later(-86400)) == 2


async def test_a_database_without_schema_and_roles_is_told_in_one_sentence(
    postgres_server: PostgresServer, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_server.url(), autocommit=True) as connection:
        await connection.execute("DROP ROLE IF EXISTS stranger")
        await connection.execute(
            psycopg.sql.SQL("CREATE ROLE stranger LOGIN PASSWORD {}").format(postgres_server.password)
        )
    url = database_url.replace("//postgres:", "//stranger:")
    with pytest.raises(StateUnavailable) as caught:
        async with open_state(url):
            pass
    assert str(caught.value) == (
        "Sidecar's memory in the database, schema sidecar: schema sidecar does not exist, "
        "the login is not in role sidecar_detector, the login is not in role sidecar_fixer, "
        "the login is not in role sidecar_operator; run the SQL of `sidecar schema --fixture` as the database's owner, "
        "and log in as sidecar in database.url"
    )


async def test_a_schema_of_somebody_elses_is_told(postgres_server: PostgresServer, database_url: str) -> None:
    url = await make_roles(postgres_server, database_url.rsplit("/", 1)[1])
    await execute(database_url, "ALTER SCHEMA sidecar OWNER TO postgres")
    with pytest.raises(StateUnavailable, match=r"schema sidecar: the login does not own it; run the SQL"):
        async with open_state(url):
            pass


async def test_a_newer_schema_in_the_database_is_left_alone(memory_url: str) -> None:
    await execute(memory_url, "UPDATE sidecar.alembic_version SET version_num = '9999'")
    with pytest.raises(StateUnavailable, match=r"has schema 9999, .* up to 0002: a newer Sidecar wrote it"):
        async with open_state(memory_url):
            pass


async def test_a_server_that_does_not_answer_is_told_without_the_password() -> None:
    with pytest.raises(StateUnavailable, match="did not answer") as caught:
        async with open_state("postgresql://sidecar:geheim@127.0.0.1:1/postgres"):
            pass
    assert "geheim" not in str(caught.value)


async def test_a_table_that_is_gone_or_locked_is_told_without_values(admin_url: str, memory_url: str) -> None:
    async with open_state(memory_url) as state:
        async with await psycopg.AsyncConnection.connect(admin_url) as other:
            await other.execute("LOCK TABLE sidecar.freezes")
            with pytest.raises(StateUnavailable, match="55P03"):
                await state.freeze(RULE, "olga", "asked by alice@example.org", NOW)
        await execute(admin_url, "ALTER TABLE sidecar.freezes RENAME TO gone")
        with pytest.raises(StateUnavailable, match="42P01") as caught:
            await state.freeze(RULE, "olga", "asked by alice@example.org", NOW)
    assert "alice@example.org" not in f"{caught.value} {caught.value.__cause__}"


async def test_a_row_that_the_memory_may_not_hold_is_a_bug_and_passes_as_it_is(memory_url: str) -> None:
    async with open_state(memory_url) as state:
        with pytest.raises(sa.exc.IntegrityError, match="fk_run_rows_run_id"):
            await insert_orphan(state)


async def insert_orphan(state: State) -> None:
    database = state._database  # type: ignore[attr-defined]  # the guard is below the port
    assert isinstance(database, PostgresDatabase)
    orphan = run_rows.insert().values(
        run_id="run-9", key="alice", position=0, result="planned", reason="", written="", in_flight=False
    )
    async with database.writing() as connection:
        await connection.execute(orphan)


async def test_rows_that_a_stranger_keeps_locked_are_not_waited_for(admin_url: str, memory_url: str) -> None:
    async with open_state(memory_url) as state:
        epoch = await take(state)
        await started(state, epoch)
        async with await psycopg.AsyncConnection.connect(admin_url) as stranger:
            await stranger.execute("SELECT * FROM sidecar.run_rows WHERE key = 'alice' FOR UPDATE")
            with pytest.raises(StateUnavailable, match="somebody else keeps rows of run run-1 locked"):
                async with asyncio.timeout(1.5), state.batch("run-1", TABLE, epoch, KEYS[:2], NOW):
                    pytest.fail("the batch was opened")


async def test_settling_rows_leaves_the_indexes_alone(admin_url: str, memory_url: str) -> None:
    counts = (
        "SELECT n_tup_upd AS changed, n_tup_hot_upd AS within_page FROM pg_stat_all_tables WHERE relname = 'run_rows'"
    )
    async with open_state(memory_url) as state:
        epoch = await take(state)
        await started(state, epoch)
        async with state.batch("run-1", TABLE, epoch, KEYS, NOW) as batch:
            await batch.settle(dict.fromkeys(KEYS, Settled(result=RowResult.INSERTED, written="d" * 64)), NOW)
    async with asyncio.timeout(10):
        while (found := await rows_of(admin_url, counts))[0]["changed"] == 0:  # noqa: ASYNC110  # counted with a delay
            await asyncio.sleep(0.05)
    assert found == [{"changed": len(KEYS), "within_page": len(KEYS)}]


async def test_making_roles_again_leaves_the_memory_as_it_is(postgres_server: PostgresServer, memory_url: str) -> None:
    async with open_state(memory_url) as state:
        await state.freeze(RULE, "olga", "why", NOW)
    assert "CREATE ROLE anon" in PROJECT
    again = await make_roles(postgres_server, memory_url.rsplit("/", 1)[1])
    async with open_state(again) as state:
        assert await state.frozen(RULE) is not None


async def test_the_books_order_is_that_of_bytes_whatever_the_databases_language(admin_url: str) -> None:
    """This server knows no language, so the column is asked what it would do on one that does."""
    query = (
        "SELECT l.collname FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation "
        "WHERE a.attrelid = 'sidecar.snapshots'::regclass AND a.attname = 'key'"
    )
    assert await rows_of(admin_url, query) == [{"collname": "C"}]
