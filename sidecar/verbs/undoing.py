"""The verb undo, and what show, approve, reject and apply do with its plans."""

from sidecar.app import App
from sidecar.domain.plan import PlanStatus
from sidecar.domain.undo import PREFIX, Removal, StoredUndo, UndoPlan
from sidecar.engine.undo import Undone
from sidecar.errors import UsageError
from sidecar.verbs.approving import require_approver
from sidecar.verbs.result import Exit, Result

ROWS_SHOWN = 20

MEANINGS = {
    Removal.REMOVABLE: "still as written, and nothing refers to it",
    Removal.UNDONE: "removed; held in quarantine until a person releases it",
    Removal.EDITED: "changed since it was written: left alone",
    Removal.HAS_DEPENDANTS: "other rows refer to it: left alone",
    Removal.GONE: "not there any more",
    Removal.NO_DIGEST: "nobody noted how it looked when it landed: left alone",
}


def is_undo(name: str) -> bool:
    """Say whether a plan's name is that of an undo plan."""
    return name.startswith(PREFIX)


async def undo(app: App, run_id: str, actor: str, *, dry_run: bool) -> Result:
    """Plan the undo of a run. Typed by a person where there are no tokens, that is the approval as well."""
    run = await app.state.run(run_id)
    if run is None:
        raise UsageError(f"there is no run {run_id!r}; see: sidecar runs")
    rule = app.rule(run.rule)
    typed = not app.config.server.tokens
    made = await app.undo.plan(rule, run, actor, approved=typed, kept=not dry_run)
    if made.status is PlanStatus.APPROVED and made.plan is not None:
        stored = await _stored(app, made.plan.id)
        made = await app.undo.apply(rule, stored, actor)
    return _result(made, dry_run=dry_run)


async def show(app: App, undo_id: str) -> Result:
    """Show what an undo plan would remove, what it would leave, and why."""
    stored = await _stored(app, undo_id)
    plan = stored.plan
    share = 100 * len(plan.removable) / plan.subjects if plan.subjects else 0
    amount = f"{len(plan.removable)} rows of {plan.subjects} subjects ({share:.3f} %)"
    lines = [
        f"undo plan {plan.id} of run {plan.run_id}: {stored.status}, by {plan.author}",
        f"  removes {amount}, expires {plan.expires_at:%Y-%m-%d %H:%M} UTC",
        f"  hash    {plan.hash}",
        *_row_lines(plan),
    ]
    document = {"status": str(stored.status), "approver": stored.approver, "undo": _document(plan)}
    return Result(document=document, lines=lines, code=Exit.CLEAN)


async def judge(app: App, undo_id: str, actor: str, verdict: PlanStatus) -> Result:
    """Approve or reject a waiting undo plan. Its author's token cannot approve it."""
    stored = await _stored(app, undo_id)
    plan = stored.plan
    if verdict is PlanStatus.APPROVED:
        require_approver(app, plan, actor, "undo plan")
    if not await app.state.move_undo(plan.id, PlanStatus.WAITING, verdict, actor, app.clock.now()):
        raise UsageError(f"undo plan {plan.id} is {stored.status}, not waiting")
    following = f"; apply it with: sidecar apply {plan.id}" if verdict is PlanStatus.APPROVED else ""
    document = {"undo": plan.id, "status": str(verdict), "by": actor}
    return Result(document=document, lines=[f"undo plan {plan.id}: {verdict} by {actor}{following}"], code=Exit.CLEAN)


async def apply(app: App, undo_id: str, actor: str) -> Result:
    """Carry out an approved undo plan under every guard of this moment."""
    stored = await _stored(app, undo_id)
    return _result(await app.undo.apply(app.rule(stored.plan.rule), stored, actor), dry_run=False)


async def _stored(app: App, undo_id: str) -> StoredUndo:
    stored = await app.state.undo(undo_id)
    if stored is None:
        raise UsageError(f"there is no undo plan {undo_id!r}; see: sidecar undo RUN")
    return stored


def _result(undone: Undone, *, dry_run: bool) -> Result:
    """Tell how an undo ended. A plan that waits gives 1, as one of a repair does."""
    plan, refusal, blind = undone.plan, undone.refusal, undone.blind
    lines = [f"undo of run {undone.run_id}: {_words(undone, dry_run=dry_run)}"]
    lines += [f"  {count:>7}  {name}  {MEANINGS[Removal(name)]}" for name, count in undone.counts.items()]
    if refusal is not None:
        lines += [f"  guard   {refusal.guard}", f"  value   {refusal.value}"]
        lines += [f"  limit   {refusal.limit}", f"  do      {refusal.hint}"]
    if undone.status is PlanStatus.WAITING and plan is not None:
        lines.append(f"  undo plan {plan.id} waits: sidecar show {plan.id}; sidecar approve {plan.id}")
    rows = undone.rows if plan is not None else ()
    left = [row for row in rows if row.standing not in (Removal.UNDONE, Removal.REMOVABLE)]
    lines += [f"  {row.key}  {row.standing}" for row in left[:ROWS_SHOWN]]
    if len(left) > ROWS_SHOWN:
        lines.append(f"  … and {len(left) - ROWS_SHOWN} more; all of them with --json")
    document = {
        "run": undone.run_id,
        "undo": None if plan is None or dry_run else plan.id,
        "dry_run": dry_run,
        "status": None if undone.status is None else str(undone.status),
        "counts": undone.counts,
        "rows": [{"key": row.key, "result": str(row.standing)} for row in rows],
        "refused_by": str(refusal.guard) if refusal else None,
        "refusal": {"value": refusal.value, "limit": refusal.limit, "hint": refusal.hint} if refusal else None,
        "unproven": f"{blind.failure}: {blind.detail}" if blind else None,
    }
    return Result(document=document, lines=lines, code=_code(undone))


def _code(undone: Undone) -> Exit:
    if undone.refusal is not None:
        return Exit.REFUSED
    if undone.blind is not None:
        return Exit.UNKNOWN
    return Exit.VIOLATIONS if undone.status is PlanStatus.WAITING else Exit.CLEAN


def _words(undone: Undone, *, dry_run: bool) -> str:
    if undone.refusal is not None:
        return "refused"
    if undone.blind is not None:
        return f"could not look — {undone.blind.failure}: {undone.blind.detail}"
    if dry_run:
        return "dry run; nothing was removed"
    if undone.status is PlanStatus.WAITING:
        return "planned"
    return "done" if undone.applied else "nothing to remove"


def _row_lines(plan: UndoPlan) -> list[str]:
    counted = [f"  {count:>7}  {name}  {MEANINGS[Removal(name)]}" for name, count in plan.counts.items()]
    rows = [f"  {row.key}  {row.standing}" for row in plan.rows[:ROWS_SHOWN]]
    more = len(plan.rows) - ROWS_SHOWN
    return counted + rows + ([f"  … and {more} more; all of them: sidecar show {plan.id} --json"] if more > 0 else [])


def _document(plan: UndoPlan) -> dict[str, object]:
    return {
        "id": plan.id,
        "run": plan.run_id,
        "rule": plan.rule,
        "author": plan.author,
        "created_at": plan.created_at.isoformat(),
        "expires_at": plan.expires_at.isoformat(),
        "subjects": plan.subjects,
        "hash": plan.hash,
        "counts": plan.counts,
        "rows": [{"key": row.key, "written": row.written, "result": str(row.standing)} for row in plan.rows],
    }
