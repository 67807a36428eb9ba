"""One look in several tries, where a check asks for that: all of them within its one deadline."""

from dataclasses import replace

from sidecar.domain.check import Check, Observation, Verdict
from sidecar.ports import Clock, Probe

PASSED_LATE = "passed_on_retry"  # a note: healthy, and worth knowing


async def try_probe(probe: Probe, check: Check, clock: Clock) -> Observation:
    """Probe until a try is healthy, `check.retries` further tries are used up, or the deadline leaves no room.

    Each try has an equal part of the time that is left, so that one that hangs leaves time for the next. A target that
    asked to be left alone is. The observation is that of the last try, and tells of the ones before it.
    """
    if not check.retries:
        return await probe(check)
    started_at, started = clock.now(), clock.monotonic()
    failed: list[str] = []
    while True:
        tries_left = check.retries + 1 - len(failed)
        waits_seconds = check.retry_wait_seconds * (tries_left - 1)
        left_seconds = check.timeout_seconds - (clock.monotonic() - started)
        seen = await probe(replace(check, timeout_seconds=max(0.001, (left_seconds - waits_seconds) / tries_left)))
        left_seconds = check.timeout_seconds - (clock.monotonic() - started)
        is_last = tries_left == 1 or seen.retry_after_seconds is not None or left_seconds <= check.retry_wait_seconds
        if seen.verdict is Verdict.HEALTHY or is_last:
            break
        failed.append(seen.reason)
        await clock.sleep(check.retry_wait_seconds)
    passed_late = (PASSED_LATE,) if failed and seen.verdict is Verdict.HEALTHY else ()
    return replace(
        seen,
        taken_at=started_at,
        duration_seconds=clock.monotonic() - started,
        notes=(*seen.notes, *passed_late),
        facts={**seen.facts, "attempts": len(failed) + 1, "failed_attempts": list(failed)},
    )
