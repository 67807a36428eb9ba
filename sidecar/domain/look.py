"""What a look at the data brought home: proof or its absence, candidates, and the facts about each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sidecar.domain.check import JSON
from sidecar.domain.credits import Anchor, LedgerRow
from sidecar.domain.rule import Value


class ProofFailure(StrEnum):
    """Why a read is not believed. Used verbatim as the metric label `proof`."""

    UNREACHABLE = "unreachable"  # no complete answer, 5xx, rate limited
    ACCESS_DENIED = "access_denied"  # a key was refused on the way
    ANSWER_MALFORMED = "answer_malformed"  # 200, but not what was asked for
    CANARY_UNSEEN = "canary_unseen"  # a row that must exist was not visible to this very client
    COUNT_MISMATCH = "count_mismatch"  # count before, rows seen and count after disagree twice
    BELOW_FLOOR = "below_floor"  # a table or the list of subjects that cannot be empty is empty
    COUNT_CHANGED = "count_changed"  # too large a change against the last proven look
    DATABASE_CHANGED = "database_changed"  # not the database that was looked at before
    CHECK_UNKNOWN = "check_unknown"  # a required check could not look
    CHECK_UNHEALTHY = "check_unhealthy"  # a required check says that our sight is not what it should be
    SCHEMA_MISMATCH = "schema_mismatch"  # a table or column that the rule names does not exist
    ROWS_HIDDEN = "rows_hidden"  # row level security would hide rows from the role that detects
    STANDBY = "standby"  # a standby may lag behind what is already written
    PLAN_UNFIT = "plan_unfit"  # PostgreSQL would not carry the detection out as an anti join
    NEEDS_DATABASE = "needs_database"  # this cannot be proven over REST, whatever REST answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much a proven look covered. The baseline of the next one."""

    ledger_rows: int
    expected_rows: int
    subjects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the last proven look saw, and in which database."""

    counts: Counts
    database: str
    taken_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the target. `default` is the SQL text, None when there is none."""

    name: str
    type: str
    nullable: bool
    default: str | None
    generated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What the database says about itself, the target and the ledger. `visible` is False where it could not be asked.

    `database` tells one database from another, whatever address leads to it.
    `ledger_writers` names the end users' roles (anon, authenticated) with a write privilege or policy on the ledger.
    `ledger_cascades` says that movements are deleted with their profile; None where an older fixture does not say.
    """

    visible: bool
    columns: tuple[Column, ...] = ()
    triggers: tuple[str, ...] = ()
    foreign_keys: tuple[str, ...] = ()
    uniques: tuple[tuple[str, ...], ...] = ()
    ledger_writers: tuple[str, ...] = ()
    ledger_cascades: bool | None = None
    fingerprint: str = ""
    database: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadProof:
    """A read that was proven whole up to `horizon_at` (server time minus the rule's minimum age).

    `read_at` is the server's time just before the first row was read; without it, nobody knows how long a balance
    that this read confirmed has been the balance.
    """

    horizon_at: datetime
    database: str
    counts: Counts
    catalogue: Catalogue
    read_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproven:
    """A read that proves nothing. No count of it may be published and nothing may be written."""

    failure: ProofFailure
    detail: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A proven read and the keys that have evidence but no expected row.

    `young` are keys whose whole evidence is younger than the horizon: seen, not judged.
    """

    proof: ReadProof
    candidates: Sequence[str]
    young: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A user as Supabase Auth knows it. `fields` is the whole record, for value sources by dotted path."""

    id: str
    email: str | None
    created_at: datetime
    deleted: bool
    banned: bool
    anonymous: bool
    fields: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything known about one candidate, read by key.

    `subject` is None when Supabase Auth answered 404, or cannot load this one user (`unreadable`).
    `expected_row` is the row that came to exist meanwhile, if any.
    `ledger` holds the rows of the rule's movements, also where Supabase Auth itself is the evidence.
    `version` is the same for the same rows, user and movements; empty where the path cannot tell.
    """

    key: str
    subject: Subject | None
    ledger: tuple[LedgerRow, ...]
    expected_row: Mapping[str, Value] | None
    email_taken: bool
    unreadable: bool = False
    anchors: tuple[Anchor, ...] = ()
    version: str = ""
