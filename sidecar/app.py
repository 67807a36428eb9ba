"""The composition root: the only place that builds adapters and joins them to the engine."""

import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from sidecar.assembly import Assembly
from sidecar.checks.context import ProbeContext
from sidecar.checks.kinds import KINDS
from sidecar.checks.log_drain import LogDrain
from sidecar.checks.log_signature import LogSignatureSpec
from sidecar.checks.signatures import Signature
from sidecar.clock import SystemClock
from sidecar.config.settings import Config
from sidecar.connectivity import TcpConnectivity
from sidecar.data.prometheus import NoSource, Prometheus
from sidecar.domain.check import Check
from sidecar.domain.rule import Rule
from sidecar.domain.survey import Survey
from sidecar.engine.cycle import Cycle
from sidecar.engine.lease import TTL_SECONDS, Leases
from sidecar.engine.look import Looker
from sidecar.engine.repair import Repair
from sidecar.engine.reverify import Reverifier
from sidecar.engine.steering import Steering
from sidecar.engine.survey import Surveyor
from sidecar.engine.undo import Undo
from sidecar.engine.watch import Watch
from sidecar.errors import UsageError
from sidecar.freeze_file import FreezeFile
from sidecar.freezes import FreezeCalendar, Switches
from sidecar.paths import open_path
from sidecar.ports import Clock, Data, Probe, Reporter, State
from sidecar.state.open import open_state
from sidecar.wire import open_client

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    """What apps of one process share, whatever their configuration."""

    clock: Clock
    state: State
    watch: Watch
    leases: Leases
    drain: LogDrain
    reporter: Reporter
    stopping: Callable[[], bool]
    holder: str
    new_id: Callable[[], str]
    closing: contextlib.AsyncExitStack


@dataclass(frozen=True, kw_only=True)
class App:
    """Everything that verbs, ticks and pages work with. `holder` is this process's own name."""

    config: Config
    common: _Common
    probes: Mapping[str, Probe]
    holder: str
    clock: Clock
    state: State
    data: Data
    watch: Watch
    looker: Looker
    repair: Repair
    steering: Steering
    surveyor: Surveyor
    reverifier: Reverifier
    undo: Undo
    reporter: Reporter
    stopping: Callable[[], bool]

    def check(self, name: str) -> Check:
        """Return a configured check. Raises: UsageError that names the known ones, or says why it was left out."""
        if name in self.config.left_out:
            raise UsageError(f"check {name}: {self.config.left_out[name]}")
        return _named(name, self.checks, "check")

    def rule(self, name: str) -> Rule:
        """Return a configured rule. Raises: UsageError that names the known ones."""
        if name in {survey.name for survey in self.config.surveys}:
            raise UsageError(f"rule {name!r} only reports; there is nothing to repair, freeze or hold back")
        return _named(name, {rule.name: rule for rule in self.config.rules}, "rule")

    def any_rule(self, name: str) -> Rule | Survey:
        """Return a configured rule of either family. Raises: UsageError that names the known ones."""
        return _named(name, {rule.name: rule for rule in self.every_rule}, "rule")

    def take_over(self) -> None:
        """Let looks go by this configuration from now on."""
        config = self.config.connectivity
        asked = TcpConnectivity(config.targets, timeout_seconds=config.timeout_seconds, clock=self.clock)
        connectivity = asked if config.targets else None
        self.drain.follow(_drained(self.config.checks))
        self.watch.follow(self.probes, self.config.checks, self.config.maintenance, connectivity)

    @property
    def drain(self) -> LogDrain:
        """What log drains hand in: one for every app of this process."""
        return self.common.drain

    @cached_property
    def checks(self) -> Mapping[str, Check]:
        """The configured checks by name."""
        return {check.name: check for check in self.config.checks}

    @property
    def shares_memory(self) -> bool:
        """Whether other replicas may use the same memory: then a rule ticks on one of them at a time."""
        return self.config.database_url is not None

    @property
    def every_rule(self) -> tuple[Rule | Survey, ...]:
        """Return the rules of both families: those that repair come first."""
        return (*self.config.rules, *self.config.surveys)

    async def detect(self, rule: Rule | Survey) -> Cycle:
        """Look once at a rule of either family; write nothing."""
        return await (self.surveyor.look(rule) if isinstance(rule, Survey) else self.repair.detect(rule))


def _named(name: str, known: Mapping[str, T], what: str) -> T:
    if name in known:
        return known[name]
    raise UsageError(f"there is no {what} {name!r}; known: {', '.join(sorted(known)) or 'none'}")


