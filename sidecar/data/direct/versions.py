"""Which versions of rows a subject's facts were read from: where none has moved since, the facts are what they were.

Every change of a row makes a version with another place or another transaction (`ctid`, `xmin`), and no two versions
that ever existed share both. So the same set of versions is the same set of rows, whatever is in them. A column that is
renamed, dropped or added with a default changes what rows say and leaves their versions alone, so versions of columns
count too. A table that was written anew (VACUUM FULL) has moved without having changed: then facts are read once more
for nothing, as after a GRANT on a column.
"""

from collections.abc import Mapping, Sequence

from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.data.direct.composing import column_of, name_of, records, rows_of
from sidecar.data.direct.relations import AUTH_USERS
from sidecar.data.direct.subjects import is_id
from sidecar.data.exact import sent_json
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import FromSubject, Rule, Table

_VERSIONS = """
select asked.key, md5(concat(shape.version, '/', moves.versions, '/', u.tableoid, u.ctid, '.', u.xmin)) as version
from json_to_recordset(cast(%(asked)s as json)) asked (key text)
join {users} u on u.id = cast(asked.key as uuid)
cross join (
  select md5(string_agg(concat(a.attrelid, a.ctid, '.', a.xmin), ',' order by a.attrelid, a.attnum)) as version
  from pg_attribute a where a.attrelid in ({tables}) and a.attnum > 0
) shape
{movements}
"""
_MOVEMENTS = """
left join (
  select cast({key} as text) as key,
    string_agg(concat(l.tableoid, l.ctid, '.', l.xmin), ',' order by l.tableoid, l.ctid) as versions
  from {ledger} l
  where {key} = any (array(
    select {sought} from json_populate_recordset(cast(null as {ledger}), cast(%(keys)s as json)) r
  ))
  group by {key}
) moves on moves.key = asked.key
"""
_NO_MOVEMENTS = "cross join (select '' as versions) moves"
_MOVED = """
select asked.key
from json_to_recordset(cast(%(asked)s as json)) asked (key text, version text)
left join ({versions}) found on found.key = asked.key
where found.version is distinct from asked.version
"""
_TAKEN = """
union
select cast({key} as text)
from json_populate_recordset(cast(null as {target}), cast(%(emails)s as json)) r
join {target} e on {theirs} = {ours}
where {their_key} is distinct from {key}
"""


_SHOWN = """
select bool_and(has_column_privilege('auth.users', named, 'select'))
from unnest(array['tableoid', 'ctid', 'xmin']) named
"""


async def read_versions(connection: AsyncConnection, rule: Rule, keys: Sequence[str]) -> Mapping[str, str]:
    """Return the version of each subject's facts; a key without a user has none.

    None has one where the roles were made before versions were read: then every row is read again before it is written.
    """
    [(shown,)] = await rows_of(connection, sql.SQL(_SHOWN), {})
    if not shown:
        return {}
    return dict(await rows_of(connection, _versions(rule), _asked(rule, keys, {})))


async def find_moved(connection: AsyncConnection, rule: Rule, rows: Sequence[PlanRow]) -> frozenset[str]:
    """Return the keys whose facts may have changed since they were planned, or whose e-mail somebody else has by now.

    A row that was planned without a version has moved, as far as anybody can tell.
    """
    known = {row.key: row.version for row in rows if row.version}
    if not known:
        return frozenset(row.key for row in rows)
    moved = sql.SQL(_MOVED).format(versions=_versions(rule))
    values = _asked(rule, list(known), known)
    if (column := email_column(rule)) is not None:
        key = rule.detect.expects.key
        moved += _taken(rule, column)
        emails = [{key: row.key, column: row.values.get(column)} for row in rows if row.version]
        values = {**values, "emails": sent_json(emails)}
    found = await rows_of(connection, moved, values)
    return frozenset(row.key for row in rows if not row.version) | {key for (key,) in found}


def email_column(rule: Rule) -> str | None:
    """Return the column that holds the subject's e-mail, which must be nobody else's."""
    values = rule.repair.values.items()
    return next((name for name, s in values if isinstance(s, FromSubject) and s.path == ("email",)), None)


def _asked(rule: Rule, keys: Sequence[str], versions: Mapping[str, str]) -> dict[str, str]:
    ids = [key for key in keys if is_id(key)]
    asked = sent_json([{"key": key, "version": versions.get(key)} for key in ids])
    movements = rule.detect.movements
    return {"asked": asked} | ({} if movements is None else {"keys": records(movements.key, ids)})


def _versions(rule: Rule) -> sql.Composed:
    movements = rule.detect.movements
    joined: sql.Composable = sql.SQL(_NO_MOVEMENTS)
    if movements is not None:
        joined = sql.SQL(_MOVEMENTS).format(
            ledger=name_of(movements.table),
            key=column_of("l", movements.key),
            sought=column_of("r", movements.key),
        )
    tables = [name_of(table) for table in (AUTH_USERS, *([] if movements is None else [movements.table]))]
    oids = [sql.SQL("cast({} as regclass)").format(sql.Literal(name.as_string())) for name in tables]
    return sql.SQL(_VERSIONS).format(users=name_of(AUTH_USERS), tables=sql.SQL(", ").join(oids), movements=joined)


def _taken(rule: Rule, column: str) -> sql.Composed:
    target: Table = rule.detect.expects.table
    key = rule.detect.expects.key
    return sql.SQL(_TAKEN).format(
        target=name_of(target),
        key=column_of("r", key),
        their_key=column_of("e", key),
        ours=column_of("r", column),
        theirs=column_of("e", column),
    )
