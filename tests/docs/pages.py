"""Pages of Markdown, cut into what the checks look at. Knows only as much of Markdown as our pages use."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NOT_OURS = frozenset(
    {".git", ".venv", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"}
    | {"__pycache__", "node_modules", "var", "build", "dist"}
)
_HEADING = re.compile(r"^(#{1,6}) +(.*?) *#*$")
_ROW = re.compile(r"^\| *(`[^`]+`(?:, `[^`]+`)*) *\|")
_SPAN = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a page. `number` counts from 1; `is_code` says that it stands in a fenced block."""

    number: int
    text: str
    is_code: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One document. `name` is its path below the root."""

    name: str
    path: Path
    lines: Sequence[Line]

    def anchors(self) -> set[str]:
        """Return what a link to a place in this page may name, as GitHub makes it of headings."""
        found: Counter[str] = Counter()
        anchors = set()
        for heading in self._headings():
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[2])
            slug = re.sub(r"[^\w\- ]", "", plain.replace("`", "").lower()).replace(" ", "-")
            anchors.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
        return anchors

    def section(self, *headings: str) -> Sequence[Line]:
        """Return the lines below a heading, narrowed by each further one; none when there is no such heading."""
        lines = self.lines
        for wanted in headings:
            lines = _below(lines, wanted)
        return lines

    def rows(self, *headings: str) -> list[tuple[str, Line]]:
        """Return the coded words of each row's first cell in the tables of a section, each with its line."""
        found = [(row[1], line) for line in self.section(*headings) if (row := _ROW.match(line.text))]
        return [(word, line) for cell, line in found for word in _SPAN.findall(cell)]

    def code(self) -> Iterator[tuple[int, str]]:
        """Yield every line of code and every coded span, with the number of its line."""
        for line in self.lines:
            if line.is_code:
                yield line.number, line.text
            else:
                yield from ((line.number, span) for span in _SPAN.findall(line.text))

    def _headings(self) -> Iterator[tuple[int, int, str]]:
        for line in self.lines:
            if not line.is_code and (heading := _HEADING.match(line.text)):
                yield line.number, len(heading[1]), heading[2]


def _below(lines: Sequence[Line], wanted: str) -> Sequence[Line]:
    start, level = None, 0
    for place, line in enumerate(lines):
        heading = None if line.is_code else _HEADING.match(line.text)
        if heading is None:
            continue
        if start is not None and len(heading[1]) <= level:
            return lines[start:place]
        if start is None and heading[2].replace("`", "") == wanted:
            start, level = place + 1, len(heading[1])
    return () if start is None else lines[start:]


def read(root: Path, name: str) -> Page:
    """Read one page; a page that does not exist has no lines."""
    path = root / name
    texts = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return Page(name=name, path=path, lines=tuple(_lines(texts)))


def _lines(texts: Sequence[str]) -> Iterator[Line]:
    fence = ""
    for number, text in enumerate(texts, 1):
        mark = re.match(r"^ *(```+|~~~+)", text)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
            continue
        yield Line(number=number, text=text, is_code=bool(fence))


def files(root: Path) -> Iterator[Path]:
    """Yield every file of the checkout that is ours, in order."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in NOT_OURS)
        yield from (Path(folder) / name for name in sorted(names))


def pages(root: Path) -> Iterator[Page]:
    """Yield every page of Markdown."""
    for path in files(root):
        if path.suffix == ".md":
            yield read(root, path.relative_to(root).as_posix())
