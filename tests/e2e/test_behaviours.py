"""What checks do together, as somebody sees it who looks at a running daemon."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e.cast import Running, entered, until
from tests.e2e.light import Light, get, post, value
from tests.scripted import Act, Asked, reply, scripted

CHECKS = """\
  - {name: gateway, kind: http, every: 2s, timeout: 900ms, url: /gateway, recheck_every: 1s, fail_after: 1}
  - {name: child, kind: http, every: 2s, timeout: 900ms, url: /child, depends_on: [gateway], fail_after: 1}
"""
MOVE = """\
maintenance:
  - {name: move, checks: [gateway], zone: UTC, starts: "2020-01-01T00:00", ends: "2100-01-01T00:00", freeze: true}
"""


class Backend:
    """Answers 200, or 503 where a test says so."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.asked: list[str] = []

    def __call__(self, asked: Asked) -> Act:
        self.asked.append(asked.path)
        return reply(503 if asked.path in self.down else 200)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def light(tmp_path: Path, portal: BlockingPortal, backend: Backend) -> Iterator[Light]:
    with entered(portal, scripted(backend)) as served:
        light = Light(tmp_path, served.url)
        light.write(CHECKS)
        try:
            yield light
        finally:
            light.close()


def up(daemon: Running, check: str) -> float | None:
    return value(daemon, f'sidecar_check_up{{check="{check}",kind="http",severity="warning"}}')


def test_a_parent_that_fails_is_one_alarm_and_maintenance_is_none(light: Light, backend: Backend) -> None:
    backend.down = {"/gateway", "/child"}
    daemon = light.start()
    daemon.hear("check.flipped", check="gateway", verdict="unhealthy")
    daemon.hear("check.observed", check="child", reason="dependency_down")
    assert "/child" not in backend.asked
    assert (up(daemon, "gateway"), up(daemon, "child")) == (0, None)
    told = get(daemon, "/probe?target=child")
    assert (told.status_code, "probe_success" in told.text) == (200, False)
    assert not daemon.said("check.flipped", check="child", level="warning")

    backend.down = set()
    daemon.hear("check.flipped", check="gateway", verdict="healthy")
    daemon.hear("check.flipped", check="child", verdict="healthy")
    assert "probe_success 1" in get(daemon, "/probe?target=child").text

    light.write(CHECKS + MOVE)
    assert post(daemon, "/-/reload").status_code == 200
    backend.down = {"/gateway"}
    daemon.hear("check.observed", check="gateway", maintenance="move", seen="unhealthy")
    until(lambda: up(daemon, "gateway") is None, lambda: "held as green")
    assert value(daemon, 'sidecar_check_in_maintenance{check="gateway"}') == 1
    assert "in maintenance: move" in get(daemon, "/").text
    assert len(daemon.said("check.flipped", check="gateway")) == 2

    light.write(CHECKS)
    (problem,) = post(daemon, "/-/reload").json()["problems"]
    assert "move freezes rules now" in problem
    assert not daemon.said("tick.missed"), daemon.said("tick.missed")
