"""Folders that PostgreSQL's own user can reach, and children that start in a moment."""

import multiprocessing
import tempfile
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest


@pytest.fixture
def shared_tmp() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can reach; pytest's own are closed to it when root runs the tests."""
    with tempfile.TemporaryDirectory(prefix="sidecar-trial-", dir="/var/tmp") as folder:  # ours alone
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def children() -> ForkServerContext:
    """A server that has everything imported: a child starts in milliseconds, and may be killed hundreds of times."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.trials.worker"])
    return context
