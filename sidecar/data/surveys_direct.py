"""Surveys over the direct path: one statement each, in one state of the database, which nobody's policy filters."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.data.canary import Canary
from sidecar.data.direct.composing import name_of, rows_of
from sidecar.data.direct.relations import WITH_ZONE, ground_of, relations_of
from sidecar.data.direct.sighting import miss_canary
from sidecar.data.postgres import STANDBY
from sidecar.data.premises import instant
from sidecar.data.survey_statements import AUTH_KEY, grouped
from sidecar.domain.look import Catalogue, Counts, ProofFailure, ReadProof, Unproven
from sidecar.domain.rule import Table
from sidecar.domain.survey import (
    SAMPLES_AT_MOST,
    UNRIPE,
    BalanceDiffers,
    OrphanRow,
    StaleRow,
    Survey,
    SurveyClass,
    Surveyed,
    TableParent,
)
from sidecar.errors import AnswerMalformed, SchemaMismatch, WriteRejected
from sidecar.sessions import Role, Sessions

# Types whose values say what came first. Others (a uuid, text) only tell rows apart.
ORDERING = frozenset({"smallint", "integer", "bigint", "numeric", WITH_ZONE, "timestamp without time zone", "date"})
EXACT = frozenset({"smallint", "integer", "bigint", "numeric"})

_DATABASE = "select md5(system_identifier || '/' || current_database()) from pg_control_system()"
_TYPES = """
select cast(a.attrelid as bigint), a.attname, format_type(coalesce(nullif(y.typbasetype, 0), y.oid), null)
from pg_attribute a join pg_type y on y.oid = a.atttypid
where a.attrelid = any (cast(%(tables)s as oid[])) and a.attnum > 0 and not a.attisdropped
"""

Types = Mapping[tuple[Table, str], str]


class DirectSurveys:
    """Implements `sidecar.ports.Surveys` with a database URL."""

    def __init__(self, sessions: Sessions, *, canary: Canary | None) -> None:
        """Read as the detector; a canary, where there is one, must be visible to it."""
        self._sessions = sessions
        self._canary = canary

    async def survey(self, survey: Survey) -> Surveyed | Unproven:
        """Look in one REPEATABLE READ transaction. Raises: what `Sessions` raises, and SchemaMismatch."""
        try:
            return await self._survey(survey)
        except WriteRejected as error:  # nothing was to be written: an amount or an instant beyond what a type holds
            raise AnswerMalformed(f"the database answered {error.sqlstate} to a question") from error

    async def _survey(self, survey: Survey) -> Surveyed | Unproven:
        async with self._sessions.reading(Role.DETECTOR) as connection:
            ground = await ground_of(connection)
            if ground.standby:
                return Unproven(failure=ProofFailure.STANDBY, detail=STANDBY)
            relations = await self._prove_sight(connection, survey)
            if isinstance(relations, Unproven):
                return relations
            types = await _types(connection, relations)
            _require_columns(survey, types)
            until = ground.now - survey.ripe_after
            found = await _found(connection, survey, types, until)
            counts = await _counts(connection, survey)
            [(database,)] = await rows_of(connection, sql.SQL(_DATABASE), {})
        proof = ReadProof(
            horizon_at=until, database=database, counts=counts, catalogue=Catalogue(visible=False), read_at=ground.now
        )
        return _surveyed(proof, found)

    async def _prove_sight(self, connection: AsyncConnection, survey: Survey) -> Mapping[Table, int] | Unproven:
        canary = self._canary
        relations = await relations_of(connection, [*survey.tables, *([canary.table] if canary else [])])
        if isinstance(relations, Unproven):
            return relations
        return (await miss_canary(connection, canary) if canary else None) or relations


async def _types(connection: AsyncConnection, relations: Mapping[Table, int]) -> Types:
    tables = {oid: table for table, oid in relations.items()}
    found = await rows_of(connection, sql.SQL(_TYPES), {"tables": list(tables)})
    return {(tables[oid], name): kind for oid, name, kind in found}


def _require_columns(survey: Survey, types: Types) -> None:
    """Make sure that columns exist, instants name their zone, and money is exact. Raises: SchemaMismatch."""
    plain, instants, money = _read_by(survey)
    dated = [(table, column) for table, column in instants if column is not None]
    for table, column in (*plain, *dated, *money):
        if (table, column) not in types:
            raise SchemaMismatch(f"{table} has no column {column}")
    for table, column in dated:
        if types[table, column] != WITH_ZONE:
            raise SchemaMismatch(f"{table}: {column} has no time zone; it must be timestamptz")
    for table, column in money:
        if types[table, column] not in EXACT:
            raise SchemaMismatch(f"{table}: {column} is {types[table, column]}, which is no exact number")


def _read_by(
    survey: Survey,
) -> tuple[list[tuple[Table, str]], list[tuple[Table, str | None]], list[tuple[Table, str]]]:
    """Return plain columns, instants and money that a survey reads."""
    match survey.detect:
        case BalanceDiffers(ledger=ledger) as detect:
            plain = [(detect.table, detect.key), (ledger.table, ledger.key), *((ledger.table, c) for c in ledger.order)]
            instants = [(detect.table, detect.created), (ledger.table, ledger.created)]
            money = [(detect.table, detect.amount), (ledger.table, ledger.amount), (ledger.table, ledger.balance)]
            return plain, instants, money
        case OrphanRow(parent=parent) as detect:
            named = (parent.table, parent.key) if isinstance(parent, TableParent) else AUTH_KEY
            return [(detect.table, detect.id), (detect.table, detect.key), named], [(detect.table, detect.created)], []
        case StaleRow() as detect:
            return [(detect.table, detect.id), (detect.table, detect.column)], [(detect.table, detect.since)], []


async def _found(
    connection: AsyncConnection, survey: Survey, types: Types, until: datetime
) -> Sequence[tuple[Any, ...]]:
    detect = survey.detect
    instants: list[str] = []
    if isinstance(detect, BalanceDiffers):
        order = dict.fromkeys(detect.ledger.order)
        instants = [column for column in order if types[detect.ledger.table, column] in ORDERING]
        if not instants:
            raise SchemaMismatch(f"{detect.ledger.table}: no column of order says what came first")
    values: dict[str, object] = {"until": until, "samples": SAMPLES_AT_MOST}
    if isinstance(detect, StaleRow):
        values["values"] = list(detect.values)
    return await rows_of(connection, grouped(detect, instants), values)


async def _counts(connection: AsyncConnection, survey: Survey) -> Counts:
    counted = []
    for table in survey.tables:
        [(rows,)] = await rows_of(connection, sql.SQL("select count(*) from {}").format(name_of(table)), {})
        counted.append(rows)
    return Counts(ledger_rows=sum(counted[1:]), expected_rows=counted[0], subjects=counted[0])


def _surveyed(proof: ReadProof, found: Sequence[tuple[Any, ...]]) -> Surveyed:
    classes = {SurveyClass(name): count for name, count, _, _ in found}
    damage = [instant(at) for name, _, at, _ in found if SurveyClass(name) not in UNRIPE]
    samples = {SurveyClass(name): tuple(ids) for name, _, _, ids in found}
    return Surveyed(
        proof=proof, classes=classes, oldest_at=min((at for at in damage if at), default=None), samples=samples
    )
