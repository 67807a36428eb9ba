"""Names that a shell may complete: what is configured, and what memory lists. Never opens a network connection."""

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import typer

from sidecar.config.settings import Config
from sidecar.errors import SidecarError
from sidecar.verbs.runner import load_config

NAMES_AT_MOST = 50
SQLITE = "sqlite:///"


def rules(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of rules that begin so."""
    config = _config(context)
    if config is None:
        return []
    names = [*(rule.name for rule in config.rules), *(survey.name for survey in config.surveys)]
    return _beginning(names, incomplete)


def checks(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of checks that begin so."""
    config = _config(context)
    return [] if config is None else _beginning([check.name for check in config.checks], incomplete)


def plans(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the newest plans that begin so."""
    return _beginning(_newest(context, "select id from plans order by created_at desc limit ?"), incomplete)


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the newest runs that begin so."""
    return _beginning(_newest(context, "select id from runs order by started_at desc limit ?"), incomplete)


def _beginning(names: Sequence[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _config(context: typer.Context) -> Config | None:
    given = context.params.get("config") or os.environ.get("SIDECAR_CONFIG") or "sidecar.yaml"
    with contextlib.suppress(SidecarError, OSError):
        return load_config(Path(str(given)))
    return None


def _newest(context: typer.Context, query: str) -> list[str]:
    """Ask the file of memory, if it is one, read-only: a key press must neither create nor migrate it."""
    config = _config(context)
    url = (config.state_url or "") if config is not None else ""
    if not url.startswith(SQLITE):
        return []
    file = Path(url.removeprefix(SQLITE)).absolute()
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0.2)) as memory,
    ):
        return [str(name) for (name,) in memory.execute(query, (NAMES_AT_MOST,))]
    return []
