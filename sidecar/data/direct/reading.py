"""Rows and evidence by key, in the shapes in which the REST path gives them."""

from collections.abc import Mapping, Sequence
from decimal import InvalidOperation

from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.data.auth import Missing
from sidecar.data.direct.composing import records, rows_of
from sidecar.data.direct.relations import ground_of
from sidecar.data.direct.statements import by_key
from sidecar.data.direct.subjects import read_subjects
from sidecar.data.direct.versions import email_column, read_versions
from sidecar.data.exact import exact_json
from sidecar.data.rest import Row
from sidecar.data.shapes import ledger_row_of
from sidecar.domain.credits import LedgerRow
from sidecar.domain.look import Facts, Subject
from sidecar.domain.rule import Rule, Table
from sidecar.errors import AnswerMalformed


async def read_facts(connection: AsyncConnection, rule: Rule, keys: Sequence[str]) -> list[Facts]:
    """Read rows, ledger, subjects and takers of e-mails of some keys, in one state of the database."""
    rows = await read_expected(connection, rule, keys)
    ledger = await read_ledger(connection, rule, keys)
    subjects = await read_subjects(connection, keys, (await ground_of(connection)).now)
    known = {key: subject for key, subject in subjects.items() if isinstance(subject, Subject)}
    versions = await read_versions(connection, rule, keys)
    taken = await _taken(connection, rule, {key: s.email for key, s in known.items() if s.email})
    return [
        Facts(
            key=key,
            subject=known.get(key),
            unreadable=subjects[key] is Missing.UNREADABLE,
            ledger=tuple(ledger.get(key, ())),
            expected_row=rows.get(key),
            email_taken=key in taken,
            version=versions.get(key, ""),
        )
        for key in keys
    ]


async def read_expected(connection: AsyncConnection, rule: Rule, keys: Sequence[str]) -> Mapping[str, Row]:
    """Read the expected rows that exist, with every column that the rule writes."""
    expects = rule.detect.expects
    columns = tuple(dict.fromkeys((expects.key, *rule.repair.values)))
    statement = by_key(expects.table, expects.key, columns)
    return dict(await _read(connection, expects.table, expects.key, statement, keys))


async def read_ledger(connection: AsyncConnection, rule: Rule, keys: Sequence[str]) -> Mapping[str, list[LedgerRow]]:
    """Read every movement of some keys."""
    source = rule.detect.movements
    if source is None:
        return {}
    columns = (source.key, *source.order, source.amount, source.balance, *([source.created] if source.created else []))
    ledger: dict[str, list[LedgerRow]] = {}
    statement = by_key(source.table, source.key, tuple(dict.fromkeys(columns)), tie=source.order[-1])
    for key, row in await _read(connection, source.table, source.key, statement, keys):
        ledger.setdefault(key, []).append(ledger_row_of(source, row))
    return ledger


async def _taken(connection: AsyncConnection, rule: Rule, emails: Mapping[str, str]) -> set[str]:
    """Return the keys whose e-mail another row has, as Supabase Auth spells it (it stores lower case)."""
    column = email_column(rule)
    if column is None or not emails:
        return set()
    expects = rule.detect.expects
    owners: dict[str, set[str]] = {}
    statement = by_key(expects.table, column, (expects.key, column))
    for email, row in await _read(connection, expects.table, column, statement, sorted({*emails.values()})):
        owners.setdefault(email, set()).add(str(row[expects.key]))
    return {key for key, email in emails.items() if owners.get(email, set()) - {key}}


async def _read(
    connection: AsyncConnection, table: Table, key: str, statement: sql.Composed, keys: Sequence[str]
) -> list[tuple[str, Row]]:
    if not keys:
        return []
    found = await rows_of(connection, statement, {"keys": records(key, keys)})
    try:
        return [(found_key, exact_json(text)) for found_key, text in found]
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise AnswerMalformed(f"{table}: {type(error).__name__} in a row") from error
