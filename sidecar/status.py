"""What the page shows, read from memory and from the last looks, and whether Sidecar can do its work."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sidecar.app import App
from sidecar.domain.check import Check, CheckState, is_stale, seen_from
from sidecar.domain.event import Event, FaultCaught, LookFinished
from sidecar.domain.plan import PlanStatus
from sidecar.domain.rule import Rule
from sidecar.domain.survey import Survey
from sidecar.errors import StateUnavailable
from sidecar.web.looks import LookView
from sidecar.web.pages import CheckRow, RuleRow, RunRow, StatusView


@dataclass(slots=True)
class LastLooks:
    """A listener that keeps what the page shows of each rule's last look."""

    looks: dict[str, LookFinished] = field(default_factory=dict)

    def follow(self, app: App) -> None:
        """Forget the rules that are gone."""
        names = {rule.name for rule in app.every_rule}
        self.looks = {name: look for name, look in self.looks.items() if name in names}

    def hear(self, event: Event) -> None:
        """Keep the last look of each rule."""
        match event:
            case LookFinished():
                self.looks[event.rule] = event
            case FaultCaught():  # a rule whose cycle broke knows nothing any more
                self.looks.pop(event.where.removeprefix("rule "), None)
            case _:
                pass


async def unready(app: App) -> str | None:
    """Return why Sidecar cannot do its work, or None. It proves by writing that its memory can be written."""
    try:
        for check in app.config.checks[:1]:
            await app.state.save_check(check.name, replace(app.watch.stands(check.name), last=None))
    except StateUnavailable as error:
        return str(error)
    return None


async def status(app: App, last: LastLooks) -> StatusView:
    """Return everything that the page shows."""
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
    checks = [_check_row(view) for view in look_views(app).values()]
    return StatusView(at=app.clock.now(), checks=checks, rules=rules, runs=runs)


def look_views(app: App) -> Mapping[str, LookView]:
    """Return every configured check as it may be said to stand now."""
    now = app.clock.now()
    return {check.name: _view(check, app.watch.stands(check.name), now) for check in app.config.checks}


def _view(check: Check, state: CheckState, now: datetime) -> LookView:
    return LookView(check=check, state=seen_from(check, state, now), is_stale=is_stale(check, state, now))


def _check_row(view: LookView) -> CheckRow:
    check, standing = view.check, view.state
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
        is_stale=view.is_stale and last is not None,
        maintenance=standing.maintenance,
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
