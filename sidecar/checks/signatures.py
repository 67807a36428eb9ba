"""Signatures of log lines, and counting them. A line is looked at once and never kept.

A regular expression is RE2's, through CEL's `matches`: its time grows with the length of the line and with nothing
else, so that no pattern can hang.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.checks.conditions import Condition, Errored, Held, Shape, compile_condition

PATTERN_AT_MOST = 500  # characters
_NOT_RE2 = "is no regular expression of RE2: it has no look-around and no back-references"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a line must contain, and what it must match, where given. `at_most` is how often it may be seen.

    `matches` is the compiled `pattern`.
    """

    name: str
    contains: bytes = field(default=b"", repr=False)
    pattern: str = field(default="", repr=False)
    matches: Condition | None = field(default=None, repr=False)
    at_most: int = 0

    @property
    def key(self) -> str:
        """Under what its counts are kept: another text under the same name begins at 0."""
        text = self.contains + b"\0" + self.pattern.encode()
        return f"{self.name}:{hashlib.sha256(text).hexdigest()[:8]}"

    def count(self, block: bytes) -> int:
        """Count lines of a block that have it. What is not UTF-8 shows as the replacement character."""
        if self.contains not in block:
            return 0
        return sum(self._has(line) for line in block.split(b"\n"))

    def _has(self, line: bytes) -> bool:
        if self.contains not in line:
            return False
        if self.matches is None:
            return True
        return isinstance(self.matches.holds({"line": line.decode("utf-8", "replace")}), Held)


def compile_pattern(pattern: str) -> Condition:
    """Compile a regular expression. Raises: ValueError for one that RE2 does not know."""
    if len(pattern) > PATTERN_AT_MOST:
        message = f"a pattern of {len(pattern)} characters; at most {PATTERN_AT_MOST}"
        raise ValueError(message)
    condition = compile_condition(f"line.matches({json.dumps(pattern, ensure_ascii=False)})", {"line": Shape.STRING})
    if isinstance(condition.holds({"line": ""}), Errored):
        raise ValueError(_NOT_RE2)  # noqa: TRY004  # the text is wrong, not its type
    return condition


@dataclass(slots=True)
class Counter:
    """Counts of one reading, by the signatures' keys."""

    signatures: Sequence[Signature]
    counts: dict[str, int] = field(default_factory=dict)
    bytes_read: int = 0

    def feed(self, block: bytes) -> None:
        """Look at whole lines."""
        self.bytes_read += len(block)
        for signature in self.signatures:
            if found := signature.count(block):
                self.counts[signature.key] = self.counts.get(signature.key, 0) + found


def merged(*counts: Mapping[str, int]) -> dict[str, int]:
    """Add counts up."""
    found: dict[str, int] = {}
    for some in counts:
        for key, number in some.items():
            found[key] = found.get(key, 0) + number
    return found
