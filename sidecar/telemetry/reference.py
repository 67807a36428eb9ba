"""Writes the reference of metrics and log events from their catalogues: `python -m sidecar.telemetry.reference`."""

from pathlib import Path

from sidecar.telemetry import catalogue, lines
from sidecar.telemetry.series import Family

FOLDER = Path("docs/reference")

_METRICS = """# Metrics

Made from `sidecar/telemetry/catalogue.py` by `python -m sidecar.telemetry.reference`; a test holds the two together.

Sidecar exposes these on `/metrics`, as Prometheus text or, where the scraper accepts it, as OpenMetrics.
Only OpenMetrics carries exemplars (`trace_id` on `sidecar_check_duration_seconds`, while traces are exported).
Values come from Sidecar's own schedule: a scrape never triggers a look.
All label values come from closed sets: names in the configuration, and enums.
A gauge whose value is not known is absent; 0 always means that 0 was seen.

| metric | type | labels | meaning |
|---|---|---|---|
"""

_EVENTS = """# Log events

Made from `sidecar/telemetry/lines.py` by `python -m sidecar.telemetry.reference`; a test holds the two together.

One line for each event, on stderr: JSON, or short text where stderr is a terminal.
Every line has `timestamp` (UTC), `level` and `event`, and inside a span `trace_id` and `span_id`.
Fields without a value are left out.
What looks like a key, a token, a password, an e-mail or a URL's query is replaced by `[masked]` or cut off.

| event | level | fields | meaning |
|---|---|---|---|
"""


def metrics_page() -> str:
    """Return docs/reference/metrics.md."""
    return _METRICS + "".join(_metric_row(family) for family in catalogue.CATALOGUE)


def events_page() -> str:
    """Return docs/reference/events.md."""
    return _EVENTS + "".join(_event_row(kind) for kind in lines.CATALOGUE)


def _metric_row(family: Family) -> str:
    return f"| `{family.name}` | {family.shape} | {_coded(family.labels)} | {family.help} |\n"


def _event_row(kind: lines.Kind) -> str:
    return f"| `{kind.name}` | {', '.join(kind.levels)} | {_coded(kind.fields)} | {kind.meaning} |\n"


def _coded(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main() -> None:
    """Write both pages into the folder of references below the working directory."""
    (FOLDER / "metrics.md").write_text(metrics_page(), encoding="utf-8")
    (FOLDER / "events.md").write_text(events_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
