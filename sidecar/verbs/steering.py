"""The verbs that hold something up, or let it go on: pause, resume, abort, freeze, unfreeze."""

from sidecar.app import App
from sidecar.domain.rule import Rule
from sidecar.domain.run import Outcome, Run, RunStatus
from sidecar.domain.steering import EVERYTHING, Freeze
from sidecar.engine.look import blindness_of
from sidecar.errors import SidecarError, UsageError
from sidecar.freeze_file import FreezeFile
from sidecar.verbs.result import Exit, Result


async def pause(app: App, run_id: str, reason: str, actor: str) -> Result:
    """Let no further batch of the run begin."""
    run = await _unfinished(app, run_id, "pause")
    if not await app.steering.pause(run, actor, reason.strip()):
        raise UsageError(f"run {run.id} is paused already; see: sidecar runs {run.id}")
    lines = [
        f"paused: run {run.id}; a batch under way ends, no other begins, and no look takes it up",
        f"  let it go on with: sidecar resume {run.id}",
    ]
    return Result(document={"run": run.id, "paused": True, "by": actor}, lines=lines, code=Exit.CLEAN)


async def resume(app: App, run_id: str, actor: str) -> Result:
    """Lift the pause of the run."""
    run = await _unfinished(app, run_id, "resume")
    if not await app.steering.resume(run, actor):
        raise UsageError(f"run {run.id} is not paused; see: sidecar runs {run.id}")
    lines = [
        f"resumed: run {run.id}; the next look of {run.rule} takes it up, after every guard said yes again",
        f"  at once, by this process: sidecar backfill {run.rule}",
    ]
    return Result(document={"run": run.id, "paused": False, "by": actor}, lines=lines, code=Exit.CLEAN)


async def abort(app: App, run_id: str, reason: str, actor: str, *, unread: bool) -> Result:
    """End the run, now where its lease can be had, else by whoever holds it. Works without its rule and its plan."""
    run = await _unfinished(app, run_id, "abort")
    try:
        ended = await app.steering.abort(run, _rule_of(app, run), actor, reason.strip(), unread=unread)
    except SidecarError as error:
        blindness_of(error)  # what is no matter of sight goes on upwards
        return _unread(run, actor, error)
    if ended.status is RunStatus.FINISHED and ended.outcome is not Outcome.CANCELLED:
        raise UsageError(f"run {run.id} ended meanwhile: {ended.outcome}")
    document = {
        "run": run.id,
        "status": str(ended.status),
        "outcome": _text(ended.outcome),
        "by": actor,
        "results": {str(result): count for result, count in sorted(ended.results.items())},
    }
    if ended.status is not RunStatus.FINISHED:
        held = f"run {run.id}: another process holds {run.lease}; no further batch begins, and its next look ends it"
        return Result(document=document, lines=[held], code=Exit.CLEAN)
    counted = ", ".join(f"{count} {result}" for result, count in sorted(ended.results.items()))
    lines = [f"run {run.id}: cancelled, {counted or 'no rows'}", "  rows still planned are free for the next plan"]
    return Result(document=document, lines=lines, code=Exit.CLEAN)


def _unread(run: Run, actor: str, error: SidecarError) -> Result:
    lines = [
        f"run {run.id}: no further batch begins; rows in flight could not be read back: {error}",
        "  the next look that can read them ends it",
        f"  now, with these rows as undetermined: sidecar abort {run.id} --unread",
    ]
    document = {"run": run.id, "status": str(run.status), "outcome": None, "by": actor, "error": str(error)}
    return Result(document=document, lines=lines, code=Exit.UNKNOWN)


async def _unfinished(app: App, run_id: str, verb: str) -> Run:
    run = await app.state.run(run_id)
    if run is None:
        raise UsageError(f"there is no run {run_id!r}; see: sidecar runs")
    if run.status is RunStatus.FINISHED:
        raise UsageError(f"run {run.id} is finished, {run.outcome}: there is nothing to {verb}")
    return run


def _rule_of(app: App, run: Run) -> Rule | None:
    return next((rule for rule in app.config.rules if rule.name == run.rule), None)


async def freeze(app: App, rule: str | None, reason: str, actor: str) -> Result:
    """Stop all writing for a rule, or for everything."""
    scope = app.rule(rule).name if rule else EVERYTHING
    await app.state.freeze(scope, actor, reason, app.clock.now())
    line = f"frozen: {rule or 'everything'}; a batch under way ends, no other begins"
    return Result(document={"frozen": scope, "by": actor}, lines=[line], code=Exit.CLEAN)


async def unfreeze(app: App, rule: str | None, actor: str) -> Result:
    """Lift a freeze of exactly that scope. A rule that is not configured any more may be named too."""
    scope = rule or EVERYTHING
    standing = [freeze.scope for freeze in await app.state.freezes()]
    if scope not in standing and rule is not None:
        app.rule(rule)
    if ":" in scope or not await app.state.unfreeze(scope, actor, app.clock.now()):
        raise UsageError(f"{rule or 'everything'} was not frozen; a rule's freeze and the general one are lifted apart")
    return Result(document={"unfrozen": scope, "by": actor}, lines=[f"lifted: {rule or 'everything'}"], code=Exit.CLEAN)


async def freezes(app: App) -> Result:
    """List everything that is frozen, paused or aborted, and by whom."""
    standing = await app.state.freezes()
    switch = await FreezeFile(app.config.freeze_file).thrown()
    document = {
        "freezes": [freeze_document(freeze) for freeze in standing],
        "file": None if switch is None else switch.value,
    }
    lines = [freeze_line(freeze) for freeze in standing]
    lines += [f"{switch.value}; {switch.hint}"] if switch is not None else []
    lines = lines or ["nothing is frozen"]
    return Result(document=document, lines=lines, code=Exit.CLEAN)


def freeze_document(freeze: Freeze) -> dict[str, object]:
    """Return a freeze as values."""
    return {
        "scope": freeze.scope,
        "by": freeze.actor,
        "reason": freeze.reason,
        "since_at": freeze.at.isoformat(timespec="seconds"),
    }


def freeze_line(freeze: Freeze) -> str:
    """Tell a person who froze what, since when, and why."""
    what = "everything" if freeze.scope == EVERYTHING else freeze.scope
    return f"{what}  by {freeze.actor} since {freeze.at:%Y-%m-%d %H:%M:%S} UTC  {freeze.reason}".rstrip()


def _text(outcome: Outcome | None) -> str | None:
    return None if outcome is None else str(outcome)
