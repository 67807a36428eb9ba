"""A file that freezes everything by being there, for hands that cannot reach Sidecar's memory."""

import asyncio
import os
import stat
import textwrap
from pathlib import Path

from sidecar.domain.decide import GuardName, Refuse

REASON_BYTES_AT_MOST = 4096
REASON_CHARACTERS_AT_MOST = 160


class FreezeFile:
    """Implements `sidecar.ports.FreezeSwitch` by one path."""

    def __init__(self, path: Path) -> None:
        """Look at `path`; nothing need be there."""
        self._path = path

    async def thrown(self) -> Refuse | None:
        """Refuse while the file is there, and while nobody can say whether it is."""
        return await asyncio.to_thread(self._look)  # a dead network share must not hold the loop, only the writing

    def _look(self) -> Refuse | None:
        try:
            mode = os.lstat(self._path).st_mode
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a usable path"
            return Refuse(
                guard=GuardName.FREEZE_UNREADABLE,
                value=f"{self._path} cannot be examined: {why}",
                limit="there, or not there",
                hint="while nobody can say whether it is there, nothing is written",
            )
        return Refuse(
            guard=GuardName.FROZEN,
            value=f"the file {self._path} froze everything: {_reason(self._path, mode)}",
            limit="not frozen",
            hint=f"remove {self._path}",
        )


def _reason(path: Path, mode: int) -> str:
    """Return what the file says. That it is there is enough, so what cannot be read changes nothing."""
    if not stat.S_ISREG(mode):
        return "not a regular file"
    try:
        with path.open("rb") as file:
            text = file.read(REASON_BYTES_AT_MOST).decode("utf-8", errors="replace")
    except OSError:
        return "its text cannot be read"
    shown = "".join(character if character.isprintable() else " " for character in text)
    return textwrap.shorten(shown, REASON_CHARACTERS_AT_MOST, placeholder=" …") or "no reason given"
