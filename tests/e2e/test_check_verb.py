"""`sidecar check` as a person types it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from tests.e2e.cast import entered
from tests.e2e.light import Light
from tests.scripted import reply, scripted


@pytest.fixture
def light(tmp_path: Path, portal: BlockingPortal) -> Iterator[Light]:
    with entered(portal, scripted(lambda _: reply(503))) as backend:
        yield Light(tmp_path, backend.url)


CHECKS = """\
  - {name: child, kind: http, url: /models, depends_on: [gateway]}
  - {name: gateway, kind: http, url: /health, expect: [status == 200], headers: {X-Key: "sb_secret_notShown"}}
"""


def test_all_checks_are_looked_at_parents_first_and_one_alone_is_traced(light: Light) -> None:
    light.write(CHECKS)
    every = light.ask("check", "--json")
    told = {look["name"]: (look["verdict"], look["reason"]) for look in every.document["checks"]}
    assert told["gateway"] == ("unhealthy", "condition_failed")
    assert told["child"] == ("unknown", "dependency_down")
    assert every.code == 3
    alone = light.ask("check", "gateway")
    assert (alone.code, alone.stderr) == (1, "")
    first, *lines = alone.stdout.splitlines()
    assert first.startswith("unhealthy  gateway")
    assert "  sent         GET with X-Key (values hidden)" in lines
    assert "  condition    status == 200" in lines
    assert "  because      status == 200: status is 503" in lines
    assert [line for line in lines if line.startswith("  phases")]
    assert "notShown" not in alone.stdout + every.stdout
    child = light.ask("check", "child", "gateway")
    assert "condition_failed" in child.stdout.splitlines()[0], (
        "who names a check wants to see it, whatever its parent says"
    )
    assert len(child.stdout.splitlines()) == 2
