"""The daemon: checks and rules on their schedules, and the HTTP side, from the first tick to a clean end.

The end, in this order: no more ticks; running work finishes or checkpoints within `drain`; what still runs is cancelled
and writes its last word shielded; the audit's head is told; then the HTTP side, which told of all this, goes;
notifications are delivered.
"""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from sidecar.app import App, open_app
from sidecar.checks.kinds import KINDS
from sidecar.checks.session import load_library
from sidecar.clock import SystemClock
from sidecar.config.settings import Config
from sidecar.domain.check import Check, CheckState
from sidecar.domain.event import Event, FaultCaught, LifecycleChanged, LookFinished, TickPostponed
from sidecar.domain.plan import PlanStatus
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome
from sidecar.domain.survey import Survey
from sidecar.engine.audit_watch import AuditWatch
from sidecar.engine.reaper import REAP_SECONDS, Reaper
from sidecar.engine.supervisor import Supervisor, Work, describe_fault
from sidecar.engine.ticker import Tick, Ticker
from sidecar.errors import StateUnavailable, UsageError
from sidecar.serving import listen, serving
from sidecar.telemetry.events import Listener, Telemetry
from sidecar.telemetry.logging import configure_logging
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.notifications import Notifications
from sidecar.telemetry.tracing import open_tracing
from sidecar.verbs.runner import Stop, complain, guarded, load_config
from sidecar.web.app import web_app
from sidecar.web.pages import CheckRow, RuleRow, RunRow, StatusView

NOTIFY_SECONDS = 5.0  # at the end, for what is still to be delivered
SHARE_OF_TIME = 0.05  # how much of wall time a rule may spend looking over REST
AUDIT_EVERY_SECONDS = 3600.0
AUDIT_SECONDS = 5.0  # at the end, for following what was added to the audit since the last time
SIGNS_IN = frozenset({"journey", "canary_user"})  # the kinds that need a library which is slow to load
BLIND_TICKS_AT_MOST = 4  # a rule that cannot look backs off to this multiple of its interval


def run_daemon(config_path: Path) -> int:
    """Run until SIGINT or SIGTERM; return the exit code."""

    async def do() -> int:
        config = load_config(config_path)
        # Where a machine reads, every line on stderr is JSON; the log says there that it stops.
        stop = Stop(complain if sys.stderr.isatty() else lambda _: None)
        with stop.on_signals():
            return await serve(config, stop, announce=lambda _: None)

    return guarded(do)


@dataclass(slots=True)
class LastLooks:
    """A listener that keeps what the page shows of each rule's last look."""

    looks: dict[str, LookFinished] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        """Keep the last look of each rule."""
        match event:
            case LookFinished():
                self.looks[event.rule] = event
            case FaultCaught():  # a rule whose cycle broke knows nothing any more
                self.looks.pop(event.where.removeprefix("rule "), None)
            case _:
                pass


async def serve(config: Config, stop: Stop, *, announce: Callable[[str], None]) -> int:
    """Run the daemon until somebody asks it to stop. `announce` is told the base URL once it is served."""
    registry, last = CollectorRegistry(), LastLooks()
    async with _telemetry(config, registry, last) as reporter, contextlib.AsyncExitStack() as opened:
        supervisor = await opened.enter_async_context(Supervisor(reporter))
        app = await opened.enter_async_context(open_app(config, reporter, stopping=supervisor.stopping.is_set))
        url = await opened.enter_async_context(_http(app, registry, last))
        audit = AuditWatch(state=app.state, reporter=reporter)
        if any(check.kind in SIGNS_IN for check in config.checks):
            await asyncio.to_thread(load_library)
        ticker = _ticker(app, supervisor)
        ticker.add(Tick(kind="audit", name="chain", every_seconds=AUDIT_EVERY_SECONDS, work=audit.check))
        ticker.start()
        reporter.emit(LifecycleChanged(phase="started", detail=f"{url}/"))
        announce(url)
        await stop.event.wait()
        reporter.emit(LifecycleChanged(phase="stopping", detail="no more ticks"))
        ticker.stop()
        cancelled = await supervisor.drain(config.drain_seconds)
        await _anchor(audit, reporter)
        told = f"cancelled: {', '.join(cancelled)}" if cancelled else "everything finished or checkpointed"
        reporter.emit(LifecycleChanged(phase="drained", detail=told))
    return 0


async def _anchor(audit: AuditWatch, reporter: Telemetry) -> None:
    """Tell the head that this process leaves behind. Whatever keeps it from that must not keep it from ending."""
    try:
        async with asyncio.timeout(AUDIT_SECONDS):
            await audit.check()
    except Exception as error:  # noqa: BLE001  # the boundary: nobody else contains it after the drain
        reporter.emit(describe_fault("audit chain", error))


@contextlib.asynccontextmanager
async def _telemetry(config: Config, registry: CollectorRegistry, last: LastLooks) -> AsyncIterator[Telemetry]:
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
        )
        listeners: list[Listener] = [metrics, log, notifications, last]
        reporter = Telemetry(tracing, listeners, count_failure=metrics.count_listener_failure)
        async with asyncio.TaskGroup() as group:
            delivering = group.create_task(notifications.run(), name="notifications")
            try:
                yield reporter
            finally:
                notifications.close()
                await asyncio.wait([delivering], timeout=NOTIFY_SECONDS)
                delivering.cancel()
        at_last.callback(reporter.emit, LifecycleChanged(phase="stopped"))


