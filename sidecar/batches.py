"""Ports for one batch of a run: its transaction, and what became of its rows. Part of `sidecar.ports`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sidecar.domain.rule import Value
from sidecar.domain.run import Settled


class Transaction(Protocol):
    """A transaction that a batch is written in. Only the adapters that share it look inside."""

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AsPlanned:
    """Rows that the database itself found to be as they were planned, column by column.

    `digests` is a JSON object, key to digest of the whole row. It goes to memory as it is: thousands of rows of a batch
    need not become thousands of values here in between.
    """

    count: int
    digests: str

    @property
    def by_key(self) -> Mapping[str, str]:
        """The digests by key, read out of the text."""
        found: dict[str, str] = json.loads(self.digests)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """What one insert of a batch came to: the rows that the database returned, by key, but for those `as_planned`.

    `digests` are of whole rows, by key: what undo compares with. Empty where the path cannot undo.
    """

    rows: Mapping[str, Mapping[str, Value]]
    digests: Mapping[str, str] = field(default_factory=dict)
    as_planned: AsPlanned | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """A row of a run. `in_flight` says that its batch was announced and its end was never recorded."""

    key: str
    settled: Settled
    in_flight: bool


class Batch(Protocol):
    """A batch that was announced. Nothing of it counts before `settle`, and, in a transaction, before its commit."""

    @property
    def frozen(self) -> str | None:
        """Who froze the rule: then nothing was announced and nothing may be written."""
        ...

    @property
    def transaction(self) -> Transaction | None:
        """The transaction that the rows must be written in; None where memory and data live apart."""
        ...

    async def settle(self, results: Mapping[str, Settled], now: datetime, as_planned: AsPlanned | None = None) -> None:
        """Record what became of the batch's rows; those `as_planned` are inserted. Raises: LeaseLost."""
        ...
