"""Several hands on one switch: whoever freezes, nothing is written."""

from collections.abc import Sequence

from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.maintenance import Calendar
from sidecar.ports import Clock, FreezeSwitch


class FreezeCalendar:
    """Implements `sidecar.ports.FreezeSwitch` by the maintenance windows that say `freeze`."""

    def __init__(self, calendar: Calendar, clock: Clock) -> None:
        """Go by `calendar` alone; what a reload may change of it is for the reload to judge."""
        self._calendar = calendar
        self._clock = clock

    async def thrown(self) -> Refuse | None:
        """Refuse within such a window, and while nobody can say whether it is one."""
        try:
            windows = self._calendar.freezing(self._clock.now())
        except Exception as error:  # noqa: BLE001  # a bug, or a clock out of range: what is not known is not "off"
            return Refuse(
                guard=GuardName.FREEZE_UNREADABLE,
                value=f"the maintenance windows cannot be judged: {type(error).__name__}",
                limit="in one, or in none",
                hint="while nobody can say whether one freezes, nothing is written",
            )
        if not windows:
            return None
        return Refuse(
            guard=GuardName.FROZEN,
            value=windows[0].stop,
            limit="not frozen",
            hint="wait until the window is over",
        )


class Switches:
    """Implements `sidecar.ports.FreezeSwitch` by several: one that is thrown is enough."""

    def __init__(self, *switches: FreezeSwitch) -> None:
        """Ask them in this order."""
        self._switches: Sequence[FreezeSwitch] = switches

    async def thrown(self) -> Refuse | None:
        """Return the first refusal."""
        for switch in self._switches:
            if (refusal := await switch.thrown()) is not None:
                return refusal
        return None
