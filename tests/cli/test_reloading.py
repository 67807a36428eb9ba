"""A reload from the inside: what keeps it from being done, and what it leaves behind."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sidecar.app import App, open_app
from sidecar.checks.log_signature import LogSignatureKeys
from sidecar.config.settings import Config
from sidecar.config.variables import Secret
from sidecar.domain.check import Check
from sidecar.domain.event import ConfigLoaded, FaultCaught
from sidecar.engine.supervisor import Supervisor
from sidecar.errors import ConfigError, Problem, StateUnavailable
from sidecar.live import Live
from sidecar.reload import Reload
from tests.cli.cast import a_config
from tests.domain.cast import a_check
from tests.engine_clock.hearing import Hearing

MISTAKE = ConfigError((Problem(file="sidecar.yaml", line=3, column=1, path="checks", message="is missing", hint=""),))


@dataclass
class Bench:
    """An open app, and a reload whose configuration a test decides."""

    live: Live
    hearing: Hearing
    config: Config
    loads: list[Callable[[], Config]] = field(default_factory=list)
    followed: list[App] = field(default_factory=list)
    reload: Reload = field(init=False)

    def load(self) -> Config:
        return self.loads.pop(0)() if self.loads else self.config


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    config = replace(a_config(tmp_path, []), state_url=f"sqlite:///{tmp_path / 'sidecar.db'}")
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor, open_app(config, hearing, stopping=lambda: False) as app:
        bench = Bench(Live(app, contextlib.AsyncExitStack()), hearing, config)
        bench.reload = Reload(bench.live, supervisor, load=bench.load, follow=bench.followed.append)
        yield bench
        await bench.live.close()


def raising(error: Exception) -> Callable[[], Config]:
    def load() -> Config:
        raise error

    return load


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MISTAKE, "sidecar.yaml:3:1: checks: is missing"),
        (StateUnavailable("the disk is full"), "the disk is full"),
        (RuntimeError("holds a secret"), "a fault of Sidecar's own: RuntimeError; see the log"),
    ],
)
async def test_whatever_keeps_it_from_being_read_the_last_good_one_stays(
    bench: Bench, error: Exception, words: str
) -> None:
    before = bench.live.app
    bench.loads.append(raising(error))
    assert await bench.reload.reload("olga") == (words,)
    assert bench.live.app is before
    assert bench.followed == []
    (told,) = [event for event in bench.hearing.events if isinstance(event, ConfigLoaded)]
    assert (told.by, told.problems) == ("olga", (words,))
    assert "secret" not in repr(bench.hearing.events)
    faults = [event for event in bench.hearing.events if isinstance(event, FaultCaught)]
    assert len(faults) == isinstance(error, RuntimeError)


async def test_what_needs_a_restart_refuses_the_whole_reload(bench: Bench) -> None:
    bench.config = replace(bench.config, checks=(), freeze_file=Path("elsewhere"))
    (problem,) = await bench.reload.reload("olga")
    assert problem.startswith("state.freeze_file: ")
    assert len(bench.live.app.config.checks) == 1


async def test_memory_standing_verdicts_and_probes_stay_and_a_new_key_makes_new_probes(bench: Bench) -> None:
    first = bench.live.app
    assert await bench.reload.reload("olga") == ()
    second = bench.live.app
    assert bench.followed == [second]
    assert second is not first
    assert (second.state, second.watch, second.common.leases) == (first.state, first.watch, first.common.leases)
    assert second.probes is first.probes, "they may have learnt something"
    bench.config = replace(bench.config, supabase=replace(bench.config.supabase, service_key=Secret("another")))
    assert await bench.reload.reload("olga") == ()
    assert bench.live.app.probes is not first.probes


def counting(*texts: str) -> Check:
    given = {"drain": True, "signatures": [{"name": text, "contains": text} for text in texts]}
    spec = LogSignatureKeys.model_validate_json(json.dumps(given), strict=True).to_spec()
    return replace(a_check("log"), kind="log_signature", spec=spec)


async def test_what_was_drained_and_no_look_has_fetched_outlives_a_reload_whatever_it_changes(bench: Bench) -> None:
    bench.config = replace(bench.config, checks=(counting("lookup"),))
    assert await bench.reload.reload("olga") == ()
    first = bench.live.app
    assert first.drain.take(["lookup failed", "refused"], first.clock.now()) == 1
    bench.config = replace(
        bench.config,
        checks=(counting("lookup", "refused"),),
        supabase=replace(bench.config.supabase, service_key=Secret("another")),
    )
    assert await bench.reload.reload("olga") == ()
    second = bench.live.app
    assert second.drain.take(["refused"], second.clock.now()) == 1
    seen = await second.watch.look(second.check("log"))
    assert seen.facts["signatures"] == {"lookup": {"new": 1, "within": 1}, "refused": {"new": 1, "within": 1}}
    bench.config = replace(bench.config, checks=())
    assert await bench.reload.reload("olga") == ()
    assert not bench.live.app.drain.is_wanted


async def test_twenty_reloads_leave_no_task_behind(bench: Bench) -> None:
    before = len(asyncio.all_tasks())
    for _ in range(20):
        assert await bench.reload.reload("SIGHUP") == ()
    assert len(asyncio.all_tasks()) == before
    assert len(bench.followed) == 20


async def test_a_signal_during_a_reload_leads_to_another_one_after_it(bench: Bench) -> None:
    def load_and_be_asked_again() -> Config:
        loop.call_soon_threadsafe(bench.reload.request)
        loop.call_soon_threadsafe(bench.reload.request)
        return bench.config

    loop = asyncio.get_running_loop()
    bench.loads.append(load_and_be_asked_again)
    bench.reload.request()
    await bench.hearing.first(ConfigLoaded, count=2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(bench.followed) == 2, "many signals are one wish"
