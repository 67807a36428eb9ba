"""Ports for what looks see and people say: verdicts, balances, quarantine. Apart from `sidecar.ports` for its size."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sidecar.domain.check import CheckState
from sidecar.domain.credits import Anchor
from sidecar.domain.look import Baseline, Sighting, Unproven
from sidecar.domain.rule import Amount
from sidecar.domain.run import Settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was kept under a name, and how often it was changed."""

    body: str
    version: int


class Notebook(Protocol):
    """What checks remember from look to look, over restarts; part of `State`. No secret and no line of a log."""

    async def recall(self, name: str) -> Kept | None:
        """Return what was kept under a name."""
        ...

    async def keep(self, name: str, body: str, version: int, at: datetime) -> bool:
        """Keep `body` in the place of version `version` (0: of nothing); False when somebody was quicker."""
        ...

    async def spend(self, purse: str, credits_: int, at_most: int, since: datetime, at: datetime) -> bool:
        """Take credits out of a purse, unless more than `at_most` would then be spent after `since`; say if it did."""
        ...


class BalanceBook(Protocol):
    """Balances that a look sees and remembers; part of `State`, handed to `Data` for the time of one look."""

    def known(self, table: str) -> AsyncIterator[tuple[str, Amount]]:
        """Yield (key, balance) as last seen in a proven look, ascending by key."""
        ...

    async def note(self, look_id: int, table: str, seen: Sequence[tuple[str, Amount]], at: datetime) -> None:
        """Remember changed balances. They count as evidence only once the look is closed as proven."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """A balance that a person vouched for, and why."""

    amount: Amount
    reason: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What became of one key in one run."""

    run_id: str
    rule: str
    at: datetime
    settled: Settled
    in_flight: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """One row held back. `source`: look (re-judged at each proven look) or run (held until `until_at` or released)."""

    id: int
    rule: str
    key: str
    reason: str
    source: str
    since_at: datetime
    until_at: datetime | None


class Sights(BalanceBook, Protocol):
    """What looks saw and what people said; part of `State`."""

    async def save_check(self, check: str, state: CheckState) -> None:
        """Remember a check's standing verdict."""
        ...

    async def check_states(self) -> Mapping[str, CheckState]:
        """Return the standing verdicts, by check; `last` is None in each."""
        ...

    async def open_look(self, rule: str, at: datetime) -> int:
        """Announce a look and return its id."""
        ...

    async def close_look(self, look_id: int, sighting: Sighting | Unproven, at: datetime) -> None:
        """Close a look. When proven: confirm each candidate once more, forget the others, adopt the baseline."""
        ...

    async def confirmations(self, rule: str) -> Mapping[str, int]:
        """Return in how many consecutive proven looks each current candidate was seen."""
        ...

    async def baseline(self, rule: str) -> Baseline | None:
        """Return what the last proven look saw."""
        ...

    async def drop_baseline(self, rule: str, actor: str, at: datetime) -> None:
        """Accept whatever the next look sees: a person said that the change was meant."""
        ...

    async def anchors(
        self, table: str, keys: Sequence[str], before: datetime | None = None
    ) -> Mapping[str, tuple[Anchor, ...]]:
        """Return each key's latest attestation and latest proven snapshot, or those of before an instant."""
        ...

    async def anchored_since(
        self, table: str, keys: Sequence[str], since: datetime, *, missed_since: datetime
    ) -> frozenset[str]:
        """Return the keys that somebody vouched for, or whose balance a look noted, since an instant.

        And those whose row an undo ever took back: until then a sight of it counted. And those whose row was there
        again, and is missed only since `missed_since`.
        All of them where a person has accepted another database since.
        """
        ...

    async def attest(self, table: str, key: str, amount: Amount, reason: str, actor: str, at: datetime) -> None:
        """Record the number that a person vouches for."""
        ...

    async def attested(self, table: str, key: str) -> list[Attested]:
        """Return every balance that a person vouched for, oldest first."""
        ...

    async def touched(self, key: str) -> list[Touched]:
        """Return what became of one key in every run that planned it, oldest first."""
        ...

    async def hold(
        self, rule: str, reasons: Mapping[str, str], source: str, at: datetime, until_at: datetime | None
    ) -> None:
        """Quarantine keys with their reasons. For source `look` this replaces the rule's whole set of that source."""
        ...

    async def held(self, rule: str | None, now: datetime) -> list[Quarantined]:
        """Return what is in quarantine now, oldest first."""
        ...

    async def let_go(self, quarantine_id: int, actor: str, at: datetime) -> bool:
        """Release one row; False when there is no such entry."""
        ...
