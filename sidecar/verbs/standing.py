"""The verb runs: the latest ones, or one of them with how far it is, why it does not move, and what became of rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sidecar.app import App
from sidecar.batches import StoredRow
from sidecar.domain.causes import cause_of
from sidecar.domain.pacing import CapsLeft, Pace, caps_left, pace_of
from sidecar.domain.run import Run, RunStatus
from sidecar.domain.steering import Standing, Why, standing_of
from sidecar.domain.verification import Verification
from sidecar.errors import UsageError
from sidecar.freeze_file import FreezeFile
from sidecar.verbs.progress import pace_words, say
from sidecar.verbs.result import Exit, Result, iso
from sidecar.verbs.steering import freeze_document, freeze_line

ROWS_SHOWN = 20
SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Everything there is to tell of one run."""

    run: Run
    rows: Sequence[StoredRow]
    pace: Pace
    standing: Standing
    caps: CapsLeft | None
    verifications: Sequence[Verification]


async def runs(app: App, run_id: str | None, *, follow: bool) -> Result:
    """List the latest runs, or tell one; with `follow`, each change of it on stderr until it ends."""
    if run_id is None:
        return await _latest(app)
    await _run(app, run_id)
    if follow:
        await _follow(app, run_id)
    told = await _look(app, run_id)
    return Result(document=_document(told), lines=_lines(told), code=Exit.CLEAN)


async def _latest(app: App) -> Result:
    found = await app.state.runs()
    frozen = await app.state.freezes()
    lines = [_run_line(run) for run in found] or ["no runs yet"]
    lines += [f"held up: {freeze_line(freeze)}" for freeze in frozen]
    document = {"runs": [run_document(run) for run in found], "freezes": [freeze_document(f) for f in frozen]}
    return Result(document=document, lines=lines, code=Exit.CLEAN)


async def _run(app: App, run_id: str) -> Run:
    run = await app.state.run(run_id)
    if run is None:
        raise UsageError(f"there is no run {run_id!r}; see: sidecar runs")
    return run


async def _follow(app: App, run_id: str) -> None:
    """Tell what changes until the run ends, or until somebody stops this."""
    said: tuple[RunStatus, int, Why] | None = None
    while not app.stopping():
        run = await _run(app, run_id)
        standing, pace = await _standing(app, run), pace_of(run)
        seen = (run.status, pace.done, standing.why)
        if seen != said:
            say(f"run {run.id}: {_progress(pace)}; {_because(standing)}")
            said = seen
        if run.status is RunStatus.FINISHED:
            return
        await app.clock.sleep(SECONDS_BETWEEN_LOOKS)


async def _look(app: App, run_id: str) -> Told:
    run = await _run(app, run_id)
    return Told(
        run=run,
        rows=await app.state.rows(run_id),
        pace=pace_of(run),
        standing=await _standing(app, run),
        caps=await _caps(app, run),
        verifications=await app.state.verifications(run_id),
    )


async def _standing(app: App, run: Run) -> Standing:
    return standing_of(
        run,
        freezes=await app.state.freezes(),
        switch=await FreezeFile(app.config.freeze_file).thrown(),
        breaker=await app.state.breaker(run.lease),
        holder=await app.state.holder(run.lease),
        rule_known=any(rule.name == run.rule for rule in app.config.rules),
        now=app.clock.now(),
    )


async def _caps(app: App, run: Run) -> CapsLeft | None:
    """Say how much the caps leave; None when the rule is not configured any more, so that nobody knows them."""
    rule = next((rule for rule in app.config.rules if rule.name == run.rule), None)
    if rule is None:
        return None
    baseline = await app.state.baseline(rule.name)
    return caps_left(
        rule,
        rows=sum(run.results.values()),
        subjects=baseline.counts.subjects if baseline is not None else None,
        rows_today=await app.state.rows_since(run.lease, app.clock.now() - timedelta(hours=24)),
    )


def _progress(pace: Pace) -> str:
    return f"{pace.done}/{pace.total} rows{pace_words(pace.rate, pace.total - pace.done if pace.left_seconds else 0)}"


def _because(standing: Standing) -> str:
    return standing.detail if standing.why is Why.FINISHED else f"{standing.why}: {standing.detail}"


