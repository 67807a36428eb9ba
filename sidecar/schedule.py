"""What ticks: the checks and rules of the configuration in force, and what a tick of each does."""

import contextlib

from sidecar.app import App
from sidecar.domain.check import Verdict, pace_seconds
from sidecar.domain.dependence import is_barred
from sidecar.domain.event import TickPostponed
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome
from sidecar.domain.survey import Survey
from sidecar.engine.reaper import REAP_SECONDS, Reaper
from sidecar.engine.supervisor import Work
from sidecar.engine.ticker import Tick, Ticker
from sidecar.live import Live

SHARE_OF_TIME = 0.05  # how much of wall time a rule may spend looking over REST
BLIND_TICKS_AT_MOST = 4  # a rule that cannot look backs off to this multiple of its interval


class Schedule:
    """Keeps the ticker in step with the configuration. A tick finds its check or rule by name when it comes."""

    def __init__(self, live: Live, ticker: Ticker) -> None:
        """Let everything tick that the app in force has."""
        self._live = live
        self._ticker = ticker
        self._reaper = Reaper(state=live.app.state, clock=live.app.clock, holder=live.app.holder)
        self._every: dict[tuple[str, str], float] = {}
        self._blind: dict[str, int] = {}
        self.follow()
        if live.app.shares_memory:
            ticker.add(Tick(kind="reaper", name="runs", every_seconds=REAP_SECONDS, work=self._reap))

    def follow(self) -> None:
        """Let tick what the app in force has: what is as before keeps its place in time."""
        app = self._live.app
        wanted = {("check", check.name): check.every_seconds for check in app.config.checks}
        wanted |= {("rule", rule.name): rule.every_seconds for rule in app.every_rule}
        for kind, name in [key for key, every_seconds in self._every.items() if wanted.get(key) != every_seconds]:
            self._ticker.remove(kind, name)
            del self._every[kind, name]
            self._blind.pop(name, None)
        for (kind, name), every_seconds in wanted.items():
            if (kind, name) not in self._every:
                work = self._look(name) if kind == "check" else self._cycle(name)
                self._ticker.add(Tick(kind=kind, name=name, every_seconds=every_seconds, work=work))
        self._every = wanted

    async def _reap(self) -> None:
        """Take up what a dead replica left, without waiting for the rule's next tick."""
        for rule in await self._reaper.find_silent():
            with contextlib.suppress(KeyError):  # of a rule that only another replica has
                self._ticker.request_soon("rule", rule)

    def _look(self, name: str) -> Work:
        async def work() -> None:
            async with self._live.using() as app:
                if (check := app.checks.get(name)) is not None:
                    stood = app.watch.stands(name).verdict
                    try:
                        await app.watch.look(check)
                    finally:
                        with contextlib.suppress(KeyError):  # of a check that a reload took away meanwhile
                            self._after_look(app, name, stood)

        return work

    def _after_look(self, app: App, name: str, stood: Verdict) -> None:
        """Look again sooner while it fails, leave a target alone that asked for it, and let children look again."""
        check, state = app.checks[name], app.watch.stands(name)
        seen = state.last
        self._ticker.set_pace("check", name, check.every_seconds if is_barred(seen) else pace_seconds(check, state))
        if seen is not None and seen.retry_after_seconds is not None:
            self._ticker.not_before("check", name, seen.retry_after_seconds)
        if state.verdict is Verdict.HEALTHY and stood is not Verdict.HEALTHY:
            for child in app.config.checks:
                if name in child.depends_on and is_barred(app.watch.stands(child.name).last):
                    self._ticker.request_soon("check", child.name)

    def _cycle(self, name: str) -> Work:
        async def work() -> None:
            async with self._live.using() as app:
                rule = next((rule for rule in app.every_rule if rule.name == name), None)
                if rule is not None and (not app.shares_memory or await self._reaper.takes(name, rule.every_seconds)):
                    await self._tick(app, rule)

        return work

    async def _tick(self, app: App, rule: Rule | Survey) -> None:
        """Do what past runs are due, one cycle, then rest as its cost and luck ask for."""
        if isinstance(rule, Rule):
            await app.reverifier.due(rule)
        started = app.clock.monotonic()
        cycle = await (app.surveyor.look(rule) if isinstance(rule, Survey) else app.repair.tick(rule))
        took_seconds = app.clock.monotonic() - started
        blind = min(self._blind.get(rule.name, 0) + 1, BLIND_TICKS_AT_MOST) if cycle.outcome is Outcome.UNKNOWN else 0
        self._blind[rule.name] = blind
        rests = {
            "asked": cycle.retry_after_seconds or 0.0,
            "cost": 0.0 if app.shares_memory or cycle.run_id is not None else took_seconds / SHARE_OF_TIME,
            "blind": rule.every_seconds * blind,
        }
        cause = max(rests, key=lambda cause: rests[cause])
        if rests[cause] > rule.every_seconds:
            app.reporter.emit(TickPostponed(rule=rule.name, cause=cause, rest_seconds=round(rests[cause], 3)))
            with contextlib.suppress(KeyError):  # of a rule that a reload took away meanwhile
                self._ticker.not_before("rule", rule.name, rests[cause])
