"""How these tests run the command line."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from sidecar.demo.stack import Stack, StackSpec, stack
from tests.e2e.cast import Detour, Ended, Project, command, entered, remember, restore

__all__ = ["Ended", "Sidecar", "command"]

Sidecar: TypeAlias = Callable[..., Ended]


@pytest.fixture
def sidecar() -> Sidecar:
    """Run `sidecar` with some words and wait for its end."""

    def run(*words: str, environment: Mapping[str, str] | None = None) -> Ended:
        done = subprocess.run(
            command(words),
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **(environment or {})},
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def shared_tmp() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach; pytest's own are closed to it when root runs the tests."""
    with tempfile.TemporaryDirectory(prefix="sidecar-test-", dir="/var/tmp") as folder:  # ours alone
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """A loop in a thread of its own, so that tests may wait for processes without holding up what these talk to."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="module")
def served(portal: BlockingPortal) -> Iterator[Stack]:
    """One stack for a module: 300 users, 13 of them to be repaired."""
    with entered(portal, stack(StackSpec(users=300, orphans=12, seed=7))) as served:
        remember(served.database_url)
        yield served


@pytest.fixture(scope="module")
def detour(portal: BlockingPortal, served: Stack) -> Iterator[Detour]:
    """What tests can bend between Sidecar and the module's stack."""
    detour = Detour()
    with entered(portal, detour.serving(served.supabase_url)):
        yield detour


@pytest.fixture
def project(served: Stack, tmp_path: Path) -> Iterator[Project]:
    """A Sidecar straight beside the stack, which is as it was at the start."""
    with _project(tmp_path, served, served.supabase_url) as project:
        yield project


@pytest.fixture
def bent(served: Stack, detour: Detour, tmp_path: Path) -> Iterator[Project]:
    """A Sidecar that talks to the stack through the detour."""
    try:
        with _project(tmp_path, served, detour.url) as project:
            yield project
    finally:
        detour.bend = None


@contextlib.contextmanager
def _project(folder: Path, served: Stack, url: str) -> Iterator[Project]:
    restore(served.database_url)
    project = Project(folder, served, url)
    try:
        yield project
    finally:
        project.close()
