"""What a look from outside is, what it saw, and how single looks become a standing verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias, runtime_checkable

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None


class Verdict(StrEnum):
    """Three-valued on purpose: "could not look" is never "unhealthy", and never "healthy"."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How loudly a failing check or a violated rule should be told."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@runtime_checkable
class CountsSignatures(Protocol):
    """The parameters of a check that counts named things; its observations' facts hold `signatures` by name."""

    @property
    def signature_names(self) -> tuple[str, ...]:
        """The closed set of names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A configured check: what to look at, how often, and when to believe it.

    Units: seconds; `fail_after` and `pass_after` count consecutive observations.
    `spec` is the kind's own frozen parameters; only the kind's probe looks inside.
    `retries` are further tries within one look, each after `retry_wait_seconds`. `recheck_every_seconds` is the
    interval while the check does not stand healthy, None for no other. `depends_on` are the names of its parents.
    `outside` says that its target is reached over the network that `connectivity` asks about.
    """

    name: str
    kind: str
    every_seconds: float
    timeout_seconds: float
    severity: Severity
    fail_after: int
    pass_after: int
    spec: object
    retries: int = 0
    retry_wait_seconds: float = 0.0
    recheck_every_seconds: float | None = None
    depends_on: tuple[str, ...] = ()
    outside: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one probe saw, once.

    `reason` comes from the kind's closed enum and is `ok` exactly when the verdict is healthy.
    `notes` are further reasons that did not decide. `facts` never hold secrets or row values.
    `phases` maps a phase's name to seconds; their sum never exceeds `duration_seconds`.
    """

    check: str
    kind: str
    verdict: Verdict
    reason: str
    taken_at: datetime
    duration_seconds: float
    detail: str = ""
    notes: tuple[str, ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, JSON] = field(default_factory=dict)
    retry_after_seconds: float | None = None
    expires_at: datetime | None = None  # service_key: when the key expires; http: the certificate

    def __post_init__(self) -> None:
        """Hold the one rule every dashboard relies on."""
        if (self.verdict is Verdict.HEALTHY) != (self.reason == "ok"):
            message = f"{self.check}: verdict {self.verdict} with reason {self.reason!r}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState:
    """A check's standing verdict and the run of looks that supports or undermines it.

    `maintenance` names the window that held the verdict at the last look, '' for none.
    """

    verdict: Verdict = Verdict.UNKNOWN
    since: datetime | None = None
    pending: Verdict = Verdict.UNKNOWN
    streak: int = 0
    last: Observation | None = None
    maintenance: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether it stands healthy, and the last look agrees."""
        return self.verdict is Verdict.HEALTHY and self.pending is Verdict.HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """The standing verdict changed."""

    check: str
    before: Verdict
    after: Verdict
    at: datetime


def fold(check: Check, state: CheckState, seen: Observation, maintenance: str = "") -> tuple[CheckState, Flip | None]:
    """Fold one observation into a check's state.

    A verdict stands after `fail_after` unhealthy or `pass_after` healthy looks in a row. An unknown look
    shows at once, since what is not known must never be reported as seen, and a first verdict needs no run-up.
    Within a window of `maintenance` looks count on, and the verdict is held as it was.
    """
    streak = state.streak + 1 if seen.verdict is state.pending else 1
    needed = {Verdict.HEALTHY: check.pass_after, Verdict.UNHEALTHY: check.fail_after, Verdict.UNKNOWN: 1}
    stands = state.verdict is Verdict.UNKNOWN or streak >= needed[seen.verdict]
    verdict = seen.verdict if stands and not maintenance else state.verdict
    flip = None
    since = state.since
    if verdict is not state.verdict or since is None:
        since = seen.taken_at
    if verdict is not state.verdict:
        flip = Flip(check=check.name, before=state.verdict, after=verdict, at=seen.taken_at)
    folded = CheckState(
        verdict=verdict, since=since, pending=seen.verdict, streak=streak, last=seen, maintenance=maintenance
    )
    return folded, flip


INTERVALS_FRESH = 2  # a look counts for this many intervals; then nothing is known any more


def is_stale(check: Check, state: CheckState, now: datetime) -> bool:
    """Say whether the last look is too old to tell how the target is, or was never made by this process."""
    if state.last is None:
        return True
    return (now - state.last.taken_at).total_seconds() > INTERVALS_FRESH * check.every_seconds


def seen_from(check: Check, state: CheckState, now: datetime) -> CheckState:
    """Return how the check may be said to stand: unknown once the last look is stale, whatever it saw."""
    if not is_stale(check, state, now):
        return state
    return replace(state, verdict=Verdict.UNKNOWN, since=None)


def pace_seconds(check: Check, state: CheckState) -> float:
    """Return the interval at which the check is looked at now: faster while it does not stand healthy, if so wished."""
    if check.recheck_every_seconds is None or state.is_settled:
        return check.every_seconds
    return min(check.recheck_every_seconds, check.every_seconds)


def worth_keeping(check: Check, state: CheckState) -> CheckState:
    """Return what a restart needs of a state: no last look, and a streak only as far as it can decide anything.

    So a check whose looks agree has nothing new to remember, however long that goes on.
    """
    return replace(state, last=None, streak=min(state.streak, max(check.fail_after, check.pass_after)))
