"""Who may do what with the memory's tables on PostgreSQL. Revisions call it last; tables of theirs are found."""

from collections.abc import Collection

import sqlalchemy as sa
from psycopg import sql

SCHEMA = "sidecar"
VERSIONS = "alembic_version"  # the owner's alone
OUTSIDERS = ("anon", "authenticated", "service_role")  # Supabase's API; absent elsewhere

# Row level security is on, so that a grant by mistake still shows nothing. The detector sees through it.
CLOSE = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON TABLE {table} FROM {outsiders};
"""
OPEN = """
GRANT SELECT ON TABLE {table} TO sidecar_detector;
GRANT {verbs} ON TABLE {table} TO sidecar_fixer, sidecar_operator;
CREATE POLICY sidecar_writes ON {table} TO sidecar_fixer, sidecar_operator USING (true) WITH CHECK (true);
"""
GRANTED = "SELECT tablename FROM pg_catalog.pg_policies WHERE schemaname = 'sidecar' AND policyname = 'sidecar_writes'"


def grant_all(bind: sa.Connection, *, append_only: Collection[str], swept: Collection[str]) -> None:
    """Let the roles do what the program does with tables that nobody granted yet, and everybody else nothing.

    Rows of `append_only` tables are neither changed nor deleted, rows of `swept` ones both, all others changed only.
    """
    known = set(bind.scalars(sa.text("SELECT rolname FROM pg_catalog.pg_roles")))
    outsiders = [sql.SQL("PUBLIC"), *(sql.Identifier(role) for role in OUTSIDERS if role in known)]
    granted = set(bind.scalars(sa.text(GRANTED)))
    names = [name for name in sa.inspect(bind).get_table_names(schema=SCHEMA) if name not in granted]
    if missing := {*append_only, *swept}.difference(names):
        raise ValueError(f"no such tables: {', '.join(sorted(missing))}")
    for name in names:
        table = sql.Identifier(SCHEMA, name)
        _run(bind, sql.SQL(CLOSE).format(table=table, outsiders=sql.SQL(", ").join(outsiders)))
        if name != VERSIONS:
            verbs = ["SELECT", "INSERT", *([] if name in append_only else ["UPDATE"])]
            verbs += ["DELETE"] if name in swept else []
            _run(bind, sql.SQL(OPEN).format(table=table, verbs=sql.SQL(", ").join(map(sql.SQL, verbs))))


def _run(bind: sa.Connection, statements: sql.Composed) -> None:
    bind.exec_driver_sql(statements.as_string())
