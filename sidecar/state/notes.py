"""What a run that is under way says about itself."""

from datetime import datetime

from sidecar.state.leases import fence
from sidecar.state.store import Store
from sidecar.state.tables import runs


class Notes(Store):
    """Why a run that has a holder does not move."""

    async def note_run(self, run_id: str, lease: str, epoch: int, detail: str, now: datetime) -> None:
        """Say why a run waits ('' when it goes on), which is a sign of life as well. Raises: LeaseLost.

        Leaves no audit row: nothing is decided by it.
        """
        said = runs.update().where(runs.c.id == run_id, runs.c.epoch == epoch).values(detail=detail, heartbeat_at=now)
        async with self._database.writing() as connection:
            await fence(connection, lease, epoch)
            await connection.execute(said)
