"""What may be configured of all this, and what is refused."""

from decimal import Decimal
from pathlib import Path

import pytest

from sidecar.config.load import load_text
from sidecar.domain.pace import Signal
from sidecar.errors import ConfigError
from tests.config.kinds import ENVIRON, KINDS, MINIMAL

RULE = (Path(__file__).parent.parent.parent / "rules" / "credits_without_profile.yaml").read_text()
SIGNAL = "{name: lag, query: max(lag), at_most: 10}"
PROMETHEUS = "\ntelemetry: {prometheus: http://prometheus:9090/}\n"


def with_signals(signals: str) -> dict[str, str]:
    return {"credits_without_profile.yaml": RULE.replace("guard:\n", f"guard:\n  signals: {signals}\n", 1)}


def refused(text: str, rules: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(text, rules, KINDS, ENVIRON)
    return str(caught.value)


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("", "var/freeze"),
        ("state: {url: 'sqlite:////srv/sidecar/memory.db'}", "/srv/sidecar/freeze"),
        ("state: {freeze_file: /run/stop}", "/run/stop"),
        ("database: {url: 'postgresql://sidecar:x@db:5432/postgres'}", "var/freeze"),
    ],
)
def test_the_freeze_file_is_beside_the_memory_unless_it_is_named(section: str, path: str) -> None:
    config = load_text(f"{MINIMAL}\n{section}\n", {}, KINDS, ENVIRON)
    assert config.freeze_file == Path(path)


def test_signals_are_read_exactly_and_are_part_of_what_a_rule_does() -> None:
    config = load_text(MINIMAL + PROMETHEUS, with_signals(f"[{SIGNAL}]"), KINDS, ENVIRON)
    (rule,) = config.rules
    (plain,) = load_text(MINIMAL, {"credits_without_profile.yaml": RULE}, KINDS, ENVIRON).rules

    assert rule.guard.signals == (Signal(name="lag", query="max(lag)", at_most=Decimal(10)),)
    assert config.telemetry.prometheus == "http://prometheus:9090"
    assert rule.digest != plain.digest


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (f"[{SIGNAL}, {SIGNAL}]", "guard.signals: has two signals of one name"),
        ("[{name: lag, query: max(lag)}]", "guard.signals[0].at_most: is missing"),
        ("[{name: lag, query: max(lag), at_most: '10'}]", "guard.signals[0].at_most: must be a number"),
        ("[{name: lag, query: max(lag), at_most: true}]", "guard.signals[0].at_most: must be a number"),
        ("[{name: lag, query: max(lag), at_least: 1, at_most: 2}]", "guard.signals[0].at_least: is not a known key"),
        ("[{name: lag, query: '', at_most: 1}]", "guard.signals[0].query: "),
        ("{name: lag}", "guard.signals: must be a list"),
    ],
)
def test_a_signal_that_says_less_or_more_is_refused_with_its_place(signals: str, message: str) -> None:
    told = refused(MINIMAL + PROMETHEUS, with_signals(signals))
    assert message in told
    assert "credits_without_profile.yaml:" in told


def test_signals_without_anybody_to_ask_are_refused_before_anything_starts() -> None:
    told = refused(MINIMAL, with_signals(f"[{SIGNAL}]"))
    assert "telemetry.prometheus: is not set, and credits_without_profile names signals that are asked of it" in told
