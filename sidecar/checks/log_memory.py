"""What a `log_signature` check remembers: where each file was left, and how often what was seen lately. No lines."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.checks.log_tail import Position
from sidecar.checks.signatures import merged

SLICES = 60  # of the window; counts are kept by the slice


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMemory:
    """`counts` maps the start of a slice (Unix seconds) to counts by a signature's key. Instants are Unix seconds."""

    files: Mapping[str, Position] = field(default_factory=dict)
    counts: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    since: int = 0
    drained_at: int = 0

    def added(self, at: int, counts: Mapping[str, int], slice_seconds: int) -> "dict[int, Mapping[str, int]]":
        """Return the counts with more of them in the slice of an instant."""
        start = at - at % slice_seconds
        return {**self.counts, start: merged(self.counts.get(start, {}), counts)}

    def seen(self, key: str, since: float, slice_seconds: int) -> int:
        """Return how often a signature was seen in slices that ended after an instant."""
        return sum(counts.get(key, 0) for start, counts in self.counts.items() if start + slice_seconds > since)

    def text(self, keys: Iterable[str], since: float, slice_seconds: int) -> str:
        """Return it as JSON, without what is too old and what nobody asks for any more."""
        known = set(keys)
        kept = {
            str(start): {key: number for key, number in counts.items() if key in known}
            for start, counts in sorted(self.counts.items())
            if start + slice_seconds > since
        }
        return json.dumps(
            {
                "files": {name: position.document() for name, position in self.files.items()},
                "counts": {start: counts for start, counts in kept.items() if counts},
                "since": self.since,
                "drained_at": self.drained_at,
            }
        )


def log_memory(text: str) -> LogMemory:
    """Read it back. Raises: ValueError, KeyError, TypeError for what is none."""
    document = json.loads(text)
    return LogMemory(
        files={name: Position(**position) for name, position in document["files"].items()},
        counts={int(start): counts for start, counts in document["counts"].items()},
        since=document["since"],
        drained_at=document["drained_at"],
    )
