"""Take written rows back: which of them could go, and the one DELETE. Runs as detector and operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.batches import Transaction
from sidecar.data.direct.composing import column_of, name_of, records, rows_of
from sidecar.data.direct.digest import digest_of
from sidecar.data.exact import sent_json
from sidecar.domain.rule import Rule, Table
from sidecar.domain.undo import Removal
from sidecar.errors import AnswerMalformed
from sidecar.sessions import Role, Sessions, translated

KEYS_AT_ONCE = 1000

# Every foreign key that refers to the table, whatever it does on delete: CASCADE would take the rows along, SET NULL
# would change them. A key of a partition is its parent's; one that refers to a partition of the table alone counts too.
_CHILDREN = """
select n.nspname, c.relname,
  array(select cast(a.attname as text) from unnest(k.conkey) with ordinality part (attnum, place)
        join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = part.attnum order by part.place),
  array(select cast(a.attname as text) from unnest(k.confkey) with ordinality part (attnum, place)
        join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = part.attnum order by part.place)
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where k.contype = 'f' and k.conparentid = 0 and k.confrelid in (
  select coalesce(part.relid, t.oid)
  from pg_catalog.pg_class t join pg_catalog.pg_namespace s on s.oid = t.relnamespace
  left join lateral pg_catalog.pg_partition_tree(t.oid) part on true
  where s.nspname = %(schema)s and t.relname = %(name)s
)
order by 1, 2
"""

_NAMED = """
{key} = any (array(
  select {sought} from json_populate_recordset(cast(null as {table}), cast(%(keys)s as json)) r
))
"""
_FOUND = "select cast({key} as text), {digest} from {table} t where {named} {locked}"
_WITH_DEPENDANTS = "select cast({key} as text) from {table} t where {named} and ({dependants})"
_DELETE = """
delete from {table} t where {named}
  and (cast({key} as text), {digest}) in (
    select named.key, named.digest from json_to_recordset(cast(%(written)s as json)) named (key text, digest text)
  )
