"""Follow the audit's chain, and tell its head: what is told elsewhere, nobody can rewrite together with the table."""

from collections.abc import Callable

from sidecar.domain.audit import Chain, ChainBroken, ChainHolds, Head, Kept, finish, follow, just_before, keep
from sidecar.domain.check import Verdict
from sidecar.domain.event import AuditChecked
from sidecar.errors import SidecarError
from sidecar.ports import Reporter, State


async def follow_chain(
    state: State, kept: Kept, *, since: Head | None = None, told: Callable[[int], None] = lambda _: None
) -> ChainHolds | ChainBroken:
    """Follow the chain from its first row, or again from the row of `since`; `told` hears how many rows were followed.

    Raises: StateUnavailable.
    """
    chain = Chain() if since is None else just_before(since)
    async for row in state.audit_rows(None if since is None else chain.seq):
        step = follow(chain, row, kept)
        if isinstance(step, ChainBroken):
            return step
        chain = step
        told(chain.rows)
    return finish(chain, kept)


class AuditWatch:
    """Verifies what was added since the last time, the whole chain at first and for as long as something is wrong."""

    def __init__(self, *, state: State, reporter: Reporter) -> None:
        """Nothing is verified yet."""
        self._state = state
        self._reporter = reporter
        self._head: Head | None = None  # the newest that was ever verified; never forgotten, or a cut would heal itself
        self._since: Head | None = None

    async def check(self) -> None:
        """Follow the chain and tell what it comes to. An audit without rows is not told: it vouches for nothing."""
        kept = keep(() if self._head is None else (self._head,))
        since, self._since = self._since, None
        try:
            found = await follow_chain(self._state, kept, since=since)
        except SidecarError as error:
            self._reporter.emit(AuditChecked(verdict=Verdict.UNKNOWN, detail=str(error)))
            return
        if isinstance(found, ChainBroken):
            self._reporter.emit(
                AuditChecked(
                    verdict=Verdict.UNHEALTHY, seq=found.seq, rows=found.rows, flaw=found.flaw, detail=found.detail
                )
            )
        elif found.head is not None:
            self._head = self._since = found.head
            told = AuditChecked(verdict=Verdict.HEALTHY, seq=found.head.seq, hash=found.head.hash, rows=found.rows)
            self._reporter.emit(told)
