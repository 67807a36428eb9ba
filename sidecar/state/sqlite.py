"""The whole memory on SQLite."""

from typing import TYPE_CHECKING

from sidecar.state.attempts import Attempts
from sidecar.state.balances import Balances
from sidecar.state.breakers import Breakers
from sidecar.state.chain import Trail
from sidecar.state.freezes import Freezes
from sidecar.state.leases import Leases
from sidecar.state.looks import Looks
from sidecar.state.notes import Notes
from sidecar.state.plans import Plans
from sidecar.state.quarantine import Quarantine
from sidecar.state.rows import Rows
from sidecar.state.runs import Runs
from sidecar.state.standing import Standing

if TYPE_CHECKING:
    from sidecar.ports import State
    from sidecar.state.database import Database


class SQLiteState(Attempts, Balances, Breakers, Freezes, Leases, Looks, Notes, Plans, Quarantine, Rows, Runs, Standing, Trail):
    """Everything Sidecar remembers, in one file. Implements `sidecar.ports.State`."""


if TYPE_CHECKING:

    def _conforms(database: Database) -> State:
        return SQLiteState(database)
