"""The whole configuration as frozen values, ready to be used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from sidecar.config.variables import Secret
from sidecar.domain.check import Check
from sidecar.domain.maintenance import Calendar
from sidecar.domain.rule import Rule
from sidecar.domain.survey import Survey


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"  # the page, /metrics and every GET of the API
    PLAN = "plan"  # make plans, attest balances
    APPROVE = "approve"  # approve and reject plans of others
    OPERATE = "operate"  # apply, pause, freeze, release, reload
    INGEST = "ingest"  # hand in logs and alerts


class Notice(StrEnum):
    """What a notification can be about."""

    PLAN_WAITING = "plan_waiting"
    RUN_ENDED = "run_ended"
    GUARD_REFUSED = "guard_refused"
    DAMAGE_RECURRED = "damage_recurred"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupabaseConfig:
    """The watched project. `url` has no trailing slash; an empty key means that none was given."""

    url: str
    service_key: Secret
    anon_key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A named bearer token and what it may do."""

    name: str
    scopes: frozenset[Scope]
    value: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSConfig:
    """PEM files to serve HTTPS with."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where Sidecar itself listens. Port 0 lets the system choose one."""

    host: str
    port: int
    tokens: tuple[Token, ...]
    tls: TLSConfig | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig:
    """Where traces go (`otlp`: the root of an OTLP/HTTP endpoint, None for nowhere) and how much is logged.

    `prometheus` is the root of the server that rules' signals are asked of, None for none.
    """

    otlp: str | None
    prometheus: str | None
    service_name: str
    log_level: LogLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationConfig:
    """A webhook and what it hears of."""

    url: Secret
    events: frozenset[Notice]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectivityConfig:
    """What must be reachable if Sidecar itself has a network: hosts with ports, none to never ask."""

    targets: tuple[tuple[str, int], ...]
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that sidecar.yaml and the rule files say.

    Units: `drain_seconds` seconds. The existence of `freeze_file` stops all writing. With `database_url`, memory
    lives in that database and `state_url` is not used.
    `rules` repair and `surveys` only report, each in file-name order. `digest` covers the texts as written, before any
    variable is filled in: it tells an edited configuration from the same one, and nothing about secrets.
    `left_out` maps the names of checks that are not made, since what they need is empty, to what that is.
    """

    supabase: SupabaseConfig
    database_url: Secret | None
    backend_url: str | None
    checks: tuple[Check, ...]
    rules: tuple[Rule, ...]
    surveys: tuple[Survey, ...]
    state_url: str
    freeze_file: Path
    server: ServerConfig
    telemetry: TelemetryConfig
    notifications: tuple[NotificationConfig, ...]
    maintenance: Calendar
    connectivity: ConnectivityConfig
    drain_seconds: float
    digest: str
    left_out: Mapping[str, str] = field(default_factory=dict)
