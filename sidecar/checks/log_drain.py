"""What is handed in by log drains: counted at once for every check that takes it, and forgotten."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.checks.signatures import Counter, Signature, merged


@dataclass(frozen=True, slots=True)
class Arrived:
    """What arrived since it was last asked: counts by the second, and when something last did."""

    counts: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    last_at: datetime | None = None


class LogDrain:
    """Counts records from any thread; each check fetches its own counts from the event loop."""

    def __init__(self, takers: Mapping[str, Sequence[Signature]]) -> None:
        """Take the signatures of every check with `drain: true`, by check."""
        self._takers = takers
        self._lock = threading.Lock()
        self._arrived: dict[str, dict[int, dict[str, int]]] = {name: {} for name in takers}
        self._last_at: datetime | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether any check takes what is drained."""
        return bool(self._takers)

    def take(self, records: Sequence[str], at: datetime) -> int:
        """Count records; return how many times a signature was seen."""
        texts = [record.replace("\n", " ").encode("utf-8", "replace") for record in records]
        found: dict[str, dict[str, int]] = {}
        for name, signatures in self._takers.items():
            counter = Counter(signatures)
            for text in texts:
                counter.feed(text)
            found[name] = counter.counts
        second = int(at.timestamp())
        with self._lock:
            self._last_at = at
            for name, counts in found.items():
                if counts:
                    waiting = self._arrived[name]
                    waiting[second] = merged(waiting.get(second, {}), counts)
        return sum(number for counts in found.values() for number in counts.values())

    def fetch(self, check: str) -> Arrived:
        """Hand over what arrived for a check since the last time."""
        with self._lock:
            counts = self._arrived.get(check, {})
            if check in self._arrived:
                self._arrived[check] = {}
            return Arrived(counts, self._last_at)

    def give_back(self, check: str, arrived: Arrived) -> None:
        """Take back what could not be remembered."""
        with self._lock:
            waiting = self._arrived.setdefault(check, {})
            for second, counts in arrived.counts.items():
                waiting[second] = merged(waiting.get(second, {}), counts)