@contextlib.asynccontextmanager
async def open_app(
    config: Config, reporter: Reporter, *, stopping: Callable[[], bool], lease_seconds: float = TTL_SECONDS
) -> AsyncIterator[App]:
    """Open everything a verb needs, and close it in reverse. `stopping` lets a drain checkpoint a run.

    `lease_seconds` is how long a dead holder blocks its successor. Raises: StateUnavailable.
    """
    clock = SystemClock()
    memory = config.database_url.reveal() if config.database_url else config.state_url
    async with open_state(memory) as state, contextlib.AsyncExitStack() as closing:
        watch = Watch(state=state, reporter=reporter, clock=clock)
        await watch.remember()
        holder = _holder()
        leases = Leases(state=state, reporter=reporter, clock=clock, holder=holder, ttl_seconds=lease_seconds)
        common = _Common(
            clock=clock,
            state=state,
            watch=watch,
            leases=leases,
            drain=LogDrain({}),
            reporter=reporter,
            stopping=stopping,
            holder=holder,
            new_id=_id_maker(clock),
            closing=closing,
        )
        async with _opened(config, common, _probes(config, common)) as app:
            app.take_over()
            yield app


@contextlib.asynccontextmanager
async def reopen_app(before: App, config: Config) -> AsyncIterator[App]:
    """Open another app on the memory, leases and standing verdicts of one that is open, for another configuration.

    Probes are kept while what they know of the project is the same: they may have learnt something. Nothing looks
    with the new ones before `take_over`.
    """
    is_same = _ground(before.config) == _ground(config)
    probes = before.probes if is_same else _probes(config, before.common)
    async with _opened(config, before.common, probes) as app:
        yield app


@contextlib.asynccontextmanager
async def _opened(config: Config, common: _Common, probes: Mapping[str, Probe]) -> AsyncIterator[App]:
    prometheus = config.telemetry.prometheus
    async with open_path(config) as path, open_client(keep_alive=True) as asking:
        parts = Assembly(
            checks={check.name: check for check in config.checks},
            data=path.data,
            surveys=path.surveys,
            direct=path.direct,
            switch=Switches(FreezeFile(config.freeze_file), FreezeCalendar(config.maintenance, common.clock)),
            signals=Prometheus(asking, prometheus, clock=common.clock) if prometheus else NoSource(),
            clock=common.clock,
            state=common.state,
            watch=common.watch,
            leases=common.leases,
            reporter=common.reporter,
            stopping=common.stopping,
            holder=common.holder,
            new_id=common.new_id,
        )
        yield App(
            config=config,
            common=common,
            probes=probes,
            holder=parts.holder,
            clock=parts.clock,
            state=parts.state,
            data=parts.data,
            watch=parts.watch,
            looker=parts.looker,
            repair=parts.repair,
            steering=parts.steering,
            surveyor=parts.surveyor,
            reverifier=parts.reverifier,
            undo=parts.undo,
            reporter=parts.reporter,
            stopping=parts.stopping,
        )


def _ground(config: Config) -> tuple[object, ...]:
    """Return what probes are built from. What drains hand in needs no ground: it follows each configuration."""
    return config.supabase, config.backend_url, config.database_url


def _drained(checks: Iterable[Check]) -> dict[str, tuple[Signature, ...]]:
    """Return the signatures of each check that counts what drains hand in."""
    specs = {check.name: check.spec for check in checks}
    return {name: spec.signatures for name, spec in specs.items() if isinstance(spec, LogSignatureSpec) and spec.drain}


def _probes(config: Config, common: _Common) -> dict[str, Probe]:
    context = ProbeContext(
        clock=common.clock,
        supabase_url=config.supabase.url,
        service_key=config.supabase.service_key.reveal(),
        anon_key=config.supabase.anon_key.reveal(),
        backend_url=config.backend_url,
        database_url=config.database_url.reveal() if config.database_url else "",
        notebook=common.state,
        drain=common.drain,
        place=socket.gethostname() if config.database_url else "",
        closing=common.closing,
    )
    return {name: kind.build(context) for name, kind in KINDS.items()}


def _holder() -> str:
    """Name this process as no other: the random part tells it from an earlier process with the same id."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def _id_maker(clock: Clock) -> Callable[[], str]:
    """Return a maker of ids that sort by time and do not collide between processes."""
    return lambda: f"{clock.now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
