"""The daemon: checks and rules on their schedules, and the HTTP side, from the first tick to a clean end.

The end, in this order: no more ticks; running work finishes or checkpoints within `drain`; what still runs is cancelled
and writes its last word shielded; the audit's head is told; then the HTTP side, which told of all this, goes;
notifications are delivered.
"""

import asyncio
import contextlib
import gc
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from sidecar.app import App, open_app
from sidecar.checks.kinds import KINDS
from sidecar.checks.session import load_library
from sidecar.clock import SystemClock
from sidecar.config.settings import Config
from sidecar.domain.event import LifecycleChanged
from sidecar.domain.rule import Rule
from sidecar.domain.survey import Survey
from sidecar.engine.audit_watch import AuditWatch
from sidecar.engine.supervisor import Supervisor, describe_fault
from sidecar.engine.ticker import Tick, Ticker
from sidecar.errors import UsageError
from sidecar.live import Live
from sidecar.reload import Reload, loaded
from sidecar.schedule import Schedule
from sidecar.serving import listen, serving
from sidecar.status import LastLooks, look_views, status, unready
from sidecar.telemetry.events import Listener, Telemetry
from sidecar.telemetry.logging import configure_logging
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.notifications import Notifications
from sidecar.telemetry.tracing import open_tracing
from sidecar.verbs.runner import Stop, complain, guarded, load_config
from sidecar.web.app import web_app
from sidecar.web.changing import changing_routes
from sidecar.web.guard import Door
from sidecar.web.logs import Take, log_routes
from sidecar.web.looks import look_routes

NOTIFY_SECONDS = 5.0  # at the end, for what is still to be delivered
AUDIT_EVERY_SECONDS = 3600.0
AUDIT_SECONDS = 5.0  # at the end, for following what was added to the audit since the last time
SIGNS_IN = frozenset({"journey", "canary_user"})  # the kinds that need a library which is slow to load


def run_daemon(config_path: Path) -> int:
    """Run until SIGINT or SIGTERM; return the exit code."""

    async def do() -> int:
        config = load_config(config_path)
        # Where a machine reads, every line on stderr is JSON; the log says there that it stops.
        stop = Stop(complain if sys.stderr.isatty() else lambda _: None)
        with stop.on_signals():
            return await serve(config, stop, announce=lambda _: None, load=lambda: load_config(config_path))

    return guarded(do)


async def serve(
    config: Config, stop: Stop, *, announce: Callable[[str], None], load: Callable[[], Config] | None = None
) -> int:
    """Run the daemon until somebody asks it to stop. `announce` is told the base URL once it is served.

    `load` reads the configuration again for a reload; without it, a reload puts the same one in force.
    """
    registry, last = CollectorRegistry(), LastLooks()
    # Until there is something to reload, a hang-up is no reason to end: the configuration was read just now.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    async with _telemetry(config, registry, last) as told, contextlib.AsyncExitStack() as opened:
        reporter = told.reporter
        supervisor = await opened.enter_async_context(Supervisor(reporter))
        app = await opened.enter_async_context(open_app(config, reporter, stopping=supervisor.stopping.is_set))
        live = Live(app, contextlib.AsyncExitStack())
        opened.push_async_callback(live.close)
        door = Door(config.server.tokens)
        ticker = Ticker(supervisor, reporter, rng=random.Random())  # noqa: S311  # spreads load, hides nothing
        schedule = Schedule(live, ticker)

        def follow(app: App) -> None:
            door.follow(app.config.server.tokens)
            told.follow(app)
            last.follow(app)
            schedule.follow()

        reload = Reload(live, supervisor, load=load or (lambda: config), follow=follow)
        url = await opened.enter_async_context(_http(live, registry, last, door, reload))
        audit = AuditWatch(state=app.state, reporter=reporter)
        if any(check.kind in SIGNS_IN for check in config.checks):
            await asyncio.to_thread(load_library)
        ticker.add(Tick(kind="audit", name="chain", every_seconds=AUDIT_EVERY_SECONDS, work=audit.check))
        _settle_memory()
        ticker.start()
        reporter.emit(loaded(app, "start"))
        reporter.emit(LifecycleChanged(phase="started", detail=f"{url}/"))
        announce(url)
        with _on_hangup(reload.request):
            await stop.event.wait()
        reporter.emit(LifecycleChanged(phase="stopping", detail="no more ticks"))
        ticker.stop()
        cancelled = await supervisor.drain(live.app.config.drain_seconds)
        await _anchor(audit, reporter)
        told_how = f"cancelled: {', '.join(cancelled)}" if cancelled else "everything finished or checkpointed"
        reporter.emit(LifecycleChanged(phase="drained", detail=told_how))
    return 0


