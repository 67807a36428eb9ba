"""The verbs that plan and write: plan, approve, reject, apply, backfill, attest."""

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from uuid import UUID

from sidecar.app import App
from sidecar.domain.plan import Plan, PlanStatus, from_text, to_text
from sidecar.domain.rule import Amount
from sidecar.domain.run import Outcome
from sidecar.domain.survey import Survey
from sidecar.engine.cycle import refused
from sidecar.engine.planning import observes
from sidecar.errors import PlanInvalid, UsageError
from sidecar.ports import StoredPlan
from sidecar.verbs.approving import require_approver
from sidecar.verbs.result import Exit, Result, code_of_repair, cycle_document, cycle_lines

MAGNITUDE_AT_MOST = 18  # powers of ten of a person's number; PostgreSQL's bigint ends there


async def plan(app: App, rule: str, actor: str, out: Path | None) -> Result:
    """Make a plan that waits for a person; with `out`, also as a file only its owner may read."""
    if (told := only_reports(app, rule)) is not None:
        return told
    cycle = await app.repair.plan(app.rule(rule), actor)
    lines = cycle_lines(cycle)
    if out is not None and cycle.outcome is Outcome.PLANNED and cycle.plan is not None:
        write_plan(out, cycle.plan)
        lines.append(f"  written to {out}")
    code = code_of_repair(cycle)
    return Result(document={"rules": [cycle_document(cycle)]}, lines=lines, code=code)


def only_reports(app: App, name: str) -> Result | None:
    """Refuse to repair by a rule that only reports; None for another one."""
    rule = app.any_rule(name)
    if not isinstance(rule, Survey):
        return None
    cycle = refused(rule, observes())
    return Result(document={"rules": [cycle_document(cycle)]}, lines=cycle_lines(cycle), code=code_of_repair(cycle))


def write_plan(path: Path, made: Plan) -> None:
    """Write a plan file with mode 0600: it holds e-mails and balances. Raises: UsageError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(to_text(made))
    except OSError as error:
        raise UsageError(f"plan {made.id} waits, but {path} cannot be written: {error.strerror}") from error


async def find_plan(app: App, name: str) -> StoredPlan:
    """Return a stored plan by id, or by the path of its file. A file whose plan is not stored here is not taken."""
    text = _read_file(name)
    if text is not None:
        read = from_text(text)
        stored = await app.state.plan(read.id)
        if stored is None or stored.plan.hash != read.hash:
            raise PlanInvalid(f"plan {read.id} is not known here as this file has it")
        return stored
    stored = await app.state.plan(name)
    if stored is None:
        raise UsageError(f"there is no plan {name!r}; see: sidecar plan RULE")
    return stored


def _read_file(name: str) -> str | None:
    """Return the text of a plan file, None where `name` names no file. Raises: PlanInvalid, UsageError."""
    path = Path(name)
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except OSError as error:
        raise UsageError(f"the plan file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlanInvalid("not a plan: not UTF-8 text") from error


async def judge(app: App, name: str, actor: str, verdict: PlanStatus) -> Result:
    """Approve or reject a waiting plan."""
    stored = await find_plan(app, name)
    made = stored.plan
    if verdict is PlanStatus.APPROVED:
        require_approver(app, made, actor, "plan")
    if not await app.state.move_plan(made.id, PlanStatus.WAITING, verdict, actor, app.clock.now()):
        raise UsageError(f"plan {made.id} is {stored.status}, not waiting")
    following = f"; apply it with: sidecar apply {made.id}" if verdict is PlanStatus.APPROVED else ""
    document = {"plan": made.id, "status": str(verdict), "by": actor}
    return Result(document=document, lines=[f"plan {made.id}: {verdict} by {actor}{following}"], code=Exit.CLEAN)


async def apply(app: App, name: str, actor: str) -> Result:
    """Apply an approved plan under every guard of this moment."""
    stored = await find_plan(app, name)
    cycle = await app.repair.apply(app.rule(stored.plan.rule), stored, actor)
    return Result(document={"rules": [cycle_document(cycle)]}, lines=cycle_lines(cycle), code=code_of_repair(cycle))


async def backfill(app: App, name: str, actor: str) -> Result:
    """Look, plan, apply, verify: typing it is the approval."""
    if (told := only_reports(app, name)) is not None:
        return told
    cycle = await app.repair.backfill(app.rule(name), actor)
    return Result(document={"rules": [cycle_document(cycle)]}, lines=cycle_lines(cycle), code=code_of_repair(cycle))


async def rehearse(app: App, name: str) -> Result:
    """Say what backfill would do, and write nothing anywhere but in Sidecar's memory of looks."""
    if (told := only_reports(app, name)) is not None:
        return told
    cycle = await app.repair.rehearse(app.rule(name))
    lines = cycle_lines(cycle)
    if cycle.plan is not None:
        lines.append(f"  dry run: backfill would insert {len(cycle.plan.rows)} rows; nothing was written")
    code = code_of_repair(cycle)
    return Result(document={"dry_run": True, "rules": [cycle_document(cycle)]}, lines=lines, code=code)


async def attest(app: App, user_id: str, credits_text: str, reason: str, rule: str | None, actor: str) -> Result:
    """Record the balance that a person vouches for. It ranks above snapshot and ledger."""
    key, amount = user_id_of(user_id), _amount(credits_text)
    if not reason.strip():
        raise UsageError("--reason must say where the number comes from")
    rules = [app.rule(rule)] if rule else list(app.config.rules)
    tables = sorted({str(found.detect.expects.table) for found in rules})
    if len(tables) != 1:
        raise UsageError(f"say which rule's table is meant with --rule; tables: {', '.join(tables) or 'none'}")
    await app.state.attest(tables[0], key, amount, reason.strip(), actor, app.clock.now())
    line = f"{actor} attests {amount} credits for {key}; the next look uses it"
    document = {"user_id": key, "credits": str(amount), "table": tables[0], "by": actor}
    return Result(document=document, lines=[line], code=Exit.CLEAN)


def user_id_of(text: str) -> str:
    """Return a canonical user id. Raises: UsageError."""
    try:
        return str(UUID(text))
    except ValueError as error:
        raise UsageError(f"USER_ID must be a uuid, not {text!r}") from error


def _amount(text: str) -> Amount:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise UsageError(f"--credits must be a number, not {text!r}") from error
    # An exponent beyond that is no balance, and as an int it would fill the memory.
    if not amount.is_finite() or amount < 0 or abs(amount.adjusted()) > MAGNITUDE_AT_MOST:
        raise UsageError(f"--credits must be a finite number of 0 or more, not {text!r}")
    return int(amount) if amount == amount.to_integral_value() else amount
