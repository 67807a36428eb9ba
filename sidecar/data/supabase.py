"""The REST path: the user's data with the service key alone, proven whole before it is believed.

Implements `sidecar.ports.Data`. Source of the method: design 10-architecture, "What each path to the data can promise".
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID

from sidecar.batches import Landed, Transaction
from sidecar.data.auth import Missing, count_subjects, read_subjects
from sidecar.data.canary import Canary, miss_canary
from sidecar.data.describing import describe_requests
from sidecar.data.premises import KEY_TYPE, NEEDS_DATABASE, require_premises
from sidecar.data.rest import Rest, Row, quoted, refusal_of
from sidecar.data.shapes import amount_of, catalogue_of, ledger_row_of
from sidecar.data.streams import Noted, Tally, chunks, keys_without_row, noting
from sidecar.domain.credits import LedgerRow
from sidecar.domain.finding import horizon
from sidecar.domain.look import Catalogue, Counts, Facts, ProofFailure, ReadProof, Sighting, Subject, Unproven
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Amount, AuthSource, FromSubject, LedgerSource, Rule, Value
from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    RateLimited,
    SchemaMismatch,
    TransientError,
)
from sidecar.ports import Description
from sidecar.sights import BalanceBook

KEYS_AT_ONCE = 100  # of an `in.(…)` list: about 3.7 kB of URL
EMAIL_CHARS_AT_ONCE = 4000  # as percent-encoded
YOUNG_ROWS_AT_MOST = 5000  # they are only counted, never written: the number may be a floor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Notes:
    """Where one look notes balances; both of its passes share what was noted."""

    book: BalanceBook
    look_id: int
    at: datetime
    noted: Noted

    def of(self, seen: AsyncIterator[tuple[str, Amount | None]], table: str) -> AsyncGenerator[str]:
        return noting(seen, self.book, self.look_id, table, self.at, self.noted)


class SupabaseData:
    """The user's data over PostgREST and Supabase Auth."""

    batch_rows_at_most = 100  # a POST of this many profiles is some 50 kB, and read back by a URL of their keys

    def __init__(self, rest: Rest, *, database: str, canary: Canary | None) -> None:
        """Read through `rest`; `database` names the project where the catalogue cannot; it holds no secret."""
        self._rest = rest
        self._database = database
        self._canary = canary

    async def sight(self, rule: Rule, book: BalanceBook, look_id: int) -> Sighting | Unproven:
        """Read evidence and expected rows whole up to the horizon, twice at most, and prove it."""
        if isinstance(rule.detect.ledger, AuthSource):
            return Unproven(failure=ProofFailure.NEEDS_DATABASE, detail=NEEDS_DATABASE)
        try:
            return await self._sight(rule, book, look_id)
        except RateLimited as error:
            return Unproven(
                failure=ProofFailure.UNREACHABLE, detail=str(error), retry_after_seconds=error.retry_after_seconds
            )
        except TransientError as error:
            return Unproven(failure=ProofFailure.UNREACHABLE, detail=str(error))
        except AccessDenied as error:
            return Unproven(failure=ProofFailure.ACCESS_DENIED, detail=str(error))
        except AnswerMalformed as error:
            return Unproven(failure=ProofFailure.ANSWER_MALFORMED, detail=str(error))

    async def _sight(self, rule: Rule, book: BalanceBook, look_id: int) -> Sighting | Unproven:
        if (blind := await miss_canary(self._rest, self._canary)) is not None:
            return blind
        subjects, server_now = await count_subjects(self._rest)
        until = horizon(server_now, rule.detect.min_age_seconds)
        notes = _Notes(book=book, look_id=look_id, at=server_now, noted=Noted())
        tally = await self._read_whole(rule, until, notes)
        if isinstance(tally, str):  # one retry: rows may be deleted or backdated while we read
            tally = await self._read_whole(rule, until, notes)
        if isinstance(tally, str):
            return Unproven(failure=ProofFailure.COUNT_MISMATCH, detail=tally)
        if tally.ledger_rows and tally.expected_rows:  # an empty table says nothing about its types, and finds nothing
            await require_premises(self._rest, rule)
        catalogue = await self.catalogue(rule)
        young = await self._young(rule, until, tally.candidates)
        if (blind := await miss_canary(self._rest, self._canary)) is not None:
            return blind
        counts = Counts(ledger_rows=tally.ledger_rows, expected_rows=tally.expected_rows, subjects=subjects)
        database = catalogue.database or self._database
        proof = ReadProof(horizon_at=until, database=database, counts=counts, catalogue=catalogue, read_at=server_now)
        return Sighting(proof=proof, candidates=tally.candidates, young=young)

    async def _count(self, rule: Rule, until: datetime) -> tuple[int, int]:
        ledger, expects = rule.detect.ledger, rule.detect.expects
        return (
            await self._rest.count(ledger.table, _up_to(ledger.created, until), ledger.key),
            await self._rest.count(expects.table, _up_to(expects.created, until), expects.key),
        )

    async def _read_whole(self, rule: Rule, until: datetime, notes: "_Notes") -> Tally | str:
        """Count, read, count again; return what was seen, or where the three disagree."""
        before = await self._count(rule, until)
        tally = await self._pass(rule, until, notes)
        after = await self._count(rule, until)
        return _mismatch(rule, before, tally, after) or tally

    async def _pass(self, rule: Rule, until: datetime, notes: "_Notes") -> Tally:
        table = str(rule.detect.expects.table)
        async with (
            contextlib.aclosing(self._ledger_keys(rule, until)) as ledger,
            contextlib.aclosing(self._balances(rule, until)) as balances,
            contextlib.aclosing(notes.of(balances, table)) as expected,
        ):
            return await keys_without_row(ledger, expected, Tally())

    async def _ledger_keys(self, rule: Rule, until: datetime) -> AsyncGenerator[str]:
        source = rule.detect.ledger
        tie = source.order[-1]
        pages = self._rest.stream(
            source.table, columns=(source.key, tie), key=source.key, tie=tie, filters=_up_to(source.created, until)
        )
        async with contextlib.aclosing(pages):
            async for page in pages:
                for row in page:
                    yield _key(row[source.key])

    async def _balances(self, rule: Rule, until: datetime) -> AsyncGenerator[tuple[str, Amount | None]]:
        expects, money = rule.detect.expects, rule.balance_column
        pages = self._rest.stream(
            expects.table,
            columns=(expects.key, money),
            key=expects.key,
            tie=expects.key,
            filters=_up_to(expects.created, until),
        )
        async with contextlib.aclosing(pages):
            async for page in pages:
                for row in page:
                    yield _key(row[expects.key]), None if row[money] is None else amount_of(row[money])

    async def _young(self, rule: Rule, until: datetime, candidates: Sequence[str]) -> list[str]:
        """Return keys whose evidence all lies beyond the horizon and that have no row yet."""
        source = rule.detect.ledger
        if source.created is None:
            return []
        fresh: dict[str, None] = {}
        seen = 0
        tie = source.order[-1]
        pages = self._rest.stream(
            source.table,
            columns=(source.key, tie),
            key=source.key,
            tie=tie,
            filters={source.created: f"gt.{until.isoformat()}"},
        )
        async with contextlib.aclosing(pages):
            async for page in pages:
                fresh.update(dict.fromkeys(_key(row[source.key]) for row in page))
                seen += len(page)
                if seen >= YOUNG_ROWS_AT_MOST:
                    break
        judged = set(candidates)
        asked = [key for key in fresh if key not in judged]
        present = await self.read_rows(rule, asked)
        return [key for key in asked if key not in present]

    async def catalogue(self, rule: Rule) -> Catalogue:
        """Ask the fixture's function; without it the catalogue is not visible over REST."""
        target, movements = rule.detect.expects.table, rule.detect.movements
        answer = await self._rest.call(
            "POST",
            "/rest/v1/rpc/sidecar_catalogue",
            document={"target": str(target), "ledger": str(movements.table if movements else target)},
        )
        if answer.status == 404:
            return Catalogue(visible=False)
        if answer.status != 200:
            raise refusal_of(answer)
        return catalogue_of(answer.json())

    async def facts(self, rule: Rule, keys: Sequence[str]) -> list[Facts]:
        """Read rows, ledger, subjects and takers of e-mails for each key, by key."""
        found: list[Facts] = []
        for chunk in chunks(list(keys), KEYS_AT_ONCE):
            rows = await self.read_rows(rule, chunk)
            ledger = await self.ledger(rule, chunk)
            subjects = await read_subjects(self._rest, chunk, datetime.now(UTC))
            known = {key: subject for key, subject in subjects.items() if isinstance(subject, Subject)}
            emails = {key: subject.email for key, subject in known.items() if subject.email}
            taken = await self._taken(rule, emails)
            found += [
                Facts(
                    key=key,
                    subject=known.get(key),
                    unreadable=subjects[key] is Missing.UNREADABLE,
                    ledger=tuple(ledger.get(key, ())),
                    expected_row=rows.get(key),
                    email_taken=key in taken,
                )
                for key in chunk
            ]
        return found

    async def moved(self, rule: Rule, rows: Sequence[PlanRow]) -> frozenset[str]:  # noqa: ARG002  # the port's
        """Return all: REST shows no versions of rows."""
        return frozenset(row.key for row in rows)

    async def ledger(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Sequence[LedgerRow]]:
        """Read every ledger row of some keys."""
        found: dict[str, list[LedgerRow]] = {}
        if (source := rule.detect.movements) is not None:
            for chunk in chunks(list(keys), KEYS_AT_ONCE):
                found.update(await self._ledger_of(source, chunk))
        return found

    async def _ledger_of(self, source: LedgerSource, keys: Sequence[str]) -> dict[str, list[LedgerRow]]:
        """Read one chunk. Raises: AnswerMalformed when the pages do not add up to the count."""
        wanted = {source.key: f"in.({','.join(keys)})"}
        columns = tuple(dict.fromkeys((source.key, *source.order, source.amount, source.balance)))
        if source.created is not None:
            columns = tuple(dict.fromkeys((*columns, source.created)))
        before = await self._rest.count(source.table, wanted, source.key)
        ledger: dict[str, list[LedgerRow]] = {}
        seen = 0
        pages = self._rest.stream(source.table, columns=columns, key=source.key, tie=source.order[-1], filters=wanted)
        async with contextlib.aclosing(pages):
            async for page in pages:
                seen += len(page)
                for row in page:
                    ledger.setdefault(_key(row[source.key]), []).append(ledger_row_of(source, row))
        if seen != before:
            raise AnswerMalformed(f"{source.table}: pages add up to {seen} of {before} rows")
        return ledger

    async def _taken(self, rule: Rule, emails: Mapping[str, str]) -> set[str]:
        """Return the keys whose e-mail another row has, as Supabase Auth spells it (it stores lower case)."""
        column = next(
            (name for name, s in rule.repair.values.items() if isinstance(s, FromSubject) and s.path == ("email",)),
            None,
        )
        if column is None or not emails:
            return set()
        table, key = rule.detect.expects.table, rule.detect.expects.key
        owners: dict[str, set[str]] = {}
        for some in _email_chunks(sorted({*emails.values()})):
            wanted = {column: f"in.({','.join(map(quoted, some))})"}
            for row in await self._rest.whole(table, columns=(key, column), key=key, filters=wanted):
                owners.setdefault(str(row[column]), set()).add(_key(row[key]))
        return {key for key, email in emails.items() if owners.get(email, set()) - {key}}

    async def describe(self, rule: Rule) -> Description:
        """List the requests that a look and a write would send."""
        return describe_requests(rule)

    async def insert(self, rule: Rule, rows: Sequence[PlanRow], _transaction: Transaction | None) -> Landed:
        """Insert a batch in one statement; see `Rest.insert`. A POST is a transaction of its own."""
        columns = tuple(rule.repair.values)
        landed = await self._rest.insert(
            rule.detect.expects.table, key=rule.detect.expects.key, columns=columns, rows=[row.values for row in rows]
        )
        return Landed(rows={_key(row[rule.detect.expects.key]): row for row in landed})

    async def read_rows(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Mapping[str, Value]]:
        """Read the expected rows that exist among `keys`, with every column that the rule writes."""
        expects = rule.detect.expects
        columns = tuple(dict.fromkeys((expects.key, *rule.repair.values)))
        found: dict[str, Row] = {}
        for chunk in chunks(list(keys), KEYS_AT_ONCE):
            wanted = {expects.key: f"in.({','.join(chunk)})"}
            rows = await self._rest.whole(expects.table, columns=columns, key=expects.key, filters=wanted)
            found.update({_key(row[expects.key]): row for row in rows})
        return found


