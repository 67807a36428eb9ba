"""Whose turn a rule's tick is among replicas, and whose run has fallen silent."""

from sidecar.ports import Clock, State

REAP_SECONDS = 3.0  # how often silent runs are looked for: a takeover begins within a lease and this


class Reaper:
    """Keeps a rule to one replica an interval, and lets any replica take up what a dead one left."""

    def __init__(self, *, state: State, clock: Clock, holder: str) -> None:
        """Claim ticks as `holder`."""
        self._state = state
        self._clock = clock
        self._holder = holder
        self._silent: set[str] = set()

    async def find_silent(self) -> list[str]:
        """Return the rules whose run nobody works on any more; each may tick out of turn once."""
        found = await self._state.silent_rules(self._clock.now())
        self._silent.update(found)
        return found

    async def takes(self, rule: str, every_seconds: float) -> bool:
        """Say whether this replica may tick the rule now: it is its turn, or there is a silent run to take up."""
        is_silent = rule in self._silent
        self._silent.discard(rule)
        return await self._state.claim_tick(rule, every_seconds, self._holder, self._clock.now()) or is_silent
