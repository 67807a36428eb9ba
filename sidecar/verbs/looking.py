"""The verbs that look, and what they hold back: check, detect, quarantine."""

from collections.abc import Sequence

from sidecar.app import App
from sidecar.domain.check import Observation
from sidecar.domain.dependence import parents_first
from sidecar.errors import UsageError
from sidecar.sights import Quarantined
from sidecar.verbs.progress import busy
from sidecar.verbs.result import (
    Exit,
    Result,
    code_of_checks,
    code_of_look,
    cycle_document,
    cycle_lines,
    deciding,
    iso,
)
from sidecar.verbs.tracing import trace_document, trace_lines


async def check(app: App, names: Sequence[str], *, trace: bool) -> Result:
    """Look once with the named checks, whatever they depend on, or with all of them.

    `trace` tells what happened in each look; so does naming one check alone.
    """
    chosen = [app.check(name) for name in names] or list(parents_first(app.config.checks))
    seen = []
    for number, check in enumerate(chosen, start=1):
        with busy(f"looking: {check.name} ({number} of {len(chosen)})"):
            seen.append(await app.watch.look(check, alone=bool(names)))
    lines = []
    for asked, look in zip(chosen, seen, strict=True):
        lines.append(look_line(look))
        lines += trace_lines(asked, look) if trace or len(names) == 1 else []
    documents = [trace_document(asked, look) for asked, look in zip(chosen, seen, strict=True)]
    return Result(document={"checks": documents}, lines=lines, code=code_of_checks(seen))


def look_line(look: Observation) -> str:
    """Tell a person what one look saw."""
    took_ms = look.duration_seconds * 1000
    return f"{look.verdict:<9}  {look.check:<28} {look.reason:<24} {took_ms:7.0f} ms  {look.detail}".rstrip()


async def detect(app: App, names: Sequence[str], *, accept_change: str | None) -> Result:
    """Look at the named rules, or at all. `accept_change` names the person who says that a large change was meant."""
    rules = [app.any_rule(name) for name in names] or list(app.every_rule)
    cycles = []
    for rule in rules:
        if accept_change is not None:
            await app.state.drop_baseline(rule.name, accept_change, app.clock.now())
        cycles.append(await app.detect(rule))
    lines = [line for cycle in cycles for line in cycle_lines(cycle)]
    told = cycles if names else deciding(cycles)
    code = max((code_of_look(cycle) for cycle in told), default=Exit.CLEAN)
    return Result(document={"rules": [cycle_document(cycle) for cycle in cycles]}, lines=lines, code=code)


async def quarantine(app: App, rule: str | None, release: int | None, actor: str) -> Result:
    """List what is held back and why, or release one row."""
    if release is not None:
        if not await app.state.let_go(release, actor, app.clock.now()):
            raise UsageError(f"there is nothing with id {release} in quarantine; see: sidecar quarantine")
        return Result(document={"released": release}, lines=[f"released {release}"], code=Exit.CLEAN)
    if rule is not None:
        app.rule(rule)
    held = await app.state.held(rule, app.clock.now())
    lines = [_held_line(q) for q in held]
    document = {
        "quarantined": [
            {
                "id": q.id,
                "rule": q.rule,
                "key": q.key,
                "reason": q.reason,
                "source": q.source,
                "since_at": iso(q.since_at),
                "until_at": iso(q.until_at),
            }
            for q in held
        ]
    }
    return Result(document=document, lines=lines or ["quarantine is empty"], code=Exit.CLEAN)


def _held_line(held: Quarantined) -> str:
    """Tell why a row is held, since when, and until when: by the next proven look, an instant, or a person."""
    until = f"until {held.until_at:%Y-%m-%d %H:%M} UTC" if held.until_at else "until a person releases it"
    if held.source == "look":
        until = "judged anew by each proven look"
    since = f"since {held.since_at:%Y-%m-%d %H:%M} UTC"
    return f"{held.id:>5}  {held.rule}  {held.key}  {held.reason}  {since}, {until}"
