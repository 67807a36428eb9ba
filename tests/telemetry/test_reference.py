from pathlib import Path

from sidecar.telemetry.reference import events_page, metrics_page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
MEND = "run: .venv/bin/python -m sidecar.telemetry.reference"


def test_the_reference_of_metrics_is_what_the_code_exposes() -> None:
    assert (REFERENCE / "metrics.md").read_text(encoding="utf-8") == metrics_page(), MEND


def test_the_reference_of_log_events_is_what_the_code_writes() -> None:
    assert (REFERENCE / "events.md").read_text(encoding="utf-8") == events_page(), MEND
