"""The whole memory on SQLite."""

from datetime import datetime
from typing import TYPE_CHECKING

from sidecar.state.memory import Memory

if TYPE_CHECKING:
    from sidecar.ports import State
    from sidecar.state.database import SQLiteDatabase


class SQLiteState(Memory):
    """Everything Sidecar remembers, in one file. Implements `sidecar.ports.State`."""

    async def horizon_passed(self, run_id: str) -> bool:  # noqa: ARG002  # the port's signature
        """Return True: the file knows nothing of the data's transactions, so there is nothing to ask."""
        return True

    async def overlap_ended_at(self, run_id: str) -> datetime | None:  # noqa: ARG002  # the port's signature
        """Return None: nobody knows, so nothing is corrected."""
        return None


if TYPE_CHECKING:

    def _conforms(database: SQLiteDatabase) -> State:
        return SQLiteState(database)
