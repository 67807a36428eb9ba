"""What every part of the memory stands on."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sidecar.state.database import Database

AT_ONCE = 500  # values in one IN list or one executemany: keeps the event loop free in between

Item = TypeVar("Item")


class Store:
    """A part of the memory. Each of its methods is one transaction."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database


def slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Cut a sequence into pieces of at most AT_ONCE."""
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]
