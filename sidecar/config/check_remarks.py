"""What is not wrong with checks and windows, and will surprise whoever wrote them."""

from collections.abc import Iterator
from datetime import datetime

from sidecar.config.settings import Config
from sidecar.domain.check import Check
from sidecar.domain.maintenance import Once

TRY_SECONDS_AT_LEAST = 1.0  # less than this, and a slow answer is taken for none


def check_remarks(config: Config, now: datetime) -> list[str]:
    """Return one sentence for each check that is left out, and for each surprise."""
    by_name = {check.name: check for check in config.checks}
    found = [f"{name}: {why}" for name, why in config.left_out.items()]
    found += [remark for check in config.checks for remark in _of_check(check, by_name, config)]
    over = [w.name for w in config.maintenance.windows if isinstance(w.span, Once) and w.span.ends_at <= now]
    return [*found, *(f"maintenance {name}: it is over, so it never applies" for name in over)]


def _of_check(check: Check, by_name: dict[str, Check], config: Config) -> Iterator[str]:
    recheck_seconds = check.recheck_every_seconds
    if recheck_seconds is not None and recheck_seconds >= check.every_seconds:
        yield f"{check.name}: recheck_every is not shorter than every, so it changes nothing"
    if check.retries:
        tries = check.retries + 1
        try_seconds = (check.timeout_seconds - check.retries * check.retry_wait_seconds) / tries
        if try_seconds < TRY_SECONDS_AT_LEAST:
            yield f"{check.name}: each of its {tries} tries has only {try_seconds:.2g} s of timeout"
    for name in config.left_out:
        if name in check.depends_on:
            yield f"{check.name}: it does not depend on {name}, which is left out"
    for name in check.depends_on:
        if (parent := by_name.get(name)) and parent.every_seconds > check.every_seconds:
            yield f"{check.name}: it is looked at more often than {name}, so it may be told before what explains it"
    for remark in getattr(check.spec, "remarks", ()):
        yield f"{check.name}: {remark}"
    asks_seconds = config.connectivity.timeout_seconds if config.connectivity.targets and check.outside else 0.0
    if asks_seconds and check.timeout_seconds + asks_seconds >= check.every_seconds:
        yield f"{check.name}: timeout and connectivity.timeout together reach every, so failing looks may miss ticks"
