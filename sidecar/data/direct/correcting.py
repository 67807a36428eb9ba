"""Put right the money of a row that a writer of the ledger raced: the only UPDATE there is. Runs as fixer."""

from collections.abc import Mapping, Sequence

from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.batches import Transaction
from sidecar.data.direct.composing import column_of, name_of, records, rows_of
from sidecar.data.direct.digest import digest_of
from sidecar.domain.rule import Amount, Rule
from sidecar.errors import AnswerMalformed
from sidecar.sessions import Role, Sessions, translated

_CORRECT = """
update {table} t set {money} = %(amount)s
where {key} = (select {sought} from json_populate_recordset(cast(null as {table}), cast(%(keys)s as json)) r)
  and {old_money} = %(was)s and {digest} = %(written)s
returning {digest}
"""
_DOUBLED = """
select count(*) from (
  select from {table} t where {key} = any (array(
    select {sought} from json_populate_recordset(cast(null as {table}), cast(%(keys)s as json)) r
  )) group by {key} having count(*) > 1
) doubled
"""
_MARKED = """
select cast({key} as text) from {table} t where cast({column} as jsonb) ->> %(name)s = %(plan)s
"""


class Correcting:
    """Corrects rows, and counts those that nobody planned. Part of what implements `sidecar.afterwards.Direct`."""

    def __init__(self, sessions: Sessions) -> None:
        """Read through `sessions`; a row is corrected in the transaction that is handed in."""
        self._sessions = sessions

    async def correct(
        self, rule: Rule, key: str, *, was: Amount, written: str, amount: Amount, transaction: Transaction
    ) -> str | None:
        """Set one row's money if the row still has the digest `written` and holds `was`; return its new digest.

        A writer who is at work on the row is waited for, and PostgreSQL asks the condition again of what he left.
        """
        if not isinstance(transaction, AsyncConnection):
            raise AnswerMalformed("the memory does not share this database's transactions")
        expects, money = rule.detect.expects, rule.balance_column
        statement = sql.SQL(_CORRECT).format(
            table=name_of(expects.table),
            money=sql.Identifier(money.replace("%", "%%")),
            old_money=column_of("t", money),
            key=column_of("t", expects.key),
            sought=column_of("r", expects.key),
            digest=digest_of("t"),
        )
        values = {"amount": amount, "was": was, "written": written, "keys": records(expects.key, [key])}
        with translated():
            rows = await rows_of(transaction, statement, values)
        return str(rows[0][0]) if rows else None

    async def unplanned(self, rule: Rule, keys: Sequence[str], plan_id: str) -> Mapping[str, int]:
        """Count rows that nobody planned: a second one for a key, and rows with the plan's mark for other keys."""
        counts: dict[str, int] = {}
        expects = rule.detect.expects
        names = {
            "table": name_of(expects.table),
            "key": column_of("t", expects.key),
            "sought": column_of("r", expects.key),
        }
        async with self._sessions.reading(Role.DETECTOR) as connection:
            doubled = sql.SQL(_DOUBLED).format(**names)
            [(counts["row_doubled"],)] = await rows_of(connection, doubled, {"keys": records(expects.key, keys)})
            if (marker := rule.plan_marker) is not None:
                marked = sql.SQL(_MARKED).format(**names, column=column_of("t", marker[0]))
                bearing = await rows_of(connection, marked, {"name": marker[1], "plan": plan_id})
                planned = set(keys)
                counts["row_extra"] = sum(key not in planned for (key,) in bearing)
        return {invariant: count for invariant, count in counts.items() if count}
