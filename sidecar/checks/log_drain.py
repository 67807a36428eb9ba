"""What is handed in by log drains: counted at once for every check that takes it, and forgotten."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sidecar.checks.signatures import Counter, Signature, merged


@dataclass(frozen=True, slots=True)
class Arrived:
    """What arrived since it was last asked: counts by the second, and when something last did."""

    counts: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    last_at: datetime | None = None


@dataclass(slots=True)
class _Taker:
    """What one check counts, and what waits for its next look."""

    signatures: Sequence[Signature]
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    last_at: datetime | None = None

    def add(self, second: int, counts: Mapping[str, int]) -> None:
        if counts:
            self.counts[second] = merged(self.counts.get(second, {}), counts)


class LogDrain:
    """Counts records from any thread; each check fetches its own counts from the event loop. One for the process."""

    def __init__(self, takers: Mapping[str, Sequence[Signature]]) -> None:
        """Take the signatures of every check with `drain: true`, by check."""
        self._lock = threading.Lock()
        self._takers: Mapping[str, _Taker] = {}
        self.follow(takers)

    def follow(self, takers: Mapping[str, Sequence[Signature]]) -> None:
        """Count these signatures from now on. What waits for a check that stays goes on waiting."""
        with self._lock:
            before = self._takers
            kept = {name: before[name] for name in takers if name in before}
            self._takers = {
                name: replace(kept[name], signatures=signatures) if name in kept else _Taker(signatures)
                for name, signatures in takers.items()
            }

    @property
    def is_wanted(self) -> bool:
        """Whether any check takes what is drained."""
        return bool(self._takers)

    def take(self, records: Sequence[str], at: datetime) -> int:
        """Count records; return how many times a signature was seen."""
        texts = [record.replace("\n", " ").encode("utf-8", "replace") for record in records]
        found: dict[str, Mapping[str, int]] = {}
        for name, taker in self._takers.items():
            counter = Counter(taker.signatures)
            for text in texts:
                counter.feed(text)
            found[name] = counter.counts
        with self._lock:
            for name, counts in found.items():
                if (now := self._takers.get(name)) is not None:  # a reload may have dropped it meanwhile
                    now.last_at = at
                    now.add(int(at.timestamp()), counts)
        return sum(number for counts in found.values() for number in counts.values())

    def fetch(self, check: str, signatures: Sequence[Signature]) -> Arrived:
        """Hand over what arrived for a check since the last time; nothing to a look that a reload overtook."""
        with self._lock:
            taker = self._takers.get(check)
            if taker is None or tuple(taker.signatures) != tuple(signatures):
                return Arrived()
            counts, taker.counts = taker.counts, {}
            return Arrived(counts, taker.last_at)

    def give_back(self, check: str, arrived: Arrived) -> None:
        """Take back what could not be remembered."""
        with self._lock:
            if (taker := self._takers.get(check)) is not None:
                for second, counts in arrived.counts.items():
                    taker.add(second, counts)
