"""What a tick of a check does beside looking: the pace, the children, and a configuration that moved on."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from sidecar.app import App
from sidecar.domain.check import Check, Observation, Verdict
from sidecar.domain.event import TickMissed
from sidecar.engine.supervisor import Supervisor
from sidecar.engine.ticker import Ticker
from sidecar.live import Live
from sidecar.schedule import Schedule
from tests.domain.cast import a_check, observation
from tests.engine_clock.hearing import Hearing
from tests.fakes import START

UP, DOWN = Verdict.HEALTHY, Verdict.UNHEALTHY


class Backend:
    """Answers for each check by its name, and lets a test wait for looks."""

    def __init__(self, **verdicts: Verdict) -> None:
        self.verdicts = verdicts
        self.looks: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Event] = {}
        self._news = asyncio.Event()

    async def __call__(self, check: Check) -> Observation:
        self.looks[check.name] += 1
        self._news.set()
        if check.name in self.gates:
            await self.gates[check.name].wait()
        return replace(observation(self.verdicts[check.name]), check=check.name, taken_at=START)

    async def seen(self, name: str, times: int) -> None:
        async with asyncio.timeout(15):
            while self.looks[name] < times:
                self._news.clear()
                await self._news.wait()


def with_checks(app: App, backend: Backend, checks: Sequence[Check]) -> App:
    changed = replace(app, config=replace(app.config, checks=tuple(checks), rules=()), probes={"service_key": backend})
    changed.watch.follow(changed.probes, checks)
    return changed


@contextlib.asynccontextmanager
async def ticking(app: App, hearing: Hearing) -> AsyncIterator[tuple[Live, Ticker, Schedule]]:
    async with Supervisor(hearing) as supervisor:
        live = Live(app, contextlib.AsyncExitStack())
        ticker = Ticker(supervisor, hearing, rng=random.Random(1))
        schedule = Schedule(live, ticker)
        ticker.start()
        try:
            yield live, ticker, schedule
        finally:
            ticker.stop()
            await supervisor.drain(5)


SLOW = replace(a_check("slow"), every_seconds=600.0, recheck_every_seconds=0.05)


async def test_a_failing_check_is_looked_at_faster_until_it_is_healthy_again(app: App) -> None:
    backend, hearing = Backend(slow=DOWN), Hearing()
    async with ticking(with_checks(app, backend, [SLOW]), hearing) as (_, ticker, _schedule):
        ticker.request_soon("check", "slow")
        await backend.seen("slow", 4)
        backend.verdicts["slow"] = UP
        await backend.seen("slow", 5)
    assert ticker._paces == {"check slow": 600.0}
    assert not [event for event in hearing.events if isinstance(event, TickMissed)]


async def test_children_look_again_as_soon_as_their_parent_is_back_and_not_before(app: App) -> None:
    gateway = replace(a_check("gateway"), every_seconds=600.0, recheck_every_seconds=0.05)
    child = replace(a_check("child"), every_seconds=600.0, recheck_every_seconds=0.05, depends_on=("gateway",))
    backend = Backend(gateway=DOWN, child=UP)
    async with ticking(with_checks(app, backend, [gateway, child]), Hearing()) as (live, ticker, _):
        ticker.request_soon("check", "child")
        await backend.seen("gateway", 1)
        ticker.request_soon("check", "gateway")
        await backend.seen("gateway", 4)
        assert backend.looks["child"] == 0
        assert live.app.watch.stands("child").verdict is Verdict.UNKNOWN
        backend.verdicts["gateway"] = UP
        await backend.seen("child", 1)


async def test_a_check_that_a_reload_took_away_ends_its_look_and_leaves_nothing_behind(app: App) -> None:
    kept, gone = replace(a_check("kept"), every_seconds=600.0), replace(a_check("gone"), every_seconds=600.0)
    backend, hearing = Backend(kept=UP, gone=DOWN), Hearing()
    backend.gates["gone"] = asyncio.Event()
    async with ticking(with_checks(app, backend, [kept, gone]), hearing) as (live, ticker, schedule):
        for name in ("kept", "gone"):
            ticker.request_soon("check", name)
            await backend.seen(name, 1)
        grid = ticker._scheduler.get_job("check kept").trigger
        fewer = with_checks(live.app, backend, [kept])
        close = live.put(fewer, contextlib.AsyncExitStack())
        schedule.follow()
        await close()
        backend.gates["gone"].set()
        assert ticker._scheduler.get_job("check gone") is None
        assert ticker._scheduler.get_job("check kept").trigger is grid, "what stays keeps its place in time"
    assert set(fewer.watch.standing) == {"kept"}
    assert hearing.events == [event for event in hearing.events if type(event).__name__ == "TickStarted"]


async def test_a_check_that_looks_at_something_else_by_now_begins_anew(app: App) -> None:
    before = replace(a_check("moved"), spec="old")
    backend = Backend(moved=UP)
    with_checks(app, backend, [before])
    await app.watch.look(before)
    assert app.watch.stands("moved").verdict is UP
    with_checks(app, backend, [replace(before, every_seconds=30.0)])
    assert app.watch.stands("moved").verdict is UP, "another interval is no other target"
    with_checks(app, backend, [replace(before, spec="new")])
    assert app.watch.stands("moved").verdict is Verdict.UNKNOWN
    await app.watch.look(before)
    assert app.watch.stands("moved").verdict is Verdict.UNKNOWN, "a look that a reload overtook says nothing"
