"""Guess which existing name was meant, as PostgREST does in its hints."""

from collections.abc import Iterable

_ALIKE_AT_LEAST = 0.75  # PostgREST src/PostgREST/Error.hs, getFuzzyHint


def nearest(name: str, known: Iterable[str], alike_at_least: float = _ALIKE_AT_LEAST) -> str | None:
    """Return the known name most like `name`, or None where none is alike enough."""
    likeness, best = max(((_likeness(name.lower(), other.lower()), other) for other in known), default=(0.0, ""))
    return best if likeness >= alike_at_least else None


def _likeness(one: str, other: str) -> float:
    """Return 1 for equal texts, less by each edit (Levenshtein) over the longer length, and 0 without a common pair."""
    if not _pairs(one) & _pairs(other):
        return 0.0
    row = list(range(len(other) + 1))
    for index, char in enumerate(one, 1):
        left, row[0] = row[0], index
        for place, against in enumerate(other, 1):
            left, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, left + (char != against))
    return 1 - row[-1] / max(len(one), len(other))


def _pairs(text: str) -> set[str]:
    padded = f"-{text}-"
    return {padded[at : at + 2] for at in range(len(padded) - 1)}
