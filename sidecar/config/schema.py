"""The shape of sidecar.yaml."""

import ipaddress
import re
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field

from sidecar.config.document import Plain
from sidecar.config.fields import (
    BaseURL,
    Name,
    OptionalURL,
    Reads,
    SecretText,
    Strict,
    Text,
    Unique,
    duration,
    is_http_url,
    one_of,
    whole,
    wrong,
)
from sidecar.config.settings import LogLevel, Notice, Scope
from sidecar.config.variables import Secret
from sidecar.domain.check import Severity

SECRETS = re.compile(
    r"supabase\.(service_key|anon_key)|database\.url|notifications\[[0-9]+\]\.url|checks\[[0-9]+\]\.user\.(email|password)"
)
DEFAULT_STATE = "sqlite:///./var/sidecar.db"
DEFAULT_LISTEN = "127.0.0.1:9877"

_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")
_PORT_AT_MOST = 65535
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")


class Day(StrEnum):
    """Days of the week, as people write them."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class SupabaseSection(Strict):
    """The watched project."""

    url: BaseURL
    service_key: SecretText = Field(default_factory=lambda: Secret(""))
    anon_key: SecretText = Field(default_factory=lambda: Secret(""))


def _database_url(value: object) -> Secret | None:
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("postgresql", "postgres") and len(parts.path) > 1 and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise wrong("must be the URL of a PostgreSQL database", "like postgresql://sidecar:…@HOST:5432/postgres")
    return Secret(text)


class DatabaseSection(Strict):
    """The direct path to PostgreSQL."""

    url: Annotated[Secret | None, Reads(_database_url, {"type": ["string", "null"]})] = None


class BackendSection(Strict):
    """The application in front of the project."""

    url: OptionalURL = None


class RulesSection(Strict):
    """Where the rule files are."""

    path: Text = "rules"


def _state_url(value: object) -> str:
    text = value if isinstance(value, str) else ""
    file = text.removeprefix("sqlite:///")
    if file == text or not file or "?" in file or "#" in file:
        raise wrong("must be the URL of an SQLite file", f"like {DEFAULT_STATE}")
    return text


class StateSection(Strict):
    """Where Sidecar remembers."""

    url: Annotated[str, Reads(_state_url, {"type": "string", "pattern": "^sqlite:///."})] = DEFAULT_STATE
    freeze_file: Text | None = None


def read_listen(value: object) -> tuple[str, int]:
    """Read `host:port` or `[IPv6]:port`."""
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match["port"]) > _PORT_AT_MOST:
        raise wrong("must be a host and a port", f"like {DEFAULT_LISTEN} or [::1]:9877")
    host = match["host"].strip("[]")
    if match["host"].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise wrong("must be a host and a port", "the address in [ ] is not an IPv6 address") from None
    return host, int(match["port"])


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address. A name that is not `localhost` may be anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TokenSection(Strict):
    """A bearer token: its name, what it may do, and the file that holds it."""

    name: Name
    scopes: Annotated[tuple[Annotated[Scope, one_of(Scope)], ...], Field(min_length=1), Unique]
    file: Text


class TLSSection(Strict):
    """PEM files to serve HTTPS with."""

    certificate: Text
    key: Text


class ServerSection(Strict):
    """Where Sidecar listens."""

    listen: Annotated[tuple[str, int], Reads(read_listen, {"type": "string"})] = ("127.0.0.1", 9877)
    tokens: tuple[TokenSection, ...] = ()
    tls: TLSSection | None = None
    drain: Annotated[float, duration("10m")] = 20.0


class TelemetrySection(Strict):
    """Traces and logs."""

    otlp: OptionalURL = None
    prometheus: OptionalURL = None
    service_name: Text = "supabase-sidecar"
    log_level: Annotated[LogLevel, one_of(LogLevel)] = LogLevel.INFO


def _webhook(value: object) -> Secret:
    text = value if isinstance(value, str) else ""
    if not is_http_url(text):
        raise wrong("must be an http or https URL", "the address of a webhook")
    return Secret(text)


class NotificationSection(Strict):
    """A webhook."""

    url: Annotated[Secret, Reads(_webhook, {"type": "string"})]
    events: Annotated[tuple[Annotated[Notice, one_of(Notice)], ...], Field(min_length=1), Unique] = tuple(Notice)


def _zone(value: object) -> ZoneInfo:
    """Read the IANA name of a time zone."""
    try:
        if isinstance(value, str) and _ZONE.fullmatch(value):
            return ZoneInfo(value)
    except (ValueError, KeyError, OSError):
        pass
    raise wrong("is no time zone that this machine knows", "like Europe/Berlin or UTC; it knows those of tzdata")


def _some_checks(value: object) -> tuple[str, ...] | None:
    """Read the names of checks; None stands for `*`, all of them."""
    if value == "*":
        return None
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise wrong("must be a list of checks", 'or "*" for all')
    return tuple(value)


class WindowSection(Strict):
    """A maintenance window."""

    name: Name
    checks: Annotated[tuple[str, ...] | None, Reads(_some_checks, {})] = None
    zone: Annotated[ZoneInfo, Reads(_zone, {"type": "string"})]
    days: Annotated[tuple[Annotated[Day, one_of(Day)], ...] | None, Field(min_length=1)] = None
    starts: Text
    ends: Text
    freeze: Annotated[bool, Field(strict=True)] = False


class ConnectivitySection(Strict):
    """What must be reachable if Sidecar itself has a network."""

    targets: Annotated[tuple[Annotated[tuple[str, int], Reads(read_listen, {"type": "string"})], ...], Unique] = ()
    timeout: Annotated[float, duration("10s")] = 2.0


class RetriesSection(Strict):
    """Further tries within one look."""

    times: Annotated[int, whole(0, 5)] = 0
    wait: Annotated[float, duration("1m")] = 1.0


class CheckSection(Strict):
    """The keys that every check has, whatever its kind."""

    name: Name
    kind: Text
    every: Annotated[float, duration("7d")] = 60.0
    timeout: Annotated[float, duration("10m")] = 10.0
    severity: Annotated[Severity, one_of(Severity)] = Severity.WARNING
    fail_after: Annotated[int, whole(1, 100)] = 2
    pass_after: Annotated[int, whole(1, 100)] = 1
    retries: RetriesSection = RetriesSection()
    recheck_every: Annotated[float | None, duration("7d")] = None
    depends_on: Annotated[tuple[Name, ...], Unique] = ()
    outside: Annotated[bool, Field(strict=True)] = True


def _anything(value: object) -> object:
    return value


class SidecarSection(Strict):
    """All of sidecar.yaml; the entries of `checks` are read one by one, since each kind has its own keys."""

    supabase: SupabaseSection
    database: DatabaseSection = DatabaseSection()
    backend: BackendSection = BackendSection()
    checks: Annotated[tuple[Annotated[Plain, Reads(_anything, {})], ...], Field(min_length=1)]
    rules: RulesSection = RulesSection()
    state: StateSection = StateSection()
    server: ServerSection = ServerSection()
    telemetry: TelemetrySection = TelemetrySection()
    notifications: tuple[NotificationSection, ...] = ()
    maintenance: tuple[WindowSection, ...] = ()
    connectivity: ConnectivitySection = ConnectivitySection()
