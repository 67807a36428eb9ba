"""Two ordered streams merged in constant memory: evidence keys without their row, and balances that changed."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.domain.rule import Amount
from sidecar.sights import BalanceBook

NOTED_AT_ONCE = 1000
NOTED_KEYS_HELD = 100_000  # about 10 MB; a first look notes everybody


@dataclass(slots=True)
class Tally:
    """What one pass over both streams saw."""

    ledger_rows: int = 0
    expected_rows: int = 0
    candidates: list[str] = field(default_factory=list)


class Noted:
    """Keys that a pass of a look noted; beyond a bound it answers yes for every key, which only costs notes."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._keys: set[str] = set()

    def add(self, keys: Iterable[str]) -> None:
        """Hold keys, as far as there is room."""
        if len(self._keys) <= NOTED_KEYS_HELD:
            self._keys.update(keys)

    def __contains__(self, key: str) -> bool:
        """Say whether a key may have been noted."""
        return len(self._keys) > NOTED_KEYS_HELD or key in self._keys


async def keys_without_row(ledger: AsyncIterator[str], expected: AsyncIterator[str], tally: Tally) -> Tally:
    """Merge two ascending key streams; count every row of both; keep ledger keys that `expected` does not have.

    Shape: `ledger` may repeat a key, `expected` may not. Both ascend in text order (canonical uuids do as uuids do).
    """
    here = await anext(expected, None)
    last: str | None = None
    async for key in ledger:
        tally.ledger_rows += 1
        if key == last:
            continue
        last = key
        while here is not None and here < key:
            tally.expected_rows += 1
            here = await anext(expected, None)
        if here != key:
            tally.candidates.append(key)
    while here is not None:
        tally.expected_rows += 1
        here = await anext(expected, None)
    return tally


async def noting(
    seen: AsyncIterator[tuple[str, Amount | None]],
    book: BalanceBook,
    look_id: int,
    table: str,
    at: datetime,
    noted: Noted,
) -> AsyncGenerator[str]:
    """Pass the keys on, and note each balance that differs from the one last seen; None is no balance.

    What an earlier pass of this look noted is noted again, whatever it is: of one look, the last note counts.
    """
    known = aiter(book.known(table))
    before = await anext(known, None)
    changed: list[tuple[str, Amount]] = []
    async for key, balance in seen:
        while before is not None and before[0] < key:
            before = await anext(known, None)
        new = before is None or before[0] != key or before[1] != balance or key in noted
        if balance is not None and new:
            changed.append((key, balance))
        if len(changed) >= NOTED_AT_ONCE:
            await book.note(look_id, table, changed, at)
            noted.add(key for key, _ in changed)
            changed = []
        yield key
    if changed:
        await book.note(look_id, table, changed, at)
        noted.add(key for key, _ in changed)


def chunks(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    """Cut a sequence into pieces of at most `size`."""
    return [keys[start : start + size] for start in range(0, len(keys), size)]
