"""What a journey consists of, once it is read: steps, each one deed with what is expected of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from sidecar.checks.conditions import Condition
from sidecar.checks.session import Login
from sidecar.checks.templates import Template
from sidecar.domain.check import JSON
from sidecar.domain.reasons import JourneyReason
from sidecar.domain.rule import Table


class SessionUse(StrEnum):
    """What becomes of the session between looks."""

    REUSE = "reuse"  # kept until shortly before it expires; `sign_out` ends it only then
    FRESH = "fresh"  # opened and ended at each look


@dataclass(frozen=True, slots=True)
class SignIn:
    """Open the canary user's session, or take the one at hand."""


@dataclass(frozen=True, slots=True)
class SignOut:
    """End the session, unless later looks are to use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One HTTP request. `form` is sent as multipart, `document` as JSON; `as_user` adds the session's token."""

    url: Template = field(repr=False)
    method: str
    headers: Mapping[str, Template] = field(default_factory=dict, repr=False)
    document: JSON = field(default=None, repr=False)
    form: Mapping[str, Template] | None = field(default=None, repr=False)
    as_user: bool = False
    body_bytes_at_most: int = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDatabase:
    """Read rows by the service key."""

    table: Table
    key: str
    value: Template = field(repr=False)
    columns: tuple[str, ...]
    order: str | None = None
    limit: int = 2
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Compare one captured number with others: it must lie between the least and the greatest of them."""

    value: str
    among: tuple[str, ...]
    tolerance: Decimal


Deed: TypeAlias = SignIn | SignOut | Ask | ReadDatabase | Compare


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A deed, and what is expected of it. `patience_seconds` is for how long it may be tried again until that holds."""

    name: str
    deed: Deed
    expect: tuple[Condition, ...] = ()
    capture: Mapping[str, Condition] = field(default_factory=dict)
    costs: int = 0
    fails_as: JourneyReason = JourneyReason.CONDITION_FAILED
    patience_seconds: float = 0.0
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneySpec:
    """Parameters of one `journey` check. `budget` is in credits for a rolling day."""

    login: Login
    steps: tuple[Step, ...]
    cleanup: tuple[Step, ...]
    session: SessionUse
    budget: int
    cleanup_seconds: float
