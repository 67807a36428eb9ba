"""Each guard is taken out once, and its test must fail: a check that cannot fail proves nothing.

`GUARDS` says which lines to change in which file, and which test must notice. A test that does not fail for the right
reason (an import that broke, a test that was renamed) is no proof either: pytest must report a failure, not an error.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations.guard import Guard
from tests.mutations.guards import GUARDS

ROOT = Path(__file__).parents[2]
COPIED = ("sidecar", "tests", "rules", "docs", "pyproject.toml", "sidecar.yaml")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that may be spoilt."""
    place = tmp_path_factory.mktemp("mutated")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place / name)
    return place


def _case(guard: Guard) -> object:
    marks = [] if guard.quick else [pytest.mark.soak]
    return pytest.param(guard, id=guard.name, marks=[*marks, pytest.mark.timeout(300)])


@pytest.mark.parametrize("guard", [_case(guard) for guard in GUARDS])
def test_a_test_fails_without_its_guard(guard: Guard, copy: Path) -> None:
    spoilt = copy / guard.file
    text = spoilt.read_text(encoding="utf-8")
    assert text.count(guard.line) == 1, f"{guard.line!r} stands {text.count(guard.line)} times in {guard.file}"
    spoilt.write_text(text.replace(guard.line, guard.instead), encoding="utf-8")
    try:
        done = _run(copy, guard.test)
    finally:
        spoilt.write_text(text, encoding="utf-8")
    assert done.returncode == 1, f"the test passed, or could not be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert " failed" in done.stdout.splitlines()[-1], done.stdout[-2000:]


def test_every_guard_has_its_own_name() -> None:
    names = [guard.name for guard in GUARDS]
    assert len(set(names)) == len(names)
    print(f"mutations: {len(names)} guards, each with a test that fails without it")


def _run(copy: Path, test: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "pytest", "-q", "-n0", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", test]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, timeout=280, check=False)
