"""Puts a new configuration in force while everything runs: whole, or not at all."""

import asyncio
import contextlib
from collections.abc import Callable

from sidecar.app import App, reopen_app
from sidecar.config.restart import lifts_freeze, needs_restart
from sidecar.config.settings import Config
from sidecar.domain.event import ConfigLoaded
from sidecar.engine.supervisor import Supervisor, describe_fault
from sidecar.errors import ConfigError, SidecarError
from sidecar.live import Live


class Reload:
    """Reads the configuration again when somebody asks. On any problem the last good one stays in force."""

    def __init__(
        self, live: Live, supervisor: Supervisor, *, load: Callable[[], Config], follow: Callable[[App], None]
    ) -> None:
        """`load` reads the configuration; `follow` makes everything outside of the app go by the new one, at once."""
        self._live = live
        self._supervisor = supervisor
        self._load = load
        self._follow = follow
        self._turn = asyncio.Lock()
        self._wanted = False

    def request(self) -> None:
        """Reload soon, by a signal. One that comes while a reload runs leads to another one after it."""
        self._wanted = True
        self._supervisor.submit("reload", self._as_wanted)

    async def _as_wanted(self) -> None:
        while self._wanted:
            self._wanted = False
            await self.reload("SIGHUP")

    async def reload(self, by: str) -> tuple[str, ...]:
        """Reload now, and tell; return every problem, none when the new configuration is in force."""
        async with self._turn:
            if self._supervisor.stopping.is_set():
                return ("Sidecar is stopping",)
            try:
                problems = await self._try()
            except ConfigError as error:
                problems = tuple(str(problem) for problem in error.problems)
            except SidecarError as error:
                problems = (str(error),)
            except Exception as error:  # noqa: BLE001  # the boundary: whatever it is, the last good one stays
                self._live.app.reporter.emit(describe_fault("reload", error))
                problems = (f"a fault of Sidecar's own: {type(error).__name__}; see the log",)
            self._live.app.reporter.emit(loaded(self._live.app, by, problems))
            return problems

    async def _try(self) -> tuple[str, ...]:
        before = self._live.app
        config = await asyncio.to_thread(self._load)
        if problems := (
            *needs_restart(before.config, config),
            *lifts_freeze(before.config, config, before.clock.now()),
        ):
            return problems
        async with contextlib.AsyncExitStack() as opened:
            app = await opened.enter_async_context(reopen_app(before, config))
            kept = opened.pop_all()
        # No other task runs between these lines: everything goes by the new configuration at the same moment.
        replaced = self._live.put(app, kept)
        app.take_over()
        self._follow(app)
        await replaced()
        return ()


def loaded(app: App, by: str, problems: tuple[str, ...] = ()) -> ConfigLoaded:
    """Return the event that tells which configuration is in force, and who asked for it."""
    config = app.config
    return ConfigLoaded(
        at=app.clock.now(),
        by=by,
        digest=config.digest,
        checks=len(config.checks),
        rules=len(app.every_rule),
        problems=problems,
    )
