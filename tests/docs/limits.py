"""Documents that must be there, how long two of them may be, and an address that nothing here may hold."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import files, read

LINES_AT_MOST = {"README.md": 150, "ARCHITECTURE.md": 200}
DEMANDED = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/README.md",
    "docs/glossary.md",
)
# Where packages come from is for whoever installs to say. Written so that it does not match itself.
_INDEX = re.compile(
    r"--(?:extra-|default-)?index-url|--find[-]links\b|^\s*(?:extra-|default-)?index-url\s*[=:]|PIP_(?:EXTRA_)?INDEX_URL"
    r"|//[^\s/\"']*(?:py[p]i\.|python[h]osted\.|pack[a]ges?\.)[^\s\"']*|//[^\s\"']+/simple/?(?=[\s\"']|$)",
    re.IGNORECASE,
)
BYTES_AT_MOST = 4_000_000


def problems(root: Path) -> Iterator[str]:
    """Yield one line for each document that is missing or too long, and for each address of a package index."""
    for name in DEMANDED:
        if not read(root, name).lines:
            yield f"{name}: is missing or empty"
    for name, most in LINES_AT_MOST.items():
        path = root / name
        count = len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0
        if count > most:
            yield f"{name}: {count} lines, and {most} are allowed"
    yield from _addresses(root)


def _addresses(root: Path) -> Iterator[str]:
    for path in files(root):
        if path.is_symlink() or path.stat().st_size > BYTES_AT_MOST:
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if _INDEX.search(line):
                yield f"{path.relative_to(root).as_posix()}:{number}: names a package index"
