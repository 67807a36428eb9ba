"""Users read from `auth.users`, in the shape in which the Auth admin API shows them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import InvalidOperation
from typing import Any
from uuid import UUID

from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.data.auth import Missing, subject_of
from sidecar.data.direct.composing import records, rows_of
from sidecar.data.direct.relations import AUTH_USERS
from sidecar.data.direct.statements import by_key
from sidecar.data.exact import exact_json
from sidecar.domain.look import Subject
from sidecar.errors import AnswerMalformed, SchemaMismatch

NEEDED = ("id", "email", "created_at")
# What the API shows besides; a project's version of Supabase Auth may lack some of them. Passwords and tokens are none.
SHOWN = (
    *("aud", "role", "phone", "raw_app_meta_data", "raw_user_meta_data", "is_anonymous", "updated_at"),
    *("email_confirmed_at", "phone_confirmed_at", "confirmed_at", "last_sign_in_at", "banned_until", "deleted_at"),
)
_OMITTED_WHEN_NULL = SHOWN[-6:]

_THERE = """
select a.attname from pg_attribute a
join pg_class c on c.oid = a.attrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'auth' and c.relname = 'users' and a.attnum > 0 and not a.attisdropped
  and a.attname = any (cast(%(wanted)s as text[]))
"""


async def read_subjects(
    connection: AsyncConnection, keys: Sequence[str], now: datetime
) -> Mapping[str, Subject | Missing]:
    """Read each user by id; one whose record makes no sense is unreadable, and says nothing about the others."""
    there = {name for (name,) in await rows_of(connection, sql.SQL(_THERE), {"wanted": [*NEEDED, *SHOWN]})}
    if lacking := [name for name in NEEDED if name not in there]:
        raise SchemaMismatch(f"auth.users has no column {', '.join(lacking)}")
    columns = tuple(name for name in (*NEEDED, *SHOWN) if name in there)
    statement = by_key(AUTH_USERS, "id", columns)
    found = await rows_of(connection, statement, {"keys": records("id", [key for key in keys if is_id(key)])})
    return dict.fromkeys(keys, Missing.GONE) | {key: _read(key, text, now) for key, text in found}


def is_id(key: str) -> bool:
    """Say whether a key spells a uuid as PostgreSQL does; no user has another one."""
    try:
        return str(UUID(key)) == key
    except ValueError:
        return False


def _read(key: str, text: str, now: datetime) -> Subject | Missing:
    try:
        return subject_of(_shown(exact_json(text)), key, now)
    except (AnswerMalformed, ValueError, RecursionError, InvalidOperation):
        return Missing.UNREADABLE


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Render a user as Supabase Auth does. Source: its `User` model and the names and omissions of its JSON."""
    shown = {
        "id": row["id"],
        "aud": row.get("aud") or "authenticated",
        "role": row.get("role") or "authenticated",
        "email": row["email"] or "",
        "phone": row.get("phone") or "",
        "app_metadata": row.get("raw_app_meta_data") or {},
        "user_metadata": row.get("raw_user_meta_data") or {},
        "is_anonymous": row.get("is_anonymous") or False,
        "identities": [],
        "created_at": row["created_at"],
        "updated_at": row.get("updated_at") or row["created_at"],
    }
    return shown | {name: row[name] for name in _OMITTED_WHEN_NULL if row.get(name) is not None}
