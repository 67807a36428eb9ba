"""The composition root: the only place that builds adapters and joins them to the engine."""

import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from sidecar.checks.context import ProbeContext
from sidecar.checks.kinds import KINDS
from sidecar.checks.service_key import ServiceKeySpec
from sidecar.clock import SystemClock
from sidecar.config.settings import Config
from sidecar.data.prometheus import NoSource, Prometheus
from sidecar.data.rest import Rest
from sidecar.data.supabase import Canary, SupabaseData
from sidecar.domain.check import Check
from sidecar.domain.rule import Rule
from sidecar.engine.apply import Applier
from sidecar.engine.bounds import Bounds
from sidecar.engine.breaker import Breakers
from sidecar.engine.ending import Ender
from sidecar.engine.lease import Leases
from sidecar.engine.look import Looker
from sidecar.engine.planning import Planner
from sidecar.engine.repair import Repair
from sidecar.engine.running import Runner
from sidecar.engine.steering import Steering
from sidecar.engine.throttle import Throttle
from sidecar.engine.verify import Verifier
from sidecar.engine.watch import Watch
from sidecar.engine.writing import Writer
from sidecar.errors import UsageError
from sidecar.freeze_file import FreezeFile
from sidecar.ports import Clock, Data, Probe, Reporter, Signals, State
from sidecar.state.open import open_state
from sidecar.wire import key_headers, open_client

T = TypeVar("T")
REQUEST_SECONDS = 30.0  # for one request about data; PostgREST itself gives up after 8 s by default


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Everything that verbs, ticks and pages work with."""

    config: Config
    clock: Clock
    state: State
    data: Data
    watch: Watch
    looker: Looker
    repair: Repair
    steering: Steering
    reporter: Reporter

    def check(self, name: str) -> Check:
        """Return a configured check. Raises: UsageError that names the known ones."""
        return _named(name, {check.name: check for check in self.config.checks}, "check")

    def rule(self, name: str) -> Rule:
        """Return a configured rule. Raises: UsageError that names the known ones."""
        return _named(name, {rule.name: rule for rule in self.config.rules}, "rule")


def _named(name: str, known: Mapping[str, T], what: str) -> T:
    if name in known:
        return known[name]
    raise UsageError(f"there is no {what} {name!r}; known: {', '.join(sorted(known)) or 'none'}")


@contextlib.asynccontextmanager
async def open_app(config: Config, reporter: Reporter, *, stopping: Callable[[], bool]) -> AsyncIterator[App]:
    """Open everything a verb needs, and close it in reverse. `stopping` lets a drain checkpoint a run.

    Raises: StateUnavailable.
    """
    clock = SystemClock()
    key = config.supabase.service_key.reveal().strip()  # as the service_key check sends it
    headers = key_headers(key) if key.isascii() and key.isprintable() and key else {}
    async with (
        open_state(config.state_url) as state,
        open_client(config.supabase.url, headers=headers, keep_alive=True) as client,
        open_client(keep_alive=True) as asking,
    ):
        data = SupabaseData(
            Rest(client, timeout_seconds=REQUEST_SECONDS),
            database=urlsplit(config.supabase.url).netloc,
            canary=_canary(config),
        )
        watch = Watch(_probes(config, clock), state=state, reporter=reporter, clock=clock)
        await watch.remember()
        prometheus = config.telemetry.prometheus
        signals = Prometheus(asking, prometheus, clock=clock) if prometheus else NoSource()
        yield _assemble(config, clock, state, data, signals, watch, reporter, stopping)


def _assemble(
    config: Config,
    clock: Clock,
    state: State,
    data: Data,
    signals: Signals,
    watch: Watch,
    reporter: Reporter,
    stopping: Callable[[], bool],
) -> App:
    checks = {check.name: check for check in config.checks}
    looker = Looker(checks=checks, watch=watch, data=data, state=state, reporter=reporter, clock=clock)
    verifier = Verifier(data=data, state=state, reporter=reporter)
    switch = FreezeFile(config.freeze_file)
    breakers = Breakers(state=state, reporter=reporter, clock=clock)
    bounds = Bounds(state=state, switch=switch, breakers=breakers, reporter=reporter, clock=clock)
    applier = Applier(
        looker=looker,
        writer=Writer(data=data, state=state, switch=switch, clock=clock),
        verifier=verifier,
        breakers=breakers,
        throttle=Throttle(signals=signals, state=state, reporter=reporter, clock=clock, stopping=stopping),
        data=data,
        state=state,
        reporter=reporter,
        clock=clock,
        stopping=stopping,
    )
    new_id = _id_maker(clock)
    ender = Ender(data=data, state=state, clock=clock)
    leases = Leases(state=state, clock=clock, holder=_holder())
    runner = Runner(
        applier=applier,
        verifier=verifier,
        ender=ender,
        bounds=bounds,
        breakers=breakers,
        state=state,
        reporter=reporter,
        clock=clock,
        new_id=new_id,
    )
    repair = Repair(
        looker=looker,
        planner=Planner(bounds=bounds, state=state, reporter=reporter, clock=clock),
        runner=runner,
        leases=leases,
        state=state,
        reporter=reporter,
        clock=clock,
        new_id=new_id,
    )
    return App(
        config=config,
        clock=clock,
        state=state,
        data=data,
        watch=watch,
        looker=looker,
        repair=repair,
        steering=Steering(leases=leases, ender=ender, state=state, clock=clock),
        reporter=reporter,
    )


def _probes(config: Config, clock: Clock) -> dict[str, Probe]:
    context = ProbeContext(
        clock=clock,
        supabase_url=config.supabase.url,
        service_key=config.supabase.service_key.reveal(),
        anon_key=config.supabase.anon_key.reveal(),
        backend_url=config.backend_url,
    )
    return {name: kind.build(context) for name, kind in KINDS.items()}


def _canary(config: Config) -> Canary | None:
    """Take the row that must be visible from the first service_key check that names one."""
    for check in config.checks:
        spec = check.spec
        if isinstance(spec, ServiceKeySpec) and (row := spec.canary or spec.witness) is not None:
            return Canary(table=row.table, key=row.key, value=str(row.value))
    return None


def _holder() -> str:
    """Name this process as no other: the random part tells it from an earlier process with the same id."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def _id_maker(clock: Clock) -> Callable[[], str]:
    """Return a maker of ids that sort by time and do not collide between processes."""
    return lambda: f"{clock.now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