@contextlib.asynccontextmanager
async def _http(app: App, registry: CollectorRegistry, last: LastLooks) -> AsyncIterator[str]:
    server = app.config.server
    if server.tls is not None:
        raise UsageError("server.tls is not served yet; put a proxy in front, and leave it out")
    application = web_app(
        status=lambda: _status(app, last),
        registry=registry,
        ready=lambda: _unready(app),
        tokens=server.tokens,
        take_logs=(lambda records: app.drain.take(records, app.clock.now())) if app.drain.is_wanted else None,
    )
    try:
        bound = listen(server.host, server.port)
    except OSError as error:
        raise UsageError(f"cannot listen on {server.host}:{server.port}: {error.strerror}") from error
    async with serving(application, bound) as url:
        yield url


def _ticker(app: App, supervisor: Supervisor) -> Ticker:
    ticker = Ticker(supervisor, app.reporter, rng=random.Random())  # noqa: S311  # spreads load, hides nothing
    reaper = Reaper(state=app.state, clock=app.clock, holder=app.holder)
    for check in app.config.checks:
        ticker.add(
            Tick(kind="check", name=check.name, every_seconds=check.every_seconds, work=_look(app, check, ticker))
        )
    for rule in app.every_rule:
        work = _cycle(app, rule, ticker, reaper)
        ticker.add(Tick(kind="rule", name=rule.name, every_seconds=rule.every_seconds, work=work))
    if app.shares_memory:
        ticker.add(Tick(kind="reaper", name="runs", every_seconds=REAP_SECONDS, work=_reap(reaper, ticker)))
    return ticker


def _reap(reaper: Reaper, ticker: Ticker) -> Work:
    """Return the work of taking up what a dead replica left, without waiting for the rule's next tick."""

    async def work() -> None:
        for rule in await reaper.find_silent():
            with contextlib.suppress(KeyError):  # of a rule that only another replica has
                ticker.request_soon("rule", rule)

    return work


def _look(app: App, check: Check, ticker: Ticker) -> Work:
    """Return the work of a check's tick: look, and leave a target alone that asked for it."""

    async def work() -> None:
        seen = await app.watch.look(check)
        if seen.retry_after_seconds is not None:
            ticker.not_before("check", check.name, seen.retry_after_seconds)

    return work


def _cycle(app: App, rule: Rule | Survey, ticker: Ticker, reaper: Reaper) -> Work:
    """Return the work of a rule's tick: what past runs are due, one cycle, then a rest as its cost and luck ask for."""
    blind = 0

    async def work() -> None:
        nonlocal blind
        if app.shares_memory and not await reaper.takes(rule.name, rule.every_seconds):
            return  # another replica's turn
        if isinstance(rule, Rule):
            await app.reverifier.due(rule)
        started = app.clock.monotonic()
        cycle = await (app.surveyor.look(rule) if isinstance(rule, Survey) else app.repair.tick(rule))
        took_seconds = app.clock.monotonic() - started
        blind = min(blind + 1, BLIND_TICKS_AT_MOST) if cycle.outcome is Outcome.UNKNOWN else 0
        rests = {
            "asked": cycle.retry_after_seconds or 0.0,
            "cost": 0.0 if app.shares_memory or cycle.run_id is not None else took_seconds / SHARE_OF_TIME,
            "blind": rule.every_seconds * blind,
        }
        cause = max(rests, key=lambda cause: rests[cause])
        if rests[cause] > rule.every_seconds:
            app.reporter.emit(TickPostponed(rule=rule.name, cause=cause, rest_seconds=round(rests[cause], 3)))
            ticker.not_before("rule", rule.name, rests[cause])

    return work


async def _unready(app: App) -> str | None:
    """Return why Sidecar cannot do its work, or None. It proves by writing that its memory can be written."""
    try:
        for check in app.config.checks[:1]:
            standing = app.watch.standing.get(check.name, CheckState())
            await app.state.save_check(check.name, replace(standing, last=None))
    except StateUnavailable as error:
        return str(error)
    return None


async def _status(app: App, last: LastLooks) -> StatusView:
    rules = [await _rule_row(app, rule, last.looks.get(rule.name)) for rule in app.every_rule]
    runs = [
        RunRow(
            id=run.id,
            rule=run.rule,
            status=str(run.status),
            outcome=str(run.outcome) if run.outcome else None,
            counts={str(result): count for result, count in run.results.items()},
            started_at=run.started_at,
            finished_at=run.finished_at,
        )
        for run in await app.state.runs(limit=20)
    ]
    checks = [_check_row(check, app.watch.standing.get(check.name, CheckState())) for check in app.config.checks]
    return StatusView(at=app.clock.now(), checks=checks, rules=rules, runs=runs)


def _check_row(check: Check, standing: CheckState) -> CheckRow:
    last = standing.last
    return CheckRow(
        name=check.name,
        kind=check.kind,
        verdict=str(standing.verdict),
        reason=last.reason if last else "",
        detail=last.detail if last else "not looked yet",
        since_at=standing.since,
        last_look_at=last.taken_at if last else None,
        duration_seconds=last.duration_seconds if last else None,
    )


async def _rule_row(app: App, rule: Rule | Survey, last: LookFinished | None) -> RuleRow:
    waiting = await app.state.plans(rule.name, PlanStatus.WAITING)
    unproven = "not looked yet" if last is None else f"{last.failure}: {last.detail}" if last.failure else ""
    return RuleRow(
        name=rule.name,
        summary=rule.summary,
        mode=str(rule.mode),
        violations=last.violations if last else None,
        unproven=unproven,
        last_look_at=last.taken_at if last else None,
        plan_id=waiting[0].plan.id if waiting else None,
        frozen=await app.state.frozen(rule.name),
    )
