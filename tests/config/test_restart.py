"""What a reload refuses to change."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.config.load import load_text
from sidecar.config.restart import lifts_freeze, needs_restart
from sidecar.domain.maintenance import Calendar, Once, Window
from tests.config.kinds import ENVIRON, KINDS, MINIMAL

CONFIG = load_text(MINIMAL, {}, KINDS, ENVIRON)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        (replace(CONFIG, freeze_file=Path("elsewhere")), "state.freeze_file"),
        (replace(CONFIG, state_url="sqlite:///other.db"), "state.url"),
        (replace(CONFIG, supabase=replace(CONFIG.supabase, url="https://other.supabase.co")), "supabase.url"),
        (replace(CONFIG, server=replace(CONFIG.server, port=1)), "server.listen"),
        (replace(CONFIG, telemetry=replace(CONFIG.telemetry, otlp="http://otlp")), "telemetry.otlp"),
    ],
)
def test_what_was_opened_at_the_start_or_would_lift_a_stop_needs_a_restart(changed: object, key: str) -> None:
    (told,) = needs_restart(CONFIG, changed)  # type: ignore[arg-type]  # a Config
    assert told.startswith(f"{key}: ")
    assert "restart" in told


def test_what_a_reload_is_for_needs_none() -> None:
    rotated = load_text(MINIMAL, {}, KINDS, {**ENVIRON, "SUPABASE_SERVICE_ROLE_KEY": "sb_secret_new"})
    assert rotated.supabase.service_key != CONFIG.supabase.service_key
    assert needs_restart(CONFIG, replace(rotated, checks=(), drain_seconds=1.0)) == ()


def test_no_reload_takes_away_a_window_that_freezes_now() -> None:
    now = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
    span = Once(starts_at=now - timedelta(hours=1), ends_at=now + timedelta(hours=1))
    frozen, mild = Window(name="move", span=span, freeze=True), Window(name="mild", span=span)
    before = replace(CONFIG, maintenance=Calendar((frozen, mild)))
    shorter = replace(frozen, span=replace(span, ends_at=now + timedelta(minutes=1)))
    for windows in ((), (mild,), (replace(frozen, freeze=False),), (shorter,)):
        (told,) = lifts_freeze(before, replace(CONFIG, maintenance=Calendar(windows)), now)
        assert "move" in told
    assert lifts_freeze(before, replace(CONFIG, maintenance=Calendar((frozen,))), now) == ()
    assert lifts_freeze(before, CONFIG, now + timedelta(hours=1)) == ()
