"""The one statement that writes: rows that do not exist yet, of users that do. It runs as fixer."""

from collections.abc import Sequence

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.batches import AsPlanned, Landed
from sidecar.data.direct.composing import column_of, listed, name_of, records, rows_of
from sidecar.data.direct.relations import AUTH_USERS
from sidecar.data.direct.subjects import is_id
from sidecar.data.exact import exact_json, sent_json
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Rule
from sidecar.errors import AccessDenied, AnswerMalformed, SidecarError, WriteRejected
from sidecar.sessions import Role, error_of, translated

# The server's own name, in no language, of the place where a row is found to break a policy; a privilege that is
# missing has the same SQLSTATE, and halving a batch would not help against that.
POLICY_BROKEN = "ExecWithCheckOptions"

# Whether a row landed as it was planned is asked here: thousands of rows need not travel back to be compared. Equal as
# JSON is equal by value and kind; what is not (an instant that is spelled otherwise) goes back and is compared there.
_INSERT = """
with others as materialized (
  select array(
    select cast(a.attname as text) from pg_attribute a
    where a.attrelid = cast({named} as regclass) and a.attnum > 0 and not a.attisdropped
      and a.attname <> all (cast(%(columns)s as text[]))
  ) as names
), planned as materialized (
  select p.value as given, p.value ->> {key_name} as key from jsonb_array_elements(cast(%(rows)s as jsonb)) p
), landed as (
  insert into {table} as t ({columns})
  select {given} from planned p, jsonb_populate_record(cast(null as {table}), p.given) r
  on conflict ({key}) do nothing
  returning cast({returned_key} as text) as key, to_jsonb(t.*) as whole
), told as (
  select l.key, md5(cast(l.whole as text)) as digest, l.whole - (select names from others) as written, p.given
  from landed l left join planned p on p.key = l.key
)
select count(*) filter (where written = given),
  cast(json_object_agg(key, digest) filter (where written = given) as text),
  cast(json_agg(json_build_array(key, digest, written)) filter (where written is distinct from given) as text)
from told
"""

_GONE = """
select cast(r.id as text) from json_populate_recordset(cast(null as {users}), cast(%(keys)s as json)) r
where not exists (select from {users} u where u.id = r.id)
"""

_TAKE_ROLE = "select set_config('role', %(role)s, true), set_config('row_security', %(row_security)s, true)"


async def insert_rows(connection: AsyncConnection, rule: Rule, rows: Sequence[PlanRow]) -> Landed:
    """Insert rows whose key does not exist and whose user does; return the rows that came to be.

    The conflict target is named, so that only an existing key is passed over: any other conflict is an error.
    Raises: WriteRejected, TransientError, AccessDenied, SchemaMismatch. After each the transaction is over.
    """
    with translated():  # a transaction of the caller's may take what the driver raises for its own trouble
        gone = await _gone(connection, [row.key for row in rows])
    given = sent_json([dict(row.values) for row in rows if row.key not in gone])
    values = {"rows": given, "columns": list(rule.repair.values)}
    try:
        [(count, digests, others)] = await rows_of(connection, insert_of(rule), values)
    except sa.exc.DBAPIError as error:
        raise refusal_of_insert(error) from error
    told = exact_json(others or "[]")
    return Landed(
        rows={key: row for key, _, row in told},
        digests={key: digest for key, digest, _ in told},
        as_planned=AsPlanned(count=count, digests=digests) if count else None,
    )


def insert_of(rule: Rule) -> sql.Composed:
    """Return the insert. Its one row: how many landed as planned, their digests, and (key, digest, row) of the others.

    Bind: rows as JSON, and the names of the columns that they have.
    """
    expects, columns = rule.detect.expects, tuple(rule.repair.values)
    table = name_of(expects.table)
    return sql.SQL(_INSERT).format(
        table=table,
        named=sql.Literal(table.as_string()),  # as regclass reads it
        columns=listed(columns),
        given=listed(columns, "r"),
        key=listed([expects.key]),
        key_name=sql.Literal(expects.key.replace("%", "%%")),
        returned_key=column_of("t", expects.key),
    )


async def _gone(connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
    """Return which users are not there. Only the detector may see users: its role is taken for this one question."""
    ids = [key for key in keys if is_id(key)]
    await _take(connection, Role.DETECTOR, row_security="off")
    statement = sql.SQL(_GONE).format(users=name_of(AUTH_USERS))
    gone = {key for (key,) in await rows_of(connection, statement, {"keys": records("id", ids)})}
    await _take(connection, Role.FIXER, row_security="on")
    return gone | (set(keys) - set(ids))


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
