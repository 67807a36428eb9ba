"""The one statement that writes: rows that do not exist yet, of users that do. It runs as fixer."""

from collections.abc import Sequence

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.data.direct.composing import column_of, listed, name_of, records, rows_of
from sidecar.data.direct.digest import digest_of
from sidecar.data.direct.relations import AUTH_USERS
from sidecar.data.exact import exact_json, sent_json
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Rule
from sidecar.errors import AccessDenied, AnswerMalformed, SidecarError, WriteRejected
from sidecar.ports import Landed
from sidecar.sessions import Role, error_of, translated

# The server's own name, in no language, of the place where a row is found to break a policy; a privilege that is
# missing has the same SQLSTATE, and halving a batch would not help against that.
POLICY_BROKEN = "ExecWithCheckOptions"

_INSERT = """
insert into {table} as t ({columns})
select {given}
from json_populate_recordset(cast(null as {table}), cast(%(rows)s as json)) r
on conflict ({key}) do nothing
returning cast({returned_key} as text), (select cast(row_to_json(x) as text) from (select {returned}) x), {digest}
"""

_USERS = """
select cast(u.id as text) from {users} u
where u.id = any (array(select r.id from json_populate_recordset(cast(null as {users}), cast(%(keys)s as json)) r))
"""

_TAKE_ROLE = "select set_config('role', %(role)s, true), set_config('row_security', %(row_security)s, true)"


async def insert_rows(connection: AsyncConnection, rule: Rule, rows: Sequence[PlanRow]) -> Landed:
    """Insert rows whose key does not exist and whose user does; return the rows that came to be.

    The conflict target is named, so that only an existing key is passed over: any other conflict is an error.
    Raises: WriteRejected, TransientError, AccessDenied, SchemaMismatch. After each the transaction is over.
    """
    with translated():  # a transaction of the caller's may take what the driver raises for its own trouble
        users = await _users(connection, [row.key for row in rows])
    statement = insert_of(rule)
    given = sent_json([dict(row.values) for row in rows if row.key in users])
    try:
        landed = await rows_of(connection, statement, {"rows": given})
    except sa.exc.DBAPIError as error:
        raise refusal_of_insert(error) from error
    return Landed(
        rows={key: exact_json(text) for key, text, _ in landed}, digests={key: digest for key, _, digest in landed}
    )


def insert_of(rule: Rule) -> sql.Composed:
    """Return the insert: (key, row as JSON, digest) of each row that came to be. Bind: rows, as JSON."""
    expects, columns = rule.detect.expects, tuple(rule.repair.values)
    return sql.SQL(_INSERT).format(
        table=name_of(expects.table),
        columns=listed(columns),
        given=listed(columns, "r"),
        key=listed([expects.key]),
        returned_key=column_of("t", expects.key),
        returned=listed(columns, "t"),
        digest=digest_of("t"),
    )


async def _users(connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
    """Return which users exist by now. Only the detector may see users, so its role is taken for this one question."""
    await _take(connection, Role.DETECTOR, row_security="off")
    statement = sql.SQL(_USERS).format(users=name_of(AUTH_USERS))
    users = {key for (key,) in await rows_of(connection, statement, {"keys": records("id", keys)})}
    await _take(connection, Role.FIXER, row_security="on")
    return users


async def _take(connection: AsyncConnection, role: Role, *, row_security: str) -> None:
    await rows_of(connection, sql.SQL(_TAKE_ROLE), {"role": str(role), "row_security": row_security})


def refusal_of_insert(error: sa.exc.DBAPIError) -> SidecarError:
    """Tell what is about rows, after which nothing was written and halves may be tried, from everything else."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    found = error_of(error)
    of_rows = isinstance(found, AnswerMalformed) and not state.startswith("42")  # a trigger may raise any SQLSTATE
    if of_rows or (isinstance(found, AccessDenied) and _breaks_policy(error)):
        return WriteRejected(f"the database refused with {state}", state, 0)
    return found


def _breaks_policy(error: sa.exc.DBAPIError) -> bool:
    return getattr(getattr(error.orig, "diag", None), "source_function", None) == POLICY_BROKEN
