"""What a reload cannot change: what was opened at the start, and what would lift a stop."""

from collections.abc import Callable, Mapping
from datetime import datetime

from sidecar.config.settings import Config

_KEYS: Mapping[str, Callable[[Config], object]] = {
    "supabase.url": lambda config: config.supabase.url,
    "database.url": lambda config: config.database_url,
    "state.url": lambda config: config.state_url,
    "state.freeze_file": lambda config: config.freeze_file,  # another path would lift a freeze without a word
    "server.listen": lambda config: (config.server.host, config.server.port),
    "server.tls": lambda config: config.server.tls,
    "telemetry.otlp": lambda config: config.telemetry.otlp,
    "telemetry.service_name": lambda config: config.telemetry.service_name,
    "telemetry.log_level": lambda config: config.telemetry.log_level,
}


def needs_restart(before: Config, after: Config) -> tuple[str, ...]:
    """Return one sentence for each key whose change a reload cannot follow. No value is repeated."""
    return tuple(
        f"{key}: changed, and a reload cannot follow; restart to change it"
        for key, read in _KEYS.items()
        if read(before) != read(after)
    )


def lifts_freeze(before: Config, after: Config, now: datetime) -> tuple[str, ...]:
    """Return one sentence for each window that freezes rules now and would not be as it is: no reload lifts a stop."""
    return tuple(
        f"maintenance: the window {window.name} freezes rules now, and a reload cannot lift that; wait until it is over"
        for window in before.maintenance.freezing(now)
        if window not in after.maintenance.windows
    )
