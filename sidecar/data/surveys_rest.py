"""Surveys over REST: what can be counted, read in pages and counted again. The rest needs a database."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sidecar.data.canary import Canary, miss_canary
from sidecar.data.premises import NEEDS_DATABASE, instant, require_zone
from sidecar.data.rest import Rest, Row, quoted, refusal_of
from sidecar.data.shapes import catalogue_of
from sidecar.domain.look import Catalogue, Counts, ProofFailure, ReadProof, Unproven
from sidecar.domain.rule import Table, Value
from sidecar.domain.survey import SAMPLES_AT_MOST, OrphanRow, StaleRow, Survey, SurveyClass, Surveyed, TableParent
from sidecar.errors import AnswerMalformed, SchemaMismatch

KEYS_AT_ONCE = 100  # of an `in.(…)` list: about 3.7 kB of URL
TWO_AMOUNTS = "row and ledger cannot be read in one state over REST; set database.url, or take the rule out"
KEY_TYPE = "key_type_unsupported: over REST the key must be a uuid or an integer"

Key = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Rows that are not as they should be: id and key as the database spells them, and the instant that counts."""

    id: str
    key: Key
    at: datetime | None


@dataclass(slots=True)
class Pass:
    """What one pass over rows and parents saw: how many of each, and the rows without a parent."""

    found: list[Found] = field(default_factory=list)
    rows: int = 0
    compared: int = 0


class RestSurveys:
    """Implements `sidecar.ports.Surveys` with the service key alone."""

    def __init__(self, rest: Rest, *, database: str, canary: Canary | None) -> None:
        """Read through `rest`; `database` names the project where the fixture cannot; it holds no secret."""
        self._rest = rest
        self._database = database
        self._canary = canary

    async def survey(self, survey: Survey) -> Surveyed | Unproven:
        """Read what a survey asks for, twice at most. Raises: what `Rest` raises."""
        detect = survey.detect
        if survey.needs_database or not isinstance(detect, OrphanRow | StaleRow):
            detail = NEEDS_DATABASE if survey.needs_auth else TWO_AMOUNTS
            return Unproven(failure=ProofFailure.NEEDS_DATABASE, detail=detail)
        if (blind := await miss_canary(self._rest, self._canary)) is not None:
            return blind
        now = await self._now(detect.table, detect.id)
        until = now - survey.ripe_after
        seen = await self._read(detect, until)
        if isinstance(seen, str):  # one retry: rows may be mended while we read
            seen = await self._read(detect, until)
        if isinstance(seen, str):
            return Unproven(failure=ProofFailure.COUNT_MISMATCH, detail=seen)
        if (blind := await miss_canary(self._rest, self._canary)) is not None:
            return blind
        counts, found = seen
        catalogue = await self._catalogue(detect.table)
        database = catalogue.database or self._database
        proof = ReadProof(horizon_at=until, database=database, counts=counts, catalogue=catalogue, read_at=now)
        return _surveyed(proof, found, SurveyClass.STALE if isinstance(detect, StaleRow) else SurveyClass.ORPHAN)

    async def _catalogue(self, table: Table) -> Catalogue:
        """Ask the fixture's function, which knows one database from another whatever address leads to it."""
        asked = {"target": str(table), "ledger": str(table)}
        answer = await self._rest.call("POST", "/rest/v1/rpc/sidecar_catalogue", document=asked)
        if answer.status == 404:
            return Catalogue(visible=False)
        if answer.status != 200:
            raise refusal_of(answer)
        return catalogue_of(answer.json())

    async def _now(self, table: Table, column: str) -> datetime:
        _, answer = await self._rest.rows(table, {"select": column, "limit": "1"})
        if answer.server_time is None:
            raise AnswerMalformed(f"{table}: Date is missing")
        return answer.server_time

    async def _read(self, detect: OrphanRow | StaleRow, until: datetime) -> tuple[Counts, list[Found]] | str:
        return await (self._stale(detect, until) if isinstance(detect, StaleRow) else self._orphans(detect, until))

    async def _stale(self, detect: StaleRow, until: datetime) -> tuple[Counts, list[Found]] | str:
        table, wanted = detect.table, _stale_filter(detect, until)
        whole = await self._rest.count(table, {}, detect.id)
        before = await self._rest.count(table, wanted, detect.id)
        found: list[Found] = []
        pages = self._rest.stream(
            table, columns=(detect.id, detect.since), key=detect.id, tie=detect.id, filters=wanted
        )
        async with contextlib.aclosing(pages):
            async for page in pages:
                found += [_stale_row(detect, row) for row in page]
        after = await self._rest.count(table, wanted, detect.id)
        if not before == len(found) == after:
            return f"{table}: {before} rows counted before, {len(found)} seen, {after} counted after"
        return Counts(ledger_rows=0, expected_rows=whole, subjects=whole), found

    async def _orphans(self, detect: OrphanRow, until: datetime) -> tuple[Counts, list[Found]] | str:
        parent = detect.parent
        if not isinstance(parent, TableParent):
            raise SchemaMismatch(NEEDS_DATABASE)
        wanted = _orphan_filter(detect, until)
        before = await self._count_both(detect, parent, wanted)
        seen = await self._merge(detect, parent, wanted)
        after = await self._count_both(detect, parent, wanted)
        for table, first, rows, last in (
            (detect.table, before[0], seen.rows, after[0]),
            (parent.table, before[1], seen.compared, after[1]),
        ):
            # Parents come and go while we read, and so do rows that nobody dates.
            if not min(first, last) <= rows <= max(first, last):
                return f"{table}: {first} rows counted before, {rows} seen, {last} counted after"
        found = await self._confirm(detect, parent, seen.found)
        return Counts(ledger_rows=seen.compared, expected_rows=seen.rows, subjects=seen.rows), found

    async def _count_both(self, detect: OrphanRow, parent: TableParent, wanted: Mapping[str, str]) -> tuple[int, int]:
        return (
            await self._rest.count(detect.table, wanted, detect.id),
            await self._rest.count(parent.table, {parent.key: "not.is.null"}, parent.key),
        )

    async def _merge(self, detect: OrphanRow, parent: TableParent, wanted: Mapping[str, str]) -> Pass:
        async with (
            contextlib.aclosing(self._rows(detect, wanted)) as rows,
            contextlib.aclosing(self._keys(parent)) as keys,
        ):
            return await without_parent(rows, keys)

    async def _rows(self, detect: OrphanRow, wanted: Mapping[str, str]) -> AsyncGenerator[Found]:
        columns = tuple(dict.fromkeys((detect.id, detect.key, *([detect.created] if detect.created else []))))
        pages = self._rest.stream(detect.table, columns=columns, key=detect.key, tie=detect.id, filters=wanted)
        async with contextlib.aclosing(pages):
            async for page in pages:
                for row in page:
                    at = None if detect.created is None else _instant(detect.table, detect.created, row)
                    yield Found(id=str(row[detect.id]), key=_key(row[detect.key]), at=at)

    async def _keys(self, parent: TableParent) -> AsyncGenerator[Key]:
        wanted = {parent.key: "not.is.null"}
        pages = self._rest.stream(parent.table, columns=(parent.key,), key=parent.key, tie=parent.key, filters=wanted)
        async with contextlib.aclosing(pages):
            async for page in pages:
                for row in page:
                    yield _key(row[parent.key])

    async def _confirm(self, detect: OrphanRow, parent: TableParent, found: Sequence[Found]) -> list[Found]:
        """Read each orphan and its parent again by key: both may have gone, or come, while the streams ran."""
        left: list[Found] = []
        for start in range(0, len(found), KEYS_AT_ONCE):
            chunk = found[start : start + KEYS_AT_ONCE]
            parents = await self._present(parent.table, parent.key, [row.key for row in chunk])
            rows = await self._present(detect.table, detect.id, [row.id for row in chunk])
            left += [row for row in chunk if str(row.key) not in parents and row.id in rows]
        return left

    async def _present(self, table: Table, column: str, values: Sequence[Key]) -> set[str]:
        listed = ",".join(quoted(str(value)) for value in dict.fromkeys(values))
        rows = await self._rest.whole(table, columns=(column,), key=column, filters={column: f"in.({listed})"})
        return {str(row[column]) for row in rows}