def _settle_memory() -> None:
    """Look for garbage only among what comes from now on: what was loaded stays, and walking it makes looks late."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def _on_hangup(heard: Callable[[], None]) -> Iterator[None]:
    """Listen to SIGHUP for the time of a block, and ignore it afterwards: it must not end a drain."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, heard)
    try:
        yield
    finally:
        loop.add_signal_handler(signal.SIGHUP, lambda: None)


async def _anchor(audit: AuditWatch, reporter: Telemetry) -> None:
    """Tell the head that this process leaves behind. Whatever keeps it from that must not keep it from ending."""
    try:
        async with asyncio.timeout(AUDIT_SECONDS):
            await audit.check()
    except Exception as error:  # noqa: BLE001  # the boundary: nobody else contains it after the drain
        reporter.emit(describe_fault("audit chain", error))


@dataclass(frozen=True, slots=True)
class _Told:
    """Who is told, and what of it goes by the configuration in force."""

    reporter: Telemetry
    metrics: Metrics
    notifications: Notifications

    def follow(self, app: App) -> None:
        self.metrics.follow(app.config.checks, app.every_rule)
        self.notifications.follow(app.config.notifications, app.config.maintenance)


@contextlib.asynccontextmanager
async def _telemetry(config: Config, registry: CollectorRegistry, last: LastLooks) -> AsyncIterator[_Told]:
    """Join metrics, log, notifications and traces into the reporter of the daemon."""
    reasons = {name: [str(reason) for reason in kind.reasons] for name, kind in KINDS.items()}
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    async with contextlib.AsyncExitStack() as opened:
        at_last = opened.enter_context(contextlib.ExitStack())  # what else is closed may still have something to log
        tracing = await opened.enter_async_context(
            open_tracing(config.telemetry.otlp, service_name=config.telemetry.service_name)
        )
        every_rule: tuple[Rule | Survey, ...] = (*config.rules, *config.surveys)
        metrics = Metrics(registry, config.checks, reasons, every_rule, trace_id=tracing.exported_trace_id)
        log = configure_logging(
            sys.stderr, config.telemetry.log_level, terminal=sys.stderr.isatty(), trace_ids=tracing.ids
        )
        at_last.callback(log.close)
        notifications = Notifications(
            config.notifications,
            clock=SystemClock(),
            untraced=tracing.untraced,
            count=metrics.count_notification,
            write=log.write,
            calendar=config.maintenance,
        )
        listeners: list[Listener] = [metrics, log, notifications, last]
        reporter = Telemetry(tracing, listeners, count_failure=metrics.count_listener_failure)
        async with asyncio.TaskGroup() as group:
            delivering = group.create_task(notifications.run(), name="notifications")
            try:
                yield _Told(reporter, metrics, notifications)
            finally:
                notifications.close()
                await asyncio.wait([delivering], timeout=NOTIFY_SECONDS)
                delivering.cancel()
        at_last.callback(reporter.emit, LifecycleChanged(phase="stopped"))


@contextlib.asynccontextmanager
async def _http(
    live: Live, registry: CollectorRegistry, last: LastLooks, door: Door, reload: Reload
) -> AsyncIterator[str]:
    server = live.app.config.server
    if server.tls is not None:
        raise UsageError("server.tls is not served yet; put a proxy in front, and leave it out")
    application = web_app(
        status=lambda: status(live.app, last),
        registry=registry,
        ready=lambda: unready(live.app),
        door=door,
        routes=[
            *changing_routes(door, reload.reload),
            *look_routes(door, lambda: look_views(live.app)),
            *log_routes(door, lambda: _take_logs(live.app)),
        ],
    )
    try:
        bound = listen(server.host, server.port)
    except OSError as error:
        raise UsageError(f"cannot listen on {server.host}:{server.port}: {error.strerror}") from error
    async with serving(application, bound) as url:
        yield url


def _take_logs(app: App) -> Take | None:
    """Return what counts records that a drain hands in; None where no check takes them."""
    return (lambda records: app.drain.take(records, app.clock.now())) if app.drain.is_wanted else None
