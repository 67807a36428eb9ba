"""How these tests run the command line."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:  # noqa: ANN401  # JSON
        return json.loads(self.stdout)


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


def command(words: Sequence[str]) -> list[str]:
    """Return the command line of a verb in a process of its own."""
    return [sys.executable, "-W", "error", "-m", "sidecar", *words]
