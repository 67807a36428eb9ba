"""What a run needs at hand while it writes, and why it stopped before its end."""

from dataclasses import dataclass

from sidecar.domain.decide import Refuse
from sidecar.domain.look import ReadProof
from sidecar.domain.plan import Plan
from sidecar.domain.rule import Rule
from sidecar.domain.run import Run
from sidecar.engine.lease import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run that is being carried out."""

    rule: Rule
    plan: Plan
    run: Run
    lease: Lease
    proof: ReadProof


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """The run stopped before its end; rows are where they were. `refusal` is the guard that stopped it, if one did."""

    why: str
    refusal: Refuse | None = None
    drained: bool = False
    retry_after_seconds: float | None = None
