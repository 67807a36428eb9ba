"""A configuration is put in force while everything runs: whole, or not at all, and it loosens nothing."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e.cast import RULE, Running, entered, until
from tests.e2e.light import Light, get, post, value
from tests.scripted import Act, Asked, Scripted, reply, scripted

HEALTH = """\
  - {name: health, kind: http, every: 1s, timeout: 900ms, url: /health, expect: [status == 200]}
"""
MODELS = "  - {name: models, kind: http, every: 1s, timeout: 900ms, url: /models}\n"


def script(asked: Asked) -> Act:
    return reply(200 if asked.path == "/health" else 503)


@pytest.fixture
def backend(portal: BlockingPortal) -> Iterator[Scripted]:
    with entered(portal, scripted(script)) as server:
        yield server


@pytest.fixture
def light(tmp_path: Path, backend: Scripted) -> Iterator[Light]:
    light = Light(tmp_path, backend.url)
    light.write(HEALTH + MODELS)
    try:
        yield light
    finally:
        light.close()


def reloaded(daemon: Running, times: int) -> None:
    daemon.signal(signal.SIGHUP)
    daemon.hear("config.loaded", by="SIGHUP", times=times)


def open_things(daemon: Running) -> tuple[int, int]:
    """Count the process's sockets and other files, and its threads."""
    place = Path(f"/proc/{daemon.process.pid}")
    return len(list((place / "fd").iterdir())), len(list((place / "task").iterdir()))


def test_a_reload_takes_up_what_is_new_drops_what_is_gone_and_keeps_counting(light: Light) -> None:
    daemon = light.start()
    daemon.hear("check.observed", check="health")
    flipped = daemon.hear("check.flipped", check="health")
    daemon.hear("check.flipped", check="models")
    assert value(daemon, "sidecar_config_last_reload_successful") == 1
    light.write(HEALTH + MODELS.replace("models", "openapi"))
    answer = post(daemon, "/-/reload")
    assert (answer.status_code, answer.json()) == (200, {"reloaded": True, "problems": []})
    assert daemon.hear("config.loaded", by="olga")["checks"] == 3
    daemon.hear("check.flipped", check="openapi")
    text = get(daemon, "/metrics").text
    assert 'check="models"' not in text
    assert 'check="openapi"' in text
    runs = value(daemon, 'sidecar_check_runs_total{check="health",kind="http"}')
    assert runs is not None
    assert runs >= 2, "it did not begin anew"
    assert daemon.said("check.flipped", check="health") == [flipped], "what stays is as it was: no second flip"
    page = get(daemon, "/").text
    assert "openapi" in page
    assert "models" not in page


def test_a_configuration_with_mistakes_changes_nothing_and_every_mistake_is_told(light: Light) -> None:
    daemon = light.start()
    good_at = value(daemon, "sidecar_config_last_reload_success_timestamp_seconds")
    light.write(HEALTH.replace("every: 1s", "every_: 1s").replace("status == 200", "stats == 200"))
    answer = post(daemon, "/-/reload")
    assert answer.status_code == 422
    problems = answer.json()["problems"]
    assert len(problems) == 2, problems
    assert "did you mean every?" in problems[0]
    reloaded(daemon, 1)
    assert daemon.said("config.loaded", by="SIGHUP")[0]["problems"] == problems
    assert value(daemon, "sidecar_config_last_reload_successful") == 0
    assert value(daemon, "sidecar_config_last_reload_success_timestamp_seconds") == good_at
    before = len(daemon.said("check.observed", check="models"))
    daemon.hear("check.observed", check="models", times=before + 2)
    light.write(HEALTH)
    assert post(daemon, "/-/reload").status_code == 200
    assert value(daemon, "sidecar_config_last_reload_successful") == 1


def test_what_only_a_restart_can_change_is_named_and_so_is_what_would_lift_a_freeze(light: Light) -> None:
    daemon = light.start()
    daemon.hear("config.loaded", by="start")
    light.write(HEALTH, {"127.0.0.1:0": "127.0.0.1:1", "sidecar.db": "other.db", str(light.nobody): "1"})
    told = post(daemon, "/-/reload").json()["problems"]
    assert [problem.partition(":")[0] for problem in told] == ["supabase.url", "state.url", "server.listen"]
    assert all("restart" in problem for problem in told)
    light.write(HEALTH, {"state: {": "state: {freeze_file: elsewhere, "})
    assert post(daemon, "/-/reload").json()["problems"][0].startswith("state.freeze_file: ")
    assert "models" in get(daemon, "/").text


def test_twenty_reloads_loosen_nothing_leak_nothing_and_miss_no_tick(light: Light) -> None:
    daemon = light.start()
    daemon.hear("check.flipped", check="models")
    frozen = light.run("freeze", RULE, "--reason", "migration", "--as", "olga")
    assert frozen.code == 0, frozen.stderr
    rule = light.folder / "rules" / f"{RULE}.yaml"
    text = rule.read_text()
    reloaded(daemon, 1)
    before = open_things(daemon)
    for number in range(2, 21):
        light.write(HEALTH + (MODELS if number % 2 == 0 else ""))
        rule.write_text(text.replace("mode: approve", "mode: auto") if number % 3 else text)
        reloaded(daemon, number)
    until(lambda: open_things(daemon) <= before, lambda: f"{before}, and then {open_things(daemon)}")
    assert not [line for line in daemon.said("config.loaded") if line.get("problems")]
    assert "migration" in get(daemon, "/").text, "what is frozen stays frozen"
    assert not daemon.said("tick.missed"), daemon.said("tick.missed")
    assert not daemon.said("fault.caught"), daemon.said("fault.caught")
    daemon.signal(signal.SIGTERM)
    assert daemon.end() == 0, daemon.stderr[-2000:]
