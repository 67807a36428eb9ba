"""The direct path: the user's data in PostgreSQL, each look one transaction whose sight is proven first.

Implements `sidecar.ports.Data`. Source of the method: design 10-architecture, "What each path to the data can promise".
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from sidecar.batches import Landed, Transaction
from sidecar.data.canary import Canary
from sidecar.data.direct.reading import read_expected, read_facts, read_ledger
from sidecar.data.direct.relations import Ground, ground_of, relations_of, tables_of
from sidecar.data.direct.sighting import (
    count_all,
    explain_missing,
    find_missing,
    note_balances,
    read_catalogue,
    relations_proven,
)
from sidecar.data.direct.statements import missing_of
from sidecar.data.direct.versions import find_moved
from sidecar.data.direct.writing import insert_of, insert_rows
from sidecar.domain.credits import LedgerRow
from sidecar.domain.finding import horizon
from sidecar.domain.look import Catalogue, Facts, ProofFailure, ReadProof, Sighting, Unproven
from sidecar.domain.plan import PlanRow
from sidecar.domain.rule import Rule, Value
from sidecar.errors import AccessDenied, AnswerMalformed, TransientError, WriteRejected
from sidecar.ports import Description
from sidecar.sessions import READ_SECONDS, Role, Sessions
from sidecar.sights import BalanceBook

STANDBY = "this is a standby, which may lag behind: give database.url the primary's address"


class PostgresData:
    """The user's data over SQL."""

    batch_rows_at_most = 5000  # some 1.5 MB of values, and well under a second of writing

    def __init__(self, sessions: Sessions, *, canary: Canary | None, read_seconds: float = READ_SECONDS) -> None:
        """Read as detector and write as fixer. `read_seconds` bounds each statement that reads."""
        self._sessions = sessions
        self._canary = canary
        self._read_seconds = read_seconds

    async def sight(self, rule: Rule, book: BalanceBook, look_id: int) -> Sighting | Unproven:
        """Prove sight, then read evidence, expected rows and counts in one state of the database."""
        async with self._transaction() as (connection, ground):
            if ground.standby:
                return Unproven(failure=ProofFailure.STANDBY, detail=STANDBY)
            relations = await relations_proven(connection, rule, self._canary)
            if isinstance(relations, Unproven):
                return relations
            catalogue = await read_catalogue(connection, rule, relations)
            until = horizon(ground.now, rule.detect.min_age_seconds)
            missing = await find_missing(connection, rule, until)
            counts = await count_all(connection, rule)
            await note_balances(connection, rule, book, look_id, ground.now)
        proof = ReadProof(
            horizon_at=until, database=catalogue.database, counts=counts, catalogue=catalogue, read_at=ground.now
        )
        return Sighting(proof=proof, candidates=missing.candidates, young=missing.young)

    async def catalogue(self, rule: Rule) -> Catalogue:
        """Ask PostgreSQL's own catalogue."""
        async with self._reading() as connection:
            relations = await relations_of(connection, tables_of(rule))
            if isinstance(relations, Unproven):
                raise AccessDenied(relations.detail)
            return await read_catalogue(connection, rule, relations)

    async def facts(self, rule: Rule, keys: Sequence[str]) -> list[Facts]:
        """Read rows, ledger, subjects and takers of e-mails by key, in one state of the database."""
        async with self._reading() as connection:
            return await read_facts(connection, rule, keys)

    async def moved(self, rule: Rule, rows: Sequence[PlanRow]) -> frozenset[str]:
        """Compare the versions of the rows that the facts were read from."""
        async with self._reading() as connection:
            return await find_moved(connection, rule, rows)

    async def ledger(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Sequence[LedgerRow]]:
        """Read every ledger row of some keys."""
        async with self._reading() as connection:
            return await read_ledger(connection, rule, keys)

    async def read_rows(self, rule: Rule, keys: Sequence[str]) -> Mapping[str, Mapping[str, Value]]:
        """Read the expected rows that exist among `keys`, with every column that the rule writes."""
        async with self._reading() as connection:
            return await read_expected(connection, rule, keys)

    async def describe(self, rule: Rule) -> Description:
        """Return the detection, its plan, and the insert; the plan is made for this moment's horizon."""
        async with self._transaction() as (connection, ground):
            explain = await explain_missing(connection, rule, horizon(ground.now, rule.detect.min_age_seconds))
        statements = (missing_of(rule), insert_of(rule))
        return Description(sql=tuple(one.as_string().strip() for one in statements), explain=explain)

    async def insert(self, rule: Rule, rows: Sequence[PlanRow], transaction: Transaction | None) -> Landed:
        """Insert a batch in one statement, in the caller's transaction or in one of its own."""
        if transaction is not None:
            assert isinstance(transaction, AsyncConnection)  # noqa: S101  # memory and these data share one engine
            return await insert_rows(transaction, rule, rows)
        async with self._sessions.writing(Role.FIXER) as connection:
            return await insert_rows(connection, rule, rows)

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that is believed as it is; a pooler may have led it to a standby."""
        async with self._transaction() as (connection, ground):
            if ground.standby:
                raise TransientError(STANDBY)
            yield connection

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[tuple[AsyncConnection, Ground]]:
        try:
            async with self._sessions.reading(Role.DETECTOR, seconds=self._read_seconds) as connection:
                yield connection, await ground_of(connection)
        except WriteRejected as error:  # nothing was to be written: a value that no column of this kind takes
            raise AnswerMalformed(f"the database answered {error.sqlstate} to a question") from error
