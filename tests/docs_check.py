"""Are the documents true? One line for each problem, and exit 1 if there is any: `python -m tests.docs_check`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sidecar.telemetry import reference
from tests.docs import cli_page, commands, limits, links, proofs, shipped, words

ROOT = Path(__file__).parent.parent
GENERATED: Sequence[tuple[str, Callable[[], str], str]] = (
    ("docs/reference/metrics.md", reference.metrics_page, "python -m sidecar.telemetry.reference"),
    ("docs/reference/events.md", reference.events_page, "python -m sidecar.telemetry.reference"),
    (cli_page.PAGE, cli_page.page, cli_page.MADE_BY),
)


def stale_pages(root: Path) -> Iterator[str]:
    """Yield one line for each generated page that is not what its source makes."""
    for name, make, command in GENERATED:
        path = root / name
        if not path.is_file() or path.read_text(encoding="utf-8") != make():
            yield f"{name}: is not what the code says; run: .venv/bin/{command}"


CHECKS: Sequence[Callable[[Path], Iterator[str]]] = (
    stale_pages,
    limits.problems,
    links.problems,
    words.problems,
    proofs.problems,
    shipped.problems,
    commands.problems,
)


def problems(root: Path) -> list[str]:
    """Return every problem of the documents below `root`."""
    return [problem for check in CHECKS for problem in check(root)]


def main(root: Path = ROOT) -> int:
    """Print the problems on stderr and return the exit code."""
    found = problems(root)
    sys.stderr.write("".join(f"{problem}\n" for problem in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
