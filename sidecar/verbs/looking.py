"""The verbs that only look: check, detect, runs, quarantine."""

from collections.abc import Sequence
from datetime import datetime

from sidecar.app import App
from sidecar.domain.check import Observation
from sidecar.domain.run import Run
from sidecar.errors import UsageError
from sidecar.verbs.result import (
    Exit,
    Result,
    code_of_checks,
    code_of_look,
    cycle_document,
    cycle_lines,
    observation_document,
)


async def check(app: App, names: Sequence[str]) -> Result:
    """Look once with the named checks, or with all of them."""
    chosen = [app.check(name) for name in names] or list(app.config.checks)
    seen = [await app.watch.look(check) for check in chosen]
    lines = [look_line(look) for look in seen]
    document = {"checks": [observation_document(look) for look in seen]}
    return Result(document=document, lines=lines, code=code_of_checks(seen))


def look_line(look: Observation) -> str:
    """Tell a person what one look saw."""
    took_ms = look.duration_seconds * 1000
    return f"{look.verdict:<9}  {look.check:<28} {look.reason:<24} {took_ms:7.0f} ms  {look.detail}".rstrip()


async def detect(app: App, names: Sequence[str], *, accept_change: str | None) -> Result:
    """Look at the named rules, or at all. `accept_change` names the person who says that a large change was meant."""
    rules = [app.rule(name) for name in names] or list(app.config.rules)
    cycles = []
    for rule in rules:
        if accept_change is not None:
            await app.state.drop_baseline(rule.name, accept_change, app.clock.now())
        cycles.append(await app.repair.detect(rule))
    lines = [line for cycle in cycles for line in cycle_lines(cycle)]
    code = max((code_of_look(cycle) for cycle in cycles), default=Exit.CLEAN)
    return Result(document={"rules": [cycle_document(cycle) for cycle in cycles]}, lines=lines, code=code)


async def runs(app: App, run_id: str | None) -> Result:
    """List the latest runs, or tell one with what became of its rows."""
    if run_id is None:
        found = await app.state.runs()
        lines = [_run_line(run) for run in found] or ["no runs yet"]
        return Result(document={"runs": [_run_document(run) for run in found]}, lines=lines, code=Exit.CLEAN)
    run = await app.state.run(run_id)
    if run is None:
        raise UsageError(f"there is no run {run_id!r}; see: sidecar runs")
    rows = await app.state.rows(run_id)
    told = [(row.key, str(row.settled.result), row.settled.reason, row.in_flight) for row in rows]
    lines = [_run_line(run)]
    lines += [f"  {key}  {result}{' in flight' if flying else ''}  {why}".rstrip() for key, result, why, flying in told]
    document = {
        **_run_document(run),
        "rows": [{"key": k, "result": r, "reason": w, "in_flight": f} for k, r, w, f in told],
    }
    return Result(document=document, lines=lines, code=Exit.CLEAN)


def _run_line(run: Run) -> str:
    counted = ", ".join(f"{count} {result}" for result, count in sorted(run.results.items()))
    ended = run.outcome or run.status
    return f"{run.id}  {run.rule}  {ended}  {counted}  {run.detail}".rstrip()


def _run_document(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "rule": run.rule,
        "plan_id": run.plan_id,
        "status": str(run.status),
        "outcome": str(run.outcome) if run.outcome else None,
        "actor": run.actor,
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
        "results": {str(result): count for result, count in sorted(run.results.items())},
        "detail": run.detail,
    }


async def quarantine(app: App, rule: str | None, release: int | None, actor: str) -> Result:
    """List what is held back and why, or release one row."""
    if release is not None:
        if not await app.state.let_go(release, actor, app.clock.now()):
            raise UsageError(f"there is nothing with id {release} in quarantine; see: sidecar quarantine")
        return Result(document={"released": release}, lines=[f"released {release}"], code=Exit.CLEAN)
    if rule is not None:
        app.rule(rule)
    held = await app.state.held(rule, app.clock.now())
    lines = [f"{q.id:>5}  {q.rule}  {q.key}  {q.reason}  since {_iso(q.since_at)}" for q in held]
    document = {
        "quarantined": [
            {
                "id": q.id,
                "rule": q.rule,
                "key": q.key,
                "reason": q.reason,
                "source": q.source,
                "since_at": _iso(q.since_at),
                "until_at": _iso(q.until_at),
            }
            for q in held
        ]
    }
    return Result(document=document, lines=lines or ["quarantine is empty"], code=Exit.CLEAN)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
