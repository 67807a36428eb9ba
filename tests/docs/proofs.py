"""ARCHITECTURE.md names what is there: every test that it cites, and every module that a reader will look for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import pages, read

_CITED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
TOLD_ONE_BY_ONE = ("", "domain", "engine")  # the packages whose modules each have a line


def problems(root: Path) -> Iterator[str]:
    """Yield one line for each test that is cited and not there, and for each module that is there and not told."""
    yield from _missing_tests(root)
    yield from _untold_modules(root)


def _missing_tests(root: Path) -> Iterator[str]:
    known: dict[str, set[str]] = {}
    for page in pages(root):
        for line in page.lines:
            for name, test in _CITED.findall(line.text):
                if test not in known.setdefault(name, _functions(root / name)):
                    yield f"{page.name}:{line.number}: there is no test {name}::{test}"


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
