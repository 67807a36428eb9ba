"""The digest of a whole row as PostgreSQL itself computes it: what a correction and an undo compare with."""

from psycopg import sql


def digest_of(alias: str) -> sql.Composed:
    """Return the digest of the row that a statement calls `alias`.

    Every column counts, also those that defaults and triggers filled. The text of JSON depends on no setting but the
    time zone, which every transaction of ours sets to UTC. `alias.*` is the row even where a column bears that name.
    """
    return sql.SQL("md5(cast(to_jsonb({row}.*) as text))").format(row=sql.Identifier(alias))
