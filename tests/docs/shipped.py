"""The page on the checks by hand tells all 32, and names no check or rule that is not shipped."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.docs.pages import Line, read

PAGE = "docs/reference/velro-checks.md"
HEADINGS = ("The backend", "Supabase")
_ROW = re.compile(r"^\| (\d+) \|[^|]*\|([^|]*)\|([^|]*)\|$")


def problems(root: Path) -> Iterator[str]:
    """Yield one line for each row that is missing, says neither what nor why, or names what is not shipped."""
    known = shipped(root)
    rows = [row for heading in HEADINGS for line in read(root, PAGE).section(heading) if (row := _row(line))]
    told = [number for number, _, _, _ in rows]
    for number in range(1, 33):
        if rows and told.count(number) != 1:
            yield f"{PAGE}: check {number} has {told.count(number)} rows"
    for number, names, how_far, line in rows:
        for name in names:
            if name not in known:
                yield f"{PAGE}:{line.number}: there is no shipped check or rule `{name}`"
        if not names and not how_far.startswith("No"):
            yield f"{PAGE}:{line.number}: check {number} names nothing, and does not say why"


def shipped(root: Path) -> set[str]:
    """Return the names of the shipped checks and rules."""
    path = root / "sidecar.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {check["name"] for check in document.get("checks", ())} | {
        path.stem for path in (root / "rules").glob("*.yaml")
    }


def _row(line: Line) -> tuple[int, list[str], str, Line] | None:
    row = _ROW.match(line.text)
    return None if row is None else (int(row[1]), re.findall(r"`([^`]+)`", row[2]), row[3].strip(), line)
