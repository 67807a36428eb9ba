"""The whole memory, as far as it is the same wherever it is kept."""

from sidecar.state.attempts import Attempts
from sidecar.state.balances import Balances
from sidecar.state.biographies import Biographies
from sidecar.state.breakers import Breakers
from sidecar.state.chain import Trail
from sidecar.state.freezes import Freezes
from sidecar.state.keepsakes import Keepsakes
from sidecar.state.leases import Leases
from sidecar.state.looks import Looks
from sidecar.state.notes import Notes
from sidecar.state.plans import Plans
from sidecar.state.quarantine import Quarantine
from sidecar.state.reaping import Reaping
from sidecar.state.rows import Rows
from sidecar.state.runs import Runs
from sidecar.state.standing import Standing
from sidecar.state.ticks import Ticks
from sidecar.state.undos import Undos
from sidecar.state.verifications import Verifications


class Memory(
    Attempts,
    Balances,
    Biographies,
    Breakers,
    Freezes,
    Keepsakes,
    Leases,
    Looks,
    Notes,
    Plans,
    Quarantine,
    Reaping,
    Rows,
    Runs,
    Standing,
    Ticks,
    Trail,
    Undos,
    Verifications,
):
    """Everything Sidecar remembers. A new part joins here, and is on SQLite and PostgreSQL then."""
