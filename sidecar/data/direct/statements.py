"""The statements that look: what lacks its row, how much there is, what the catalogue says. Each runs as detector."""

from psycopg import sql

from sidecar.data.direct.composing import column_of, listed, name_of
from sidecar.domain.rule import AuthSource, Rule, Table
from sidecar.fixture import fixture_sql

# One pass answers both questions: which keys have evidence that is old enough, and which have young evidence alone.
_MISSING = """
select cast({key} as text), bool_or({old})
from {evidence} l
where {key} is not null
  and not exists (select from {target} e where {target_key} = {key}){without}
group by {key}
order by {key}
"""
_WITHOUT = "\n  and not exists (select from {ledger} w where {ledger_key} = {key})"

_BY_KEY = """
select cast({key} as text), cast(row_to_json(x) as text)
from {table} t, lateral (select {columns}) x
where {key} = any (array(
  select {sought} from json_populate_recordset(cast(null as {table}), cast(%(keys)s as json)) r
))
order by {tie}
"""

_WINDOW = """
select cast({key} as text), cast(to_json({money}) as text)
from {table} t{beyond}
order by {key}
limit %(rows)s
"""
_BEYOND = """
where {key} > (select {sought} from json_populate_record(cast(null as {table}), cast(%(after)s as json)) r)"""
_CATALOGUE = """
select cast(({body}) as text)
from (select cast(cast(%(target)s as oid) as regclass) target, cast(cast(%(ledger)s as oid) as regclass) ledger) asked
"""


def missing_of(rule: Rule) -> sql.Composed:
    """Return the detection: (key, has old evidence) of keys without their row. Bind: until.

    One NOT EXISTS for each condition, so that the planner has an anti join for each. Source: design 30-safety, 6.
    """
    source, expects = rule.detect.ledger, rule.detect.expects
    key = column_of("l", source.key)
    return sql.SQL(_MISSING).format(
        key=key,
        old=_old(source.created),
        evidence=name_of(source.table),
        target=name_of(expects.table),
        target_key=column_of("e", expects.key),
        without=_without(rule, key),
    )


def _old(created: str | None) -> sql.Composable:
    """Say that a row is judged: it is no younger than the horizon, or nobody knows its age."""
    if created is None:
        return sql.SQL("true")
    return sql.SQL("{created} is null or {created} <= %(until)s").format(created=column_of("l", created))


def _without(rule: Rule, key: sql.Composable) -> sql.Composable:
    left_out = rule.detect.ledger.without if isinstance(rule.detect.ledger, AuthSource) else None
    if left_out is None:
        return sql.SQL("")
    return sql.SQL(_WITHOUT).format(ledger=name_of(left_out.table), ledger_key=column_of("w", left_out.key), key=key)


def anti_joins_of(rule: Rule) -> int:
    """Return how many anti joins the plan of the detection must have."""
    return 2 if isinstance(rule.detect.ledger, AuthSource) and rule.detect.ledger.without is not None else 1


def count_of(table: Table) -> sql.Composed:
    """Return the count of a whole table."""
    return sql.SQL("select count(*) from {table}").format(table=name_of(table))


def by_key(table: Table, key: str, columns: tuple[str, ...], *, tie: str | None = None) -> sql.Composed:
    """Return (key, row as JSON) of rows whose key is among some, by `tie`. Bind: keys, as records of the table."""
    return sql.SQL(_BY_KEY).format(
        table=name_of(table),
        key=column_of("t", key),
        sought=column_of("r", key),
        columns=listed(columns, "t"),
        tie=column_of("t", tie or key),
    )


def window_of(table: Table, key: str, money: str, *, first: bool) -> sql.Composed:
    """Return (key, money as JSON), ascending by key, beyond a key. Bind: rows, and after unless it is the first."""
    named = {"table": name_of(table), "key": column_of("t", key), "sought": column_of("r", key)}
    beyond = sql.SQL("") if first else sql.SQL(_BEYOND).format(**named)
    return sql.SQL(_WINDOW).format(**named, money=column_of("t", money), beyond=beyond)


def catalogue_query() -> sql.Composed:
    """Return the body of the fixture's own function, so that both paths see one catalogue. Bind: target, ledger (oids).

    Its parameters become columns of the same names.
    """
    _, _, text = fixture_sql("").partition("function public.sidecar_catalogue(")
    body = text.partition("$$")[2].partition("$$")[0]
    return sql.SQL(_CATALOGUE).format(body=sql.SQL(body.replace("%", "%%")))
