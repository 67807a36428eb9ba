"""What a rule's tables must be like to be read over REST at all, asked of the tables themselves."""

from datetime import datetime

from sidecar.data.rest import Rest
from sidecar.domain.rule import Rule, Table
from sidecar.errors import SchemaMismatch

SAMPLED_ROWS = 10
# Supabase Auth hands out its users in numbered pages, which shift while somebody signs up or goes.
NEEDS_DATABASE = "Supabase Auth cannot be read whole over REST; set database.url, or take the rule out"
KEY_TYPE = "key_type_unsupported: over REST the key must be a uuid"


async def require_premises(rest: Rest, rule: Rule) -> None:
    """Make sure that keys are uuids and that instants name their time zone. Raises: SchemaMismatch."""
    ledger, expects = rule.detect.ledger, rule.detect.expects
    for source in (ledger, expects):
        if not await rest.refuses_text(source.table, source.key):
            raise SchemaMismatch(KEY_TYPE)
        if source.created is not None:
            await _require_zones(rest, source.table, source.created)


async def _require_zones(rest: Rest, table: Table, column: str) -> None:
    """Look at a few instants: PostgREST writes an offset for `timestamp with time zone`, and for no other type."""
    rows, _ = await rest.rows(table, {"select": column, column: "not.is.null", "limit": str(SAMPLED_ROWS)})
    for row in rows:
        require_zone(table, column, instant(row[column]))


def require_zone(table: Table, column: str, found: datetime | None) -> None:
    """Raise SchemaMismatch for an instant without a zone: only the database knows which one was meant."""
    if found is not None and found.tzinfo is None:
        raise SchemaMismatch(f"{table}: {column} has no time zone; it must be timestamptz")


def instant(value: object) -> datetime | None:
    """Read an instant; None for what no calendar of ours holds (null, infinity, years before 1 or after 9999)."""
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None
