"""Documents name what is there: each test that they cite, a test for each guard and invariant, and each module."""

import ast
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from tests.docs.pages import Line, pages, read

_CITED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
_INVARIANT = re.compile(r"^\| (I\d+) \|")
INVARIANTS = tuple(f"I{number}" for number in range(1, 22))
TABLES_OF_TESTS = ("Guards that refuse", "Proofs that a read was whole", "Guards in the structure")
GUARDS = "docs/reference/guards.md"
TOLD_ONE_BY_ONE = ("", "domain", "engine")  # the packages whose modules each have a line


def problems(root: Path) -> Iterator[str]:
    """Yield one line for each test that is cited and not there, each promise without one, and each untold module."""
    yield from _missing_tests(root)
    yield from _unheld_guards(root)
    yield from _unheld_invariants(root)
    yield from _untold_modules(root)


def _missing_tests(root: Path) -> Iterator[str]:
    known: dict[str, set[str]] = {}
    for page in pages(root):
        for line in page.lines:
            for name, test in _CITED.findall(line.text):
                if test not in known.setdefault(name, _functions(root / name)):
                    yield f"{page.name}:{line.number}: there is no test {name}::{test}"


def _unheld_guards(root: Path) -> Iterator[str]:
    page = read(root, GUARDS)
    for heading in TABLES_OF_TESTS:
        lines = page.section(heading)
        for line, below in zip_longest(lines, lines[1:]):
            is_row = line.text.startswith("| ") and not (below and below.text.startswith("|---"))
            if is_row and not _CITED.search(line.text):
                yield f"{GUARDS}:{line.number}: names no test"


def _unheld_invariants(root: Path) -> Iterator[str]:
    rows: dict[str, Line] = {}
    for line in read(root, "ARCHITECTURE.md").section("Invariants"):
        if row := _INVARIANT.match(line.text):
            rows[row[1]] = line
    for name in INVARIANTS if rows else ():
        if name not in rows:
            yield f"ARCHITECTURE.md: {name} has no row in Invariants"
        elif not _CITED.search(rows[name].text):
            yield f"ARCHITECTURE.md:{rows[name].number}: {name} names no test"


def _functions(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _untold_modules(root: Path) -> Iterator[str]:
    told = {word for word, _ in read(root, "ARCHITECTURE.md").rows("Modules")}
    there = set(_modules(root / "sidecar"))
    yield from (f"ARCHITECTURE.md: `{name}` has no row in Modules" for name in sorted(there - told))
    yield from (f"ARCHITECTURE.md: Modules has a row for `{name}`, which is not there" for name in sorted(told - there))


def _modules(package: Path) -> Iterator[str]:
    if not package.is_dir():
        return
    for folder in sorted(package.iterdir()):
        if folder.is_dir() and (folder / "__init__.py").is_file():
            yield f"{folder.name}/"
    for name in TOLD_ONE_BY_ONE:
        for path in sorted((package / name).glob("*.py")):
            if path.name not in ("__init__.py", "__main__.py"):
                yield f"{name}/{path.name}" if name else path.name