returning cast({key} as text)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A foreign key that refers to the target: its table, its columns, and those they refer to."""

    table: Table
    columns: tuple[str, ...]
    refers_to: tuple[str, ...]


class Undoing:
    """Removes rows that a run inserted. Part of what implements `sidecar.afterwards.Direct`."""

    def __init__(self, sessions: Sessions) -> None:
        """Read through `sessions`; what is removed is removed in the transaction that is handed in."""
        self._sessions = sessions

    async def standing(self, rule: Rule, written: Mapping[str, str]) -> Mapping[str, Removal]:
        """Say of each key, mapped to the digest of its row as it landed, whether the row could be removed now."""
        judged: dict[str, Removal] = {}
        async with self._sessions.reading(Role.DETECTOR) as connection:
            for some in _pieces(written):
                found = await _found(connection, rule, list(some), lock=False)
                judged |= _judged(some, found, await _with_dependants(connection, rule, list(some)))
        return judged

    async def remove(self, rule: Rule, written: Mapping[str, str], transaction: Transaction) -> Mapping[str, Removal]:
        """Delete the rows that are still as written and without dependants; say of each key what became of it.

        The rows are locked first: whoever adds a dependant locks its row too, so that none can come between the look
        at the dependants and the DELETE. One statement alone would take along what was added while it waited.
        """
        if not isinstance(transaction, AsyncConnection):
            raise AnswerMalformed("the memory does not share this database's transactions")
        with translated():
            found = await _found(transaction, rule, list(written), lock=True)
            await _become(transaction, Role.DETECTOR, row_security="off")
            judged = _judged(written, found, await _with_dependants(transaction, rule, list(written)))
            going = {key: written[key] for key, removal in judged.items() if removal is Removal.REMOVABLE}
            await _become(transaction, Role.OPERATOR, row_security="on")
            gone = await _delete(transaction, rule, going)
            await _become(transaction, Role.FIXER, row_security="on")
        if gone != going.keys():
            raise AnswerMalformed("rows that were locked as they were written could not be deleted")
        return {key: Removal.UNDONE if key in gone else removal for key, removal in judged.items()}


def _pieces(written: Mapping[str, str]) -> list[dict[str, str]]:
    pairs = list(written.items())
    return [dict(pairs[start : start + KEYS_AT_ONCE]) for start in range(0, len(pairs), KEYS_AT_ONCE)]


def _judged(written: Mapping[str, str], found: Mapping[str, str], with_dependants: set[str]) -> dict[str, Removal]:
    judged: dict[str, Removal] = {}
    for key, digest in written.items():
        if key not in found:
            judged[key] = Removal.GONE
        elif not digest:
            judged[key] = Removal.NO_DIGEST
        elif found[key] != digest:
            judged[key] = Removal.EDITED
        else:
            judged[key] = Removal.HAS_DEPENDANTS if key in with_dependants else Removal.REMOVABLE
    return judged


async def _found(connection: AsyncConnection, rule: Rule, keys: Sequence[str], *, lock: bool) -> dict[str, str]:
    """Return the digest of each row that exists, locked if so asked: against change, and against new dependants."""
    # In one order for everybody, so that two who lock the same rows wait for each other and do not deadlock.
    locked = sql.SQL("order by {key} for update").format(key=column_of("t", rule.detect.expects.key))
    statement = _composed(_FOUND, rule, locked=locked if lock else sql.SQL(""))
    rows = await rows_of(connection, statement, {"keys": records(rule.detect.expects.key, keys)})
    return {str(key): str(digest) for key, digest in rows}


async def _with_dependants(connection: AsyncConnection, rule: Rule, keys: Sequence[str]) -> set[str]:
    children = await _children(connection, rule.detect.expects.table)
    if not children:
        return set()
    dependants = sql.SQL(" or ").join(_exists(child, place) for place, child in enumerate(children))
    statement = _composed(_WITH_DEPENDANTS, rule, dependants=dependants)
    rows = await rows_of(connection, statement, {"keys": records(rule.detect.expects.key, keys)})
    return {key for (key,) in rows}


async def _children(connection: AsyncConnection, table: Table) -> list[Child]:
    found = await rows_of(connection, sql.SQL(_CHILDREN), {"schema": table.schema, "name": table.name})
    return [
        Child(table=Table(schema, name), columns=tuple(columns), refers_to=tuple(refers_to))
        for schema, name, columns, refers_to in found
    ]


def _exists(child: Child, place: int) -> sql.Composed:
    alias = f"c{place}"
    pairs = zip(child.columns, child.refers_to, strict=True)
    joined = sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(column_of(alias, own), column_of("t", other)) for own, other in pairs
    )
    return sql.SQL("exists (select from {table} {alias} where {joined})").format(
        table=name_of(child.table), alias=sql.Identifier(alias), joined=joined
    )


async def _delete(connection: AsyncConnection, rule: Rule, written: Mapping[str, str]) -> set[str]:
    if not written:
        return set()
    pairs = [{"key": key, "digest": digest} for key, digest in written.items()]
    values = {"keys": records(rule.detect.expects.key, list(written)), "written": sent_json(pairs)}
    return {key for (key,) in await rows_of(connection, _composed(_DELETE, rule), values)}


def _composed(statement: str, rule: Rule, **parts: sql.Composable) -> sql.Composed:
    expects = rule.detect.expects
    table, key = name_of(expects.table), column_of("t", expects.key)
    named = sql.SQL(_NAMED).format(table=table, key=key, sought=column_of("r", expects.key))
    return sql.SQL(statement).format(**{"table": table, "key": key, "named": named, "digest": digest_of("t"), **parts})


async def _become(connection: AsyncConnection, role: Role, *, row_security: str) -> None:
    """Go on as another role, for the rest of this transaction at most.

    Without row security a policy that would hide a dependant is an error, and no row is deleted by mistake.
    """
    settings = {"role": str(role), "row_security": row_security}
    bound = [sa.func.set_config(name, value, sa.true()) for name, value in settings.items()]
    await connection.execute(sa.select(*bound))
