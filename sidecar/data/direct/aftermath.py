"""What the direct path can do to rows that it wrote. Implements `sidecar.afterwards.Direct`."""

from typing import TYPE_CHECKING

from sidecar.data.direct.correcting import Correcting
from sidecar.data.direct.undoing import Undoing

if TYPE_CHECKING:
    from sidecar.afterwards import Direct
    from sidecar.sessions import Sessions


class Aftermath(Correcting, Undoing):
    """Corrects and undoes."""


if TYPE_CHECKING:

    def _conforms(sessions: Sessions) -> Direct:
        return Aftermath(sessions)