def _run_line(run: Run) -> str:
    counted = ", ".join(f"{count} {result}" for result, count in sorted(run.results.items()))
    ended = run.outcome or run.status
    return f"{run.id}  {run.rule}  {ended}  {counted}  {run.detail}".rstrip()


def _count_line(count: int, result: str, reason: str) -> str:
    cause = cause_of(reason)
    return f"  {count:>7}  {result}  {reason}".rstrip() + (f"  ({cause})" if cause else "")


def _lines(told: Told) -> list[str]:
    run, caps = told.run, told.caps
    lines = [
        f"run {run.id} of {run.rule}: {run.outcome or run.status}",
        f"  why       {_because(told.standing)}",
        f"  next      {told.standing.next_action}",
        f"  progress  {_progress(told.pace)}",
        f"  plan      {run.plan_id}, run by {run.actor} since {run.started_at:%Y-%m-%d %H:%M:%S} UTC",
    ]
    if run.detail:
        lines.append(f"  detail    {run.detail}")
    if caps is not None:
        share = "unknown before a proven look" if caps.percent is None else f"{caps.percent} by percent"
        lines.append(f"  caps left {caps.run} rows in this run, {share}, {caps.day} in 24 hours")
    lines += [f"  verified  {_verified(verification)}" for verification in told.verifications]
    counts = Counter((str(row.settled.result), row.settled.reason) for row in told.rows)
    lines += [_count_line(count, result, reason) for (result, reason), count in sorted(counts.items())]
    lines += [_row_line(row) for row in told.rows[:ROWS_SHOWN]]
    if (more := len(told.rows) - ROWS_SHOWN) > 0:
        lines.append(f"  … and {more} more; all of them: sidecar runs {run.id} --json")
    return lines


def _row_line(row: StoredRow) -> str:
    flying = " in flight" if row.in_flight else ""
    return f"  {row.key}  {row.settled.result}{flying}  {row.settled.reason}".rstrip()


def _verified(verification: Verification) -> str:
    if verification.done_at is None:
        return f"{verification.result} at {verification.due_at:%Y-%m-%d %H:%M:%S} UTC"
    broken = ", ".join(f"{count} {name}" for name, count in sorted(verification.broken.items()))
    found = f"{verification.result} at {verification.done_at:%Y-%m-%d %H:%M:%S} UTC, {verification.rows} rows"
    return found + f", drift {verification.drift} credits" + (f", {broken}" if broken else "")


def run_document(run: Run) -> dict[str, object]:
    """Return a run as values."""
    return {
        "id": run.id,
        "rule": run.rule,
        "plan_id": run.plan_id,
        "table": run.lease,
        "status": str(run.status),
        "outcome": str(run.outcome) if run.outcome else None,
        "actor": run.actor,
        "started_at": iso(run.started_at),
        "heartbeat_at": iso(run.heartbeat_at),
        "finished_at": iso(run.finished_at),
        "results": {str(result): count for result, count in sorted(run.results.items())},
        "detail": run.detail,
    }


def _document(told: Told) -> dict[str, object]:
    reasons: Mapping[tuple[str, str], int] = Counter((str(r.settled.result), r.settled.reason) for r in told.rows)
    pace, caps = told.pace, told.caps
    return {
        **run_document(told.run),
        "why": str(told.standing.why),
        "why_detail": told.standing.detail,
        "next_action": told.standing.next_action,
        "done": pace.done,
        "total": pace.total,
        "rows_per_second": None if pace.rate is None else round(pace.rate, 3),
        "left_seconds": None if pace.left_seconds is None else round(pace.left_seconds, 1),
        "caps_left": None if caps is None else {"run": caps.run, "percent": caps.percent, "day": caps.day},
        "verifications": [_verification_document(verification) for verification in told.verifications],
        "reasons": [{"result": r, "reason": w, "rows": n} for (r, w), n in sorted(reasons.items())],
        "rows": [
            {"key": r.key, "result": str(r.settled.result), "reason": r.settled.reason, "in_flight": r.in_flight}
            for r in told.rows
        ],
    }


def _verification_document(verification: Verification) -> dict[str, object]:
    return {
        "number": verification.number,
        "result": str(verification.result),
        "due_at": iso(verification.due_at),
        "done_at": iso(verification.done_at),
        "rows": verification.rows,
        "broken": dict(verification.broken),
        "drift": str(verification.drift),
        "corrected": verification.corrected,
    }
