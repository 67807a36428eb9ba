"""Every relative link leads somewhere: to a file or folder that exists, and to a heading that the page has.

So does the runbook that each rule names, from the root.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from tests.docs.pages import Page, pages, read

_LINK = re.compile(r"\[[^\]]*\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s+(\S+)")


def problems(root: Path) -> Iterator[str]:
    """Yield one line for each link that leads nowhere."""
    for page in pages(root):
        for number, target in _targets(page):
            if (wrong := _wrong(root, page, target)) is not None:
                yield f"{page.name}:{number}: link {target}: {wrong}"
    for rule in sorted((root / "rules").glob("*.yaml")):
        named = re.search(r"^runbook: *(\S+)", rule.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if named is None or not (root / named[1]).is_file():
            yield f"rules/{rule.name}: its runbook is not there"


def _targets(page: Page) -> Iterator[tuple[int, str]]:
    for line in page.lines:
        if not line.is_code:
            plain = re.sub(r"`[^`]*`", "", line.text)
            yield from ((line.number, found[1] or found[2]) for found in _LINK.finditer(plain))


def _wrong(root: Path, page: Page, target: str) -> str | None:
    if re.match(r"^[a-z][a-z0-9+.-]*:", target):
        return None  # elsewhere; nothing here asks the network
    name, _, anchor = unquote(target).partition("#")
    path = (page.path.parent / name).resolve() if name else page.path.resolve()
    if not path.is_relative_to(root.resolve()):
        return "leaves the repository"
    if not path.exists():
        return "there is no such file"
    if anchor and path.suffix == ".md" and anchor not in read(path.parent, path.name).anchors():
        return f"the page has no heading #{anchor}"
    return None
