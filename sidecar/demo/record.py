"""What a data directory remembers besides the database: what was loaded into it, and the project's secret."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sidecar.demo.seed import Seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is in the database. `kind` is demo (schema, fixture, seeds), schema (no seeds) or file (somebody's SQL)."""

    kind: str
    canary_nonce: str
    seeded: Seeded


def read_record(data_dir: Path) -> Record | None:
    """Return what was loaded, or None when nothing was loaded to the end."""
    try:
        found: Mapping[str, Any] = json.loads((data_dir / "stack.json").read_text())
    except FileNotFoundError:
        return None
    return Record(kind=found["kind"], canary_nonce=found["canary_nonce"], seeded=Seeded(**found["seeded"]))


def write_record(data_dir: Path, record: Record) -> None:
    """Remember what was loaded, once all of it is committed."""
    _write_private(data_dir / "stack.json", json.dumps(asdict(record)))


def project_secret(data_dir: Path, given: str | None) -> str:
    """Return the secret that signs the project's tokens: the given one, else the directory's own."""
    file = data_dir / "jwt.secret"
    if given is not None:
        return given
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(32))
    return file.read_text()


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, as a whole or not at all."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(file)
