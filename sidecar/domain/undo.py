"""An undo plan: which rows of a run may be removed again, bound by a hash; and what became of each."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sidecar.domain.plan import PlanStatus, canonical

PREFIX = "undo-"  # of the ids of undo plans, so that no other plan's id can be taken for one


class Removal(StrEnum):
    """How a row that a run inserted stands to its undo."""

    REMOVABLE = "removable"  # still equal to what was written, and nothing refers to it
    UNDONE = "undone"
    EDITED = "edited"  # somebody changed it since
    HAS_DEPENDANTS = "has_dependants"  # rows refer to it; a cascade would take them along
    GONE = "gone"
    NO_DIGEST = "no_digest"  # nobody noted how it looked when it landed (REST, or found after a crash)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRow:
    """One row of a run. `written` is the digest of the whole row as it landed."""

    key: str
    written: str
    standing: Removal


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoPlan:
    """Rows to remove, never a predicate. `rows` lists those that stay, too, each with its reason."""

    id: str
    run_id: str
    rule: str
    rule_digest: str
    schema_fingerprint: str
    database: str
    author: str
    created_at: datetime
    expires_at: datetime
    subjects: int
    rows: Sequence[UndoRow] = field(default_factory=tuple)

    @property
    def removable(self) -> list[UndoRow]:
        """The rows that the plan would remove."""
        return [row for row in self.rows if row.standing is Removal.REMOVABLE]

    @property
    def counts(self) -> dict[str, int]:
        """Rows by how they stand."""
        return dict(sorted(Counter(str(row.standing) for row in self.rows).items()))

    @property
    def hash(self) -> str:
        """SHA-256 over everything that the plan is bound to; how rows stand changes while it is carried out."""
        bound = {
            "id": self.id,
            "run": self.run_id,
            "rule": [self.rule, self.rule_digest],
            "schema": self.schema_fingerprint,
            "database": self.database,
            "author": self.author,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "subjects": self.subjects,
            "rows": [[row.key, row.written] for row in self.rows],
        }
        return hashlib.sha256(canonical(bound).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUndo:
    """An undo plan with its standing. `whole` says that its rows still give the hash that was approved."""

    plan: UndoPlan
    status: PlanStatus
    approver: str | None
    whole: bool
