"""What is worth knowing about checks and windows before they run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.checks.kinds import KINDS as SHIPPED
from sidecar.config.check_remarks import check_remarks
from sidecar.config.load import load, load_text
from sidecar.domain.check import Check
from sidecar.domain.maintenance import Calendar, Once, Window
from tests.config.kinds import ENVIRON, KINDS, MINIMAL

CONFIG = load_text(MINIMAL, {}, KINDS, ENVIRON)
PARENT, CHECK = CONFIG.checks
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (replace(CHECK, recheck_every_seconds=60.0), "changes nothing"),
        (replace(CHECK, retries=2, retry_wait_seconds=4.0), "each of its 3 tries has only 0.67 s"),
        (replace(CHECK, every_seconds=30.0, depends_on=(PARENT.name,)), "more often than service-key"),
    ],
)
def test_a_surprise_is_told_in_one_sentence(check: Check, words: str) -> None:
    (told,) = check_remarks(replace(CONFIG, checks=(PARENT, check)), NOW)
    assert told.startswith("backend-health: ")
    assert words in told


def test_a_check_that_is_left_out_and_what_depends_on_it_are_told() -> None:
    config = replace(CONFIG, checks=(replace(CHECK, depends_on=("canary-user",)),), left_out={"canary-user": "why"})
    assert check_remarks(config, NOW) == [
        "canary-user: why",
        "backend-health: it does not depend on canary-user, which is left out",
    ]


def test_a_question_after_our_own_network_that_does_not_fit_is_told() -> None:
    asking = replace(CONFIG.connectivity, targets=(("1.1.1.1", 443),))
    tight = replace(CHECK, every_seconds=11.0)
    assert "connectivity.timeout" in check_remarks(replace(CONFIG, checks=(tight,), connectivity=asking), NOW)[0]
    inside = replace(tight, outside=False)
    assert check_remarks(replace(CONFIG, checks=(inside,), connectivity=asking), NOW) == []


def test_a_window_that_is_over_never_applies() -> None:
    span = Once(starts_at=NOW, ends_at=NOW + timedelta(hours=1))
    config = replace(CONFIG, maintenance=Calendar((Window(name="move", span=span),)))
    assert check_remarks(config, NOW) == []
    assert check_remarks(config, NOW + timedelta(hours=1)) == ["maintenance move: it is over, so it never applies"]


def test_of_the_shipped_configuration_only_what_is_left_out_is_remarked() -> None:
    models = {name: kind.model for name, kind in SHIPPED.items()}
    config = load(Path(__file__).parents[2] / "sidecar.yaml", models, ENVIRON)
    assert [remark for remark in check_remarks(config, NOW) if "left out" not in remark] == []
