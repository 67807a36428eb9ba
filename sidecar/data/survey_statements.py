"""The statements of surveys: each yields (class, rows, oldest instant, a few ids) of what is not as it should be."""

from collections.abc import Sequence

from psycopg import sql

from sidecar.data.direct.composing import column_of, name_of
from sidecar.domain.rule import Table
from sidecar.domain.survey import AuthParent, BalanceDiffers, OrphanRow, StaleRow, Subjects

AUTH_KEY = (Table("auth", "users"), "id")

# Materialised, so that the tables are read once; the ids of each class are taken from what was found, not sorted whole.
_GROUPED = """
with found as materialized (
{found}
)
select g.class, count(*), cast(min(g.at) filter (where isfinite(g.at)) as text),
  array(select f.id from found f where f.class = g.class order by f.id limit %(samples)s)
from found g
where g.class is not null
group by g.class
"""

_ORPHAN = """
select cast({id} as text) as id, case when {ripe} then 'orphan' else 'too_young' end as class, {at} as at
from {rows} t
where {key} is not null and not exists (select from {parent} p where {parent_key} = {key})
"""

_STALE = """
select cast({id} as text) as id, 'stale' as class, {since} as at
from {rows} t
where cast({column} as text) = any (cast(%(values)s as text[])) and {since} <= %(until)s
"""

# Movements of one instant are taken together, since nothing says which came first: where the chain holds, one of their
# balances is the sum of all amounts so far. `opening` is what the first movement starts from, if it stands alone.
_DIFFERS = """
with moments as (
  select {key} as key, {instants},
    sum({amount}) as amount, array_agg({balance}) as ends, count(*) as movements, max({at}) as newest,
    bool_or({amount} is null or {balance} is null{undated}) as hole
  from {ledger} l
  group by {key}, {instants}
), chained as (
  select m.key, m.amount, m.ends, m.newest, m.hole, sum(m.amount) over chain as total,
    first_value(case when m.movements = 1 then m.ends[1] - m.amount end) over chain as opening
  from moments m
  window chain as (partition by m.key order by {ordered} rows unbounded preceding)
), ledgers as (
  select c.key, sum(c.amount) as balance, max(c.newest) as newest, bool_or(c.hole) as hole,
    bool_and(c.total = any (c.ends)) as holds,
    coalesce(bool_and(c.total + c.opening = any (c.ends)), false) as holds_otherwise
  from chained c
  group by c.key
)
select cast({id} as text) as id,
  case
    when greatest(g.newest, {created}) > %(until)s then 'too_young'
    when g.key is null and {held} = 0 then null
    when g.key is null or g.hole then 'no_evidence'
    when not g.holds and g.holds_otherwise then 'opening_unexplained'
    when not g.holds then 'chain_broken'
    when {held} is distinct from g.balance then 'differs'
  end as class,
  coalesce(g.newest, {created}) as at
from {rows} t left join ledgers g on g.key = {id}
"""


def grouped(detect: Subjects, instants: Sequence[str]) -> sql.Composed:
    """Return a survey's statement. Bind: until, samples, and for stale rows values.

    `instants` are the order columns of a ledger that say what came first; other surveys have none.
    """
    return sql.SQL(_GROUPED).format(found=_found(detect, instants))


def _found(detect: Subjects, instants: Sequence[str]) -> sql.Composed:
    match detect:
        case BalanceDiffers():
            return _differs(detect, instants)
        case OrphanRow():
            return _orphan(detect)
        case StaleRow():
            return _stale(detect)


def _stale(detect: StaleRow) -> sql.Composed:
    return sql.SQL(_STALE).format(
        id=column_of("t", detect.id),
        rows=name_of(detect.table),
        column=column_of("t", detect.column),
        since=column_of("t", detect.since),
    )


def _orphan(detect: OrphanRow) -> sql.Composed:
    table, key = AUTH_KEY if isinstance(detect.parent, AuthParent) else (detect.parent.table, detect.parent.key)
    at = _instant("t", detect.created)
    ripe = sql.SQL("{at} is null or {at} <= %(until)s").format(at=at)
    return sql.SQL(_ORPHAN).format(
        id=column_of("t", detect.id),
        ripe=ripe,
        at=at,
        rows=name_of(detect.table),
        key=column_of("t", detect.key),
        parent=name_of(table),
        parent_key=column_of("p", key),
    )


def _differs(detect: BalanceDiffers, instants: Sequence[str]) -> sql.Composed:
    ledger = detect.ledger
    dated = [*instants, *([ledger.created] if ledger.created else [])]
    undated = [sql.SQL(" or {column} is null").format(column=column_of("l", column)) for column in dict.fromkeys(dated)]
    return sql.SQL(_DIFFERS).format(
        key=column_of("l", ledger.key),
        instants=sql.SQL(", ").join(column_of("l", column) for column in instants),
        ordered=sql.SQL(", ").join(column_of("m", column) for column in instants),
        amount=column_of("l", ledger.amount),
        balance=column_of("l", ledger.balance),
        at=_instant("l", ledger.created),
        undated=sql.Composed(undated),
        ledger=name_of(ledger.table),
        id=column_of("t", detect.key),
        held=column_of("t", detect.amount),
        created=_instant("t", detect.created),
        rows=name_of(detect.table),
    )


def _instant(alias: str, column: str | None) -> sql.Composable:
    return sql.SQL("cast(null as timestamptz)") if column is None else column_of(alias, column)
