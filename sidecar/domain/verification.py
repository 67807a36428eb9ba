"""What a reading of the source after a run came to, kept as history: a run's outcome is never rewritten."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sidecar.domain.rule import Amount

AT_ONCE = 0  # the number of the verification that ends a run; later ones count from 1


class VerifyResult(StrEnum):
    """What a verification found."""

    DUE = "due"  # not made yet
    HELD = "held"
    FAILED = "failed"
    SKIPPED = "skipped"  # the rule was edited since, so that nobody can say any more what was due


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One verification of a run. `broken` counts rows by invariant; `drift` is in credits, 0 when well.

    `corrected` counts rows whose money was raced by a writer of the ledger, and put right.
    """

    run_id: str
    number: int
    due_at: datetime
    result: VerifyResult = VerifyResult.DUE
    done_at: datetime | None = None
    rows: int = 0
    broken: Mapping[str, int] = field(default_factory=dict)
    drift: Amount = 0
    corrected: int = 0
