"""Which rows of a batch must be read again before they are written, and which of those must not be written any more.

A row is spared the reading only where nothing that it was judged by can have changed: versions of user and movements
are those of the plan, nobody vouched for the key or noted a balance of it since, no undo took its row back, the row was
not there again in between, and nobody else has its e-mail. What is judged by time alone (young, banned) only ever turns
in the row's favour.
"""

from collections.abc import Sequence
from datetime import timedelta

from sidecar.domain.finding import FindingClass
from sidecar.domain.plan import PlanRow
from sidecar.domain.run import RowResult, Settled
from sidecar.engine.look import Looker, judge_facts
from sidecar.engine.work import Work
from sidecar.engine.writing import whose_row
from sidecar.ports import Data, State

CLOCKS_APART_AT_MOST = timedelta(hours=1)  # of the machines that vouch, look and plan; what is nearer is read again


class Freshness:
    """Reads rows again before they are written."""

    def __init__(self, *, looker: Looker, data: Data, state: State) -> None:
        """`looker` reads facts; `data` and `state` know what has moved."""
        self._looker = looker
        self._data = data
        self._state = state

    async def stale(self, work: Work, batch: Sequence[PlanRow]) -> dict[str, Settled]:
        """Return the rows that must not be written any more, each with its reason."""
        return await self._read_again(work, await self._moved(work, batch))

    async def _moved(self, work: Work, batch: Sequence[PlanRow]) -> list[PlanRow]:
        """Return the rows whose facts may be others by now; all of them under a catalogue that planned rows deny."""
        catalogue = work.proof.catalogue
        if not catalogue.visible or catalogue.ledger_writers:
            return list(batch)
        moved = await self._data.moved(work.rule, batch)
        if still := [row.key for row in batch if row.key not in moved]:
            table, planned_at = str(work.rule.detect.expects.table), work.plan.created_at
            since = planned_at - CLOCKS_APART_AT_MOST
            moved |= await self._state.anchored_since(table, still, since, missed_since=planned_at)
        return [row for row in batch if row.key in moved]

    async def _read_again(self, work: Work, rows: Sequence[PlanRow]) -> dict[str, Settled]:
        if not rows:
            return {}
        stale: dict[str, Settled] = {}
        facts = {found.key: found for found in await self._looker.facts(work.rule, [row.key for row in rows])}
        for row in rows:
            finding = judge_facts(work.rule, facts[row.key], work.proof, work.plan.id)
            if finding is None:
                present = facts[row.key].expected_row or {}
                stale[row.key] = whose_row(work, present)
            elif finding.kind is not FindingClass.REPAIRABLE:
                stale[row.key] = Settled(result=RowResult.QUARANTINED, reason=str(finding.kind))
            elif (finding.evidence, finding.values, finding.origins) != (row.evidence, row.values, row.origins):
                stale[row.key] = Settled(result=RowResult.RACED, reason="evidence_moved")
        return stale
