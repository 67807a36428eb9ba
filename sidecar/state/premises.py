"""What must be in a database before the memory can live there."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.errors import StateUnavailable
from sidecar.sessions import Role

SCHEMA = "sidecar"
MEMORY = f"Sidecar's memory in the database, schema {SCHEMA}"
REMEDY = "run the SQL of `sidecar schema --fixture` as the database's owner, and log in as sidecar in database.url"

_MAY_CREATE = sa.text(
    "SELECT pg_catalog.has_schema_privilege(n.oid, 'CREATE') FROM pg_catalog.pg_namespace n WHERE n.nspname = :schema"
)
_OURS = sa.text("SELECT r.rolname FROM pg_catalog.pg_roles r WHERE pg_catalog.pg_has_role(r.oid, 'MEMBER')")


async def check_premises(connection: AsyncConnection) -> None:
    """Raises: StateUnavailable, in one sentence, where schema or roles are missing or not the login's."""
    may_create = await connection.scalar(_MAY_CREATE, {"schema": SCHEMA})
    missing = [] if may_create is not None else [f"schema {SCHEMA} does not exist"]
    missing += ["the login does not own it"] if may_create is False else []
    ours = set(await connection.scalars(_OURS))
    missing += [f"the login is not in role {role}" for role in Role if role not in ours]
    if missing:
        raise StateUnavailable(f"{MEMORY}: {', '.join(missing)}; {REMEDY}")
