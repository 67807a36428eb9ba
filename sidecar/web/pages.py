"""The status page: what it shows, and how it is rendered. Plain HTML, no script, nothing loaded from elsewhere."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """A check as it stands. `duration_seconds` and `last_look_at` are those of the last look, None before it.

    `is_stale` says that this look is too old to tell anything; the verdict is then unknown. `maintenance` names the
    window that holds the verdict.
    """

    name: str
    kind: str
    verdict: str
    reason: str
    detail: str = ""
    since_at: datetime | None = None
    last_look_at: datetime | None = None
    duration_seconds: float | None = None
    is_stale: bool = False
    maintenance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """A rule as it stands. `violations` is None while nothing is proven; `unproven` then says why."""

    name: str
    summary: str
    mode: str
    violations: Mapping[str, int] | None
    unproven: str = ""
    last_look_at: datetime | None = None
    plan_id: str | None = None
    frozen: str | None = None

    @property
    def found(self) -> Mapping[str, int]:
        """The classes of which there is any."""
        return {name: rows for name, rows in (self.violations or {}).items() if rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run, finished or not. `counts` maps results to rows."""

    id: str
    rule: str
    status: str
    outcome: str | None
    counts: Mapping[str, int] = field(default_factory=dict)
    started_at: datetime
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    """Everything the page shows, as of `at`. Runs come newest first."""

    at: datetime
    checks: Sequence[CheckRow]
    rules: Sequence[RuleRow]
    runs: Sequence[RunRow]


class Pages:
    """Renders pages. `policy` is the Content-Security-Policy under which they work."""

    def __init__(self) -> None:
        """Read the templates."""
        loader = FileSystemLoader(TEMPLATES)
        self._templates = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.filters["instant"] = _instant
        self._templates.filters["ago"] = _ago
        style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
        self._templates.globals["style"] = Markup(style)  # noqa: S704  # our own file
        self._templates.globals["version"] = version("supabase-sidecar")
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self.policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )

    def status(self, view: StatusView) -> str:
        """Render the status page."""
        return self._templates.get_template("status.html").render(view=view)

    def blind(self, reason: str) -> str:
        """Render the page that says why there is none."""
        return self._templates.get_template("blind.html").render(reason=reason)


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _ago(at: datetime, now: datetime) -> str:
    """Render how long ago, as people say it."""
    seconds = max(0, int((now - at).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
