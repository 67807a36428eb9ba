"""A survey: a rule that only reports. What it looks for, what a proven look found, and when a look is believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from sidecar.domain.check import Severity
from sidecar.domain.look import Baseline, Counts, ProofFailure, ReadProof, Unproven
from sidecar.domain.rule import LedgerSource, Mode, Table

SAMPLES_AT_MOST = 10  # of each class: enough to look one up, too few to be an export


class SurveyClass(StrEnum):
    """What a survey found a row to be. Used verbatim as the metric label `class`."""

    DIFFERS = "differs"  # the row's amount is not the verified balance of its ledger
    NO_EVIDENCE = "no_evidence"  # an amount that no movement stands behind, or a movement without its numbers
    OPENING_UNEXPLAINED = "opening_unexplained"  # the first movement starts from an amount that nothing explains
    CHAIN_BROKEN = "chain_broken"  # a recorded balance does not follow from the one before
    ORPHAN = "orphan"  # what the row refers to does not exist
    STALE = "stale"  # for too long in a state that should pass
    TOO_YOUNG = "too_young"  # younger than min_age: not judged, no damage


UNRIPE = frozenset({SurveyClass.TOO_YOUNG})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthParent:
    """The rows refer to users of Supabase Auth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableParent:
    """The rows refer to another table."""

    table: Table
    key: str


Parent: TypeAlias = AuthParent | TableParent


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceDiffers:
    """Rows whose amount should be the last balance of their ledger. Units: `min_age_seconds` seconds."""

    table: Table
    key: str
    amount: str
    created: str | None
    ledger: LedgerSource
    min_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanRow:
    """Rows whose `key` names something that must exist. `id` tells rows apart. Units: `min_age_seconds` seconds."""

    table: Table
    id: str
    key: str
    created: str | None
    parent: Parent
    min_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleRow:
    """Rows whose `column` holds one of `values`, `since` an instant too long ago. Units: `older_than_seconds`."""

    table: Table
    id: str
    column: str
    values: tuple[str, ...]
    since: str
    older_than_seconds: float


Subjects: TypeAlias = BalanceDiffers | OrphanRow | StaleRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One rule file of the reporting family. `digest` covers what it looks for and which checks it requires.

    Units: `max_change_percent` percent (0..100) by which a count may shrink against the last proven look.
    """

    name: str
    summary: str
    owner: str
    severity: Severity
    runbook: str
    every_seconds: float
    detect: Subjects
    max_change_percent: Decimal
    require_checks: tuple[str, ...]
    digest: str

    @property
    def mode(self) -> Mode:
        """A survey never writes."""
        return Mode.OBSERVE

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table that is read, the one that is judged first."""
        match self.detect:
            case BalanceDiffers():
                return self.detect.table, self.detect.ledger.table
            case OrphanRow(parent=TableParent(table=parent)):
                return self.detect.table, parent
            case OrphanRow():
                return self.detect.table, Table("auth", "users")
            case StaleRow():
                return (self.detect.table,)

    @property
    def classes(self) -> tuple[SurveyClass, ...]:
        """Every class that it can find, and so the label values of its metrics."""
        match self.detect:
            case BalanceDiffers():
                chains = (SurveyClass.NO_EVIDENCE, SurveyClass.OPENING_UNEXPLAINED, SurveyClass.CHAIN_BROKEN)
                return SurveyClass.DIFFERS, *chains, SurveyClass.TOO_YOUNG
            case OrphanRow():
                return SurveyClass.ORPHAN, SurveyClass.TOO_YOUNG
            case StaleRow():
                return (SurveyClass.STALE,)

    @property
    def needs_auth(self) -> bool:
        """Whether all users of Supabase Auth must be read, which only the direct path can prove."""
        return isinstance(self.detect, OrphanRow) and isinstance(self.detect.parent, AuthParent)

    @property
    def needs_database(self) -> bool:
        """Whether only the direct path can prove it: REST cannot read two moving amounts in one state."""
        return self.needs_auth or isinstance(self.detect, BalanceDiffers)

    @property
    def ripe_after(self) -> timedelta:
        """How old a row must be before it is judged."""
        match self.detect:
            case StaleRow():
                return timedelta(seconds=self.detect.older_than_seconds)
            case BalanceDiffers() | OrphanRow():
                return timedelta(seconds=self.detect.min_age_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """A proven look of a survey. `samples` holds a few ids of each class, never a value.

    `proof.counts`: `expected_rows` and `subjects` rows that were looked at, `ledger_rows` rows they were compared with.
    """

    proof: ReadProof
    classes: Mapping[SurveyClass, int]
    oldest_at: datetime | None
    samples: Mapping[SurveyClass, tuple[str, ...]] = field(default_factory=dict)

    @property
    def damaged(self) -> int:
        """How many rows are not as they should be."""
        return sum(count for name, count in self.classes.items() if name not in UNRIPE)


def judge_survey(survey: Survey, seen: Counts, database: str, baseline: Baseline | None) -> Unproven | None:
    """Compare a proven read with the floors and with the last one; None when it may be believed."""
    if len(survey.tables) > 1 and seen.ledger_rows < 1 and seen.expected_rows > 0:
        detail = f"{survey.tables[1]} is empty although {survey.tables[0]} is not"
        return Unproven(failure=ProofFailure.BELOW_FLOOR, detail=detail)
    if baseline is None:
        return None
    if baseline.database != database:
        return Unproven(
            failure=ProofFailure.DATABASE_CHANGED,
            detail="this is not the database of the last proven look; accept it with: detect --accept-change",
        )
    pairs = (
        (survey.tables[0], seen.expected_rows, baseline.counts.expected_rows),
        (survey.tables[-1], seen.ledger_rows, baseline.counts.ledger_rows),
    )
    for name, now, before in pairs:
        if (before - now) * 100 > survey.max_change_percent * before:
            detail = f"{name} shrank from {before} to {now}, more than {survey.max_change_percent} %"
            hint = "; if a person meant it, accept it with: detect --accept-change"
            return Unproven(failure=ProofFailure.COUNT_CHANGED, detail=detail + hint)
    return None