def _up_to(created: str | None, until: datetime) -> dict[str, str]:
    """Bound to what is no younger; a row without an instant is there too. `or` alone is the cursor's of a stream."""
    return {} if created is None else {"and": f"(or({created}.lte.{until.isoformat()},{created}.is.null))"}


def _mismatch(rule: Rule, before: tuple[int, int], tally: Tally, after: tuple[int, int]) -> str:
    """Say where count before, rows seen and count after disagree; empty when they do not.

    Without a created column rows may come while we read, so that only min <= seen <= max can be asked.
    """
    ledger, expects = rule.detect.ledger, rule.detect.expects
    passes = (
        (ledger.table, ledger.created, before[0], tally.ledger_rows, after[0]),
        (expects.table, expects.created, before[1], tally.expected_rows, after[1]),
    )
    for table, created, first, seen, last in passes:
        whole = min(first, last) <= seen <= max(first, last) if created is None else first == seen == last
        if not whole:
            return f"{table}: {first} rows counted before, {seen} seen, {last} counted after"
    return ""


def _key(value: Value) -> str:
    """Return a canonical key whose text order is the database's. Raises: SchemaMismatch for other key types."""
    text = str(value)
    with contextlib.suppress(ValueError):
        if str(UUID(text)) == text:  # text that spells a uuid otherwise would not be found again as it is asked for
            return text
    raise SchemaMismatch(KEY_TYPE)


def _email_chunks(emails: Sequence[str]) -> list[list[str]]:
    """Cut a list of e-mails so that each piece fits into a URL."""
    pieces: list[list[str]] = [[]]
    room = EMAIL_CHARS_AT_ONCE
    for email in emails:
        cost = len(quote(quoted(email) + ",", safe=""))
        if pieces[-1] and (cost > room or len(pieces[-1]) >= KEYS_AT_ONCE):
            pieces.append([])
            room = EMAIL_CHARS_AT_ONCE
        pieces[-1].append(email)
        room -= cost
    return pieces