async def without_parent(rows: AsyncIterator[Found], parents: AsyncIterator[Key]) -> Pass:
    """Merge two ascending streams in constant memory but for what is found. Raises: SchemaMismatch for mixed keys.

    Shape: `rows` may repeat a key, `parents` too; both ascend as the database orders uuids and integers.
    """
    seen = Pass()
    here = await anext(parents, None)
    seen.compared += here is not None
    async for row in rows:
        seen.rows += 1
        while here is not None and _before(here, row.key):
            here = await anext(parents, None)
            seen.compared += here is not None
        if here != row.key:
            seen.found.append(row)
    async for _ in parents:
        seen.compared += 1
    return seen


def _before(one: Key, other: Key) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return one < other
    if isinstance(one, str) and isinstance(other, str):
        return one < other
    raise SchemaMismatch("key_type_unsupported: rows and parents have keys of two types")


def _key(value: Value) -> Key:
    """Return a key whose order here is the database's. Raises: SchemaMismatch for other types than uuid and integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    with contextlib.suppress(ValueError):
        if str(UUID(str(value))) == value:  # text that spells a uuid otherwise would be ordered otherwise
            return str(value)
    raise SchemaMismatch(KEY_TYPE)


def _stale_row(detect: StaleRow, row: Row) -> Found:
    return Found(id=str(row[detect.id]), key=str(row[detect.id]), at=_instant(detect.table, detect.since, row))


def _instant(table: Table, column: str, row: Row) -> datetime | None:
    found = instant(row[column])
    require_zone(table, column, found)
    return found


def _stale_filter(detect: StaleRow, until: datetime) -> dict[str, str]:
    states = ",".join(quoted(value) for value in detect.values)
    return {detect.column: f"in.({states})", detect.since: f"lte.{until.isoformat()}"}


def _orphan_filter(detect: OrphanRow, until: datetime) -> dict[str, str]:
    """Leave out rows that refer to nothing, and rows that are too young. `or` alone is the cursor's of a stream."""
    wanted = {detect.key: "not.is.null"}
    if detect.created is not None:
        wanted["and"] = f"(or({detect.created}.lte.{until.isoformat()},{detect.created}.is.null))"
    return wanted


def _surveyed(proof: ReadProof, found: Sequence[Found], name: SurveyClass) -> Surveyed:
    samples = tuple(sorted(row.id for row in found)[:SAMPLES_AT_MOST])
    return Surveyed(
        proof=proof,
        classes={name: len(found)} if found else {},
        oldest_at=min((row.at for row in found if row.at), default=None),
        samples={name: samples} if found else {},
    )
