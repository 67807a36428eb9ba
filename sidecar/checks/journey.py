"""The kind `journey`: what a user does, step by step, and cleanup that always happens."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.checks.context import ProbeContext
from sidecar.checks.journey_keys import JourneyKeys
from sidecar.checks.journey_steps import JourneySpec, Step
from sidecar.checks.journey_walk import Walk
from sidecar.checks.stopped import Stopped
from sidecar.checks.way import Way
from sidecar.domain.check import JSON, Check, Observation
from sidecar.domain.reasons import JourneyReason

__all__ = ["JourneyKeys", "JourneyProbe"]


@dataclass(slots=True)
class _Log:
    """What became of each step, in their order: `ok`, `skipped` (what it needs was never captured) or a reason."""

    steps: list[JSON] = field(default_factory=list)
    broken_cleanup: list[str] = field(default_factory=list)

    def add(self, step: Step, outcome: str, seconds: float, status: int | None) -> None:
        entry: dict[str, JSON] = {"name": step.name, "outcome": outcome, "duration_seconds": round(seconds, 6)}
        if status is not None:
            entry["status"] = status
        self.steps.append(entry)


@dataclass(frozen=True, slots=True)
class _Finding:
    reason: JourneyReason
    detail: str = ""
    step: str = ""
    retry_after_seconds: float | None = None


class JourneyProbe:
    """Implements `sidecar.ports.Probe`."""

    def __init__(self, context: ProbeContext) -> None:
        self._context = context

    async def __call__(self, check: Check) -> Observation:
        """Walk once, within `check.timeout_seconds` and, for cleanup, `cleanup_timeout` more."""
        spec = check.spec
        if not isinstance(spec, JourneySpec):
            raise TypeError(type(spec).__name__)
        clock = self._context.clock
        taken_at, started = clock.now(), clock.monotonic()
        walk, log = Walk(check=check, spec=spec, context=self._context), _Log()
        way = Way(clock=clock, deadline=started + check.timeout_seconds)
        try:
            finding = await self._walk(walk, spec.steps, way, log)
        finally:
            await _insist(self._clean(walk, spec, way, log))
        if finding.reason is JourneyReason.OK and log.broken_cleanup:
            finding = _Finding(JourneyReason.CLEANUP_FAILED, "; ".join(log.broken_cleanup))
        return Observation(
            check=check.name,
            kind=check.kind,
            verdict=finding.reason.verdict,
            reason=finding.reason.value,
            taken_at=taken_at,
            duration_seconds=clock.monotonic() - started,
            detail=f"{finding.step}: {finding.detail}" if finding.step else finding.detail,
            notes=(JourneyReason.CLEANUP_FAILED.value,) if log.broken_cleanup else (),
            phases=way.phases,
            facts=_facts(finding, walk, log),
            retry_after_seconds=finding.retry_after_seconds,
        )

    async def _walk(self, walk: Walk, steps: Sequence[Step], way: Way, log: _Log) -> _Finding:
        for step in steps:
            stopped = await self._take(walk, step, way, log)
            if stopped is not None:
                reason = JourneyReason(stopped.reason)
                return _Finding(reason, stopped.detail, step.name, stopped.retry_after_seconds)
        return _Finding(JourneyReason.OK)

    async def _clean(self, walk: Walk, spec: JourneySpec, way: Way, log: _Log) -> None:
        """Take every cleanup step for which there is something to clean; one that fails or hangs stops no other."""
        clock = self._context.clock
        deadline = clock.monotonic() + spec.cleanup_seconds
        for position, step in enumerate(spec.cleanup):
            if step.needs - walk.captured.keys():
                log.add(step, "skipped", 0.0, None)
                continue
            now = clock.monotonic()
            share = max(0.0, deadline - now) / (len(spec.cleanup) - position)
            stopped = await self._take(walk, step, way.until(now + share), log)
            if stopped is not None:
                log.broken_cleanup.append(f"{step.name}: {stopped.reason}: {stopped.detail}")

    async def _take(self, walk: Walk, step: Step, way: Way, log: _Log) -> Stopped | None:
        clock = self._context.clock
        started, walk.status = clock.monotonic(), None
        outcome = "cancelled"
        try:
            async with way.bounded():
                await walk.take(step, way)
            outcome = "ok"
        except Stopped as stopped:
            outcome = stopped.reason
            return stopped
        finally:
            log.add(step, outcome, clock.monotonic() - started, walk.status)
        return None


async def _insist(work: Coroutine[None, None, None]) -> None:
    """See work of bounded time through, however often this is cancelled meanwhile; the cancellation then goes on."""
    task = asyncio.get_running_loop().create_task(work, name="cleanup of a journey")
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


def _facts(finding: _Finding, walk: Walk, log: _Log) -> Mapping[str, JSON]:
    facts: dict[str, JSON] = {"steps": log.steps, "captured": list[JSON](sorted(walk.captured))}
    if walk.session is not None:
        facts["session_kept"] = walk.session.is_kept
    if finding.step:
        facts["step"] = finding.step
    return facts
