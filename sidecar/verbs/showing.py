"""The verb show: what a plan would do, where each value comes from, and what the database would make of it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidecar.app import App
from sidecar.domain.look import Catalogue
from sidecar.domain.pacing import pace_of
from sidecar.domain.plan import Plan, PlanStatus, to_text
from sidecar.domain.rule import Rule
from sidecar.domain.run import RunStatus
from sidecar.engine.look import blindness_of
from sidecar.errors import SidecarError
from sidecar.ports import Describes, Description, StoredPlan
from sidecar.verbs.repairing import find_plan
from sidecar.verbs.result import Exit, Result

ROWS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the database says now; `error` says why it could not be asked."""

    catalogue: Catalogue
    description: Description
    error: str = ""


async def show(app: App, name: str) -> Result:
    """Show what a plan would do."""
    stored = await find_plan(app, name)
    made = stored.plan
    rule = next((rule for rule in app.config.rules if rule.name == made.rule), None)
    target = await _target(app, rule)
    rate = await _rate(app, made.rule)
    stale = _stale(app, stored, rule, target)
    lines = [*_head(stored), *(f"  STALE: {why}; apply would refuse it" for why in stale)]
    lines += [*_told(made, rule, target), f"  expected time  {_expected(made, rate)}", *_rows(made)]
    document = {
        "status": str(stored.status),
        "approver": stored.approver,
        "stale": list(stale),
        "share_percent": None if not made.subjects else round(_share(made), 6),
        "target": _target_document(made, rule, target),
        "expected_seconds": None if rate is None else round(len(made.rows) / rate, 1),
        "plan": json.loads(to_text(made)),
    }
    return Result(document=document, lines=lines, code=Exit.CLEAN)


async def _target(app: App, rule: Rule | None) -> Target:
    """Ask the database as it is now: a plan holds the fingerprint of its schema, not the schema."""
    catalogue, description = Catalogue(visible=False), Description(sql=(), explain="")
    if rule is None:
        return Target(catalogue=catalogue, description=description, error="its rule is not configured")
    try:
        catalogue = await app.data.catalogue(rule)
        if isinstance(app.data, Describes):
            description = await app.data.describe(rule)
    except SidecarError as error:
        blindness_of(error)
        return Target(catalogue=catalogue, description=description, error=str(error))
    return Target(catalogue=catalogue, description=description)


async def _rate(app: App, rule: str) -> float | None:
    """Return the rows per second of the rule's last finished run that wrote something."""
    finished = [run for run in await app.state.runs(rule) if run.status is RunStatus.FINISHED]
    return next((rate for run in finished if (rate := pace_of(run).rate) is not None), None)


def _stale(app: App, stored: StoredPlan, rule: Rule | None, target: Target) -> Sequence[str]:
    """Say what stands between a plan that is still to be applied and its application."""
    made, catalogue = stored.plan, target.catalogue
    if stored.status in (PlanStatus.APPLIED, PlanStatus.REJECTED):
        return ()
    asked = not target.error
    reasons = (
        (made.expires_at <= app.clock.now(), f"it expired at {made.expires_at:%Y-%m-%d %H:%M} UTC"),
        (rule is None, f"rule {made.rule} is not configured"),
        (rule is not None and rule.digest != made.rule_digest, "the rule changed since"),
        (asked and catalogue.fingerprint != made.schema_fingerprint, "the schema changed since"),
        (asked and catalogue.database not in ("", made.database), "this is another database"),
    )
    return [why for is_so, why in reasons if is_so]


def _share(made: Plan) -> float:
    return 100 * len(made.rows) / made.subjects


def _head(stored: StoredPlan) -> list[str]:
    made = stored.plan
    share = f"{_share(made):.3f} %" if made.subjects else "of none"
    origins = Counter(origin for row in made.rows for origin in row.origins.values() if origin.startswith("balance:"))
    balances = ", ".join(f"{origin.removeprefix('balance:')} ({count})" for origin, count in sorted(origins.items()))
    approved = f", {stored.status} by {stored.approver}" if stored.approver else ""
    return [
        f"plan {made.id} for {made.rule}: {stored.status}, by {made.author}{approved}",
        f"  {len(made.rows)} rows of {made.subjects} subjects ({share}), expires {made.expires_at:%Y-%m-%d %H:%M} UTC",
        f"  balances from {balances}",
        f"  found   {', '.join(f'{count} {kind}' for kind, count in sorted(made.classes.items()))}",
        f"  hash    {made.hash}",
    ]


def _told(made: Plan, rule: Rule | None, target: Target) -> list[str]:
    catalogue, description = target.catalogue, target.description
    lines = []
    if made.not_visible:
        lines.append(f"  NOT VISIBLE over REST without the fixture: {', '.join(made.not_visible)}")
    if target.error:
        lines.append(f"  the database could not be asked: {target.error}")
    elif rule is not None and catalogue.visible:
        same = catalogue.fingerprint == made.schema_fingerprint
        lines.append(f"  {rule.detect.expects.table}, as it is now{', the schema of the plan' if same else ''}:")
        lines.append(f"    triggers that would fire   {_listed(catalogue.triggers)}")
        lines.append(f"    foreign keys               {_listed(catalogue.foreign_keys)}")
        lines.append(f"    uniques                    {_listed(['(' + ', '.join(u) + ')' for u in catalogue.uniques])}")
        lines.append(f"    defaults left to the table {_listed(_defaults(rule, catalogue))}")
    if description.sql:
        lines += ["  would send, parameters not filled in:", *_indented("\n".join(description.sql))]
    if description.explain:
        lines += ["  EXPLAIN of the detection:", *_indented(description.explain)]
    return lines


def _defaults(rule: Rule, catalogue: Catalogue) -> list[str]:
    left = [c for c in catalogue.columns if c.name not in rule.repair.values and not c.generated]
    return [f"{c.name} = {c.default}" if c.default is not None else f"{c.name} = null" for c in left]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


def _expected(made: Plan, rate: float | None) -> str:
    if rate is None:
        return "unknown before the first run"
    return f"{len(made.rows) / rate:.1f} s, at the last run's {rate:.1f} rows/s"


def _rows(made: Plan) -> list[str]:
    lines = []
    for row in made.rows[:ROWS_SHOWN]:
        lines.append(f"  {row.key}")
        lines += [f"      {column} = {value!r}  ({row.origins[column]})" for column, value in row.values.items()]
    if (more := len(made.rows) - ROWS_SHOWN) > 0:
        lines.append(f"  … and {more} more; all of them: sidecar show {made.id} --json")
    return lines


def _target_document(made: Plan, rule: Rule | None, target: Target) -> Mapping[str, object]:
    catalogue = target.catalogue
    return {
        "read": "now",
        "error": target.error or None,
        "visible": catalogue.visible,
        "not_visible": list(made.not_visible),
        "same_schema": catalogue.fingerprint == made.schema_fingerprint if not target.error else None,
        "triggers": list(catalogue.triggers),
        "foreign_keys": list(catalogue.foreign_keys),
        "uniques": [list(unique) for unique in catalogue.uniques],
        "defaults": _defaults(rule, catalogue) if rule is not None else [],
        "sql": list(target.description.sql),
        "explain": target.description.explain or None,
    }
