"""Every word of a closed list has its row where a reader looks it up, and no row names a word that is gone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sidecar.checks.kinds import KINDS
from sidecar.config.settings import Notice, Scope
from sidecar.domain.check import Verdict
from sidecar.domain.decide import GuardName
from sidecar.domain.finding import FindingClass
from sidecar.domain.look import ProofFailure
from sidecar.domain.plan import PlanStatus
from sidecar.domain.reasons import CommonReason
from sidecar.domain.rule import Mode, Origin
from sidecar.domain.run import Outcome, RowResult, RunStatus
from sidecar.domain.survey import SurveyClass
from sidecar.telemetry import catalogue, lines
from sidecar.telemetry.metrics import INVARIANTS
from tests.docs.cli_page import verbs
from tests.docs.pages import read

GLOSSARY = "docs/glossary.md"
RUNBOOK = "docs/howto/runbooks/credits-without-profile.md"
GUARDS = "docs/reference/guards.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A closed list of words, and the section whose tables must have exactly one row for each of them."""

    what: str
    words: Sequence[str]
    page: str
    headings: tuple[str, ...] = ()


def _in_glossary() -> Iterator[Group]:
    listed: tuple[tuple[str, str, Iterable[str]], ...] = (
        ("check kind", "Check kinds", KINDS),
        ("verdict", "Verdicts", Verdict),
        ("mode", "Modes", Mode),
        ("origin of a balance", "Origins of a balance", Origin),
        ("finding class", "Classes of findings", FindingClass),
        ("survey class", "Classes of surveys", SurveyClass),
        ("proof failure", "Proof failures", ProofFailure),
        ("guard", "Guards", GuardName),
        ("plan status", "Statuses of a plan", PlanStatus),
        ("run status", "Statuses of a run", RunStatus),
        ("outcome", "Outcomes", Outcome),
        ("row result", "Results of rows", RowResult),
        ("invariant", "Invariants of the verification", INVARIANTS),
        ("scope", "Scopes of tokens", Scope),
        ("notice", "Notices", Notice),
    )
    for what, heading, words in listed:
        yield Group(what=what, words=[str(word) for word in words], page=GLOSSARY, headings=(heading,))


def _elsewhere() -> Iterator[Group]:
    reference: tuple[tuple[str, str, Sequence[str]], ...] = (
        ("metric", "metrics.md", [family.name for family in catalogue.CATALOGUE]),
        ("log event", "events.md", [kind.name for kind in lines.CATALOGUE]),
    )
    for what, page, words in reference:
        yield Group(what=what, words=words, page=f"docs/reference/{page}")
    yield Group(what="verb", words=verbs(), page="docs/reference/cli.md", headings=("Verbs",))
    yield Group(
        what="reason of every kind",
        words=[str(reason) for reason in CommonReason],
        page="docs/reference/checks.md",
        headings=("What every check can do", "Reasons of every kind"),
    )
    for kind in KINDS.values():
        reasons = [str(reason) for reason in kind.reasons]
        yield Group(
            what=f"reason of {kind.name}",
            words=reasons,
            page="docs/reference/checks.md",
            headings=(kind.name, "Reasons"),
        )
    runbook: tuple[tuple[str, str, type[StrEnum]], ...] = (
        ("finding class", "By class of finding", FindingClass),
        ("guard", "By guard that refused", GuardName),
        ("proof failure", "By proof that failed", ProofFailure),
    )
    for what, heading, members in runbook:
        yield Group(what=what, words=[str(m) for m in members], page=RUNBOOK, headings=(heading,))
    for what, heading, members in (
        ("guard", "Guards that refuse", GuardName),
        ("proof failure", "Proofs that a read was whole", ProofFailure),
    ):
        yield Group(what=what, words=[str(m) for m in members], page=GUARDS, headings=(heading,))


def groups() -> list[Group]:
    """Return every closed list with its place."""
    return [*_in_glossary(), *_elsewhere()]


def problems(root: Path) -> Iterator[str]:
    """Yield one line for each word without a row, and for each row without a word."""
    for group in groups():
        yield from judge(root, group)


def judge(root: Path, group: Group) -> Iterator[str]:
    """Hold one list against its section."""
    place = " > ".join((group.page, *group.headings))
    rows = read(root, group.page).rows(*group.headings)
    found = [word for word, _ in rows]
    for word in group.words:
        if word not in found:
            yield f"{group.page}: {group.what} `{word}` has no row in {place}"
    for word, line in rows:
        if word not in group.words:
            yield f"{group.page}:{line.number}: `{word}` is no {group.what}"
        elif found.count(word) > 1:
            yield f"{group.page}:{line.number}: {group.what} `{word}` has {found.count(word)} rows"
