"""A plan: an explicit list of rows and values, bound by a hash to its rule, schema and database."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sidecar.domain.rule import Value
from sidecar.errors import PlanInvalid

FORMAT = 1  # of the plan file; a reader refuses another


class PlanStatus(StrEnum):
    """Where a plan stands."""

    WAITING = "waiting"  # for a person
    APPROVED = "approved"  # by a person, or by the guards in mode auto
    REJECTED = "rejected"
    APPLIED = "applied"  # a run has taken it; it can never be taken twice


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One row to insert. `evidence` is the digest of the evidence its balance rests on.

    `version` is that of the facts it was judged by: while it stands, nothing of them has changed. Empty: nobody knows.
    """

    key: str
    values: Mapping[str, Value]
    origins: Mapping[str, str]
    evidence: str
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rows, never a predicate. `not_visible` names what the catalogue could not show when the plan was made."""

    id: str
    rule: str
    rule_digest: str
    schema_fingerprint: str
    database: str
    author: str
    created_at: datetime
    expires_at: datetime
    subjects: int
    classes: Mapping[str, int]
    rows: Sequence[PlanRow]
    not_visible: Sequence[str] = ()

    @property
    def hash(self) -> str:
        """SHA-256 over everything that the plan is bound to, in canonical JSON."""
        return hashlib.sha256(canonical(_bound(self)).encode()).hexdigest()


def canonical(document: object) -> str:
    """Render JSON in one way only: sorted keys, no spaces, exact numbers."""
    return json.dumps(_tagged(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _tagged(value: object) -> object:
    """Make JSON of exact numbers. What a user shaped like one of our tags is wrapped, so that it stays what it is."""
    match value:
        case Decimal():
            return {"decimal": str(value)}
        case datetime():
            return value.isoformat()
        case Mapping():
            inner = {key: _tagged(item) for key, item in value.items()}
            return {"object": inner} if inner.keys() in _TAGS else inner
        case list() | tuple():
            return [_tagged(item) for item in value]
        case _:
            return value


def _untagged(value: object) -> object:
    match value:
        case {"decimal": str(number), **rest} if not rest:
            return Decimal(number)
        case {"object": dict(inner), **rest} if not rest:
            return {key: _untagged(item) for key, item in inner.items()}
        case dict():
            return {key: _untagged(item) for key, item in value.items()}
        case list():
            return [_untagged(item) for item in value]
        case _:
            return value


_TAGS = ({"decimal"}, {"object"})


def _bound(plan: Plan) -> dict[str, object]:
    return {
        "format": FORMAT,
        "id": plan.id,
        "rule": plan.rule,
        "rule_digest": plan.rule_digest,
        "schema_fingerprint": plan.schema_fingerprint,
        "database": plan.database,
        "author": plan.author,
        "created_at": plan.created_at,
        "expires_at": plan.expires_at,
        "subjects": plan.subjects,
        "classes": dict(plan.classes),
        "not_visible": list(plan.not_visible),
        "rows": [_row(row) for row in plan.rows],
    }


def _row(row: PlanRow) -> dict[str, object]:
    """Render a row. One without a version is written as plans were before there were any."""
    written: dict[str, object] = {
        "key": row.key,
        "values": dict(row.values),
        "origins": dict(row.origins),
        "evidence": row.evidence,
    }
    return written | ({"version": row.version} if row.version else {})


def to_text(plan: Plan) -> str:
    """Render the plan as the text of a plan file, its hash included."""
    document = _tagged({**_bound(plan), "hash": plan.hash})
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def from_text(text: str) -> Plan:
    """Read a plan file back.

    Raises: PlanInvalid when it is not a plan of this format, or was edited since its hash was taken.
    """
    try:
        document = _untagged(json.loads(text))
        if not isinstance(document, dict):
            raise PlanInvalid(f"not a plan: {type(document).__name__}")
        if document["format"] is True or document["format"] != FORMAT:
            raise PlanInvalid(f"plan format {document['format']!r} is not {FORMAT}")
        plan = _from_document(document)
        found, claimed = plan.hash, str(document["hash"])
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise PlanInvalid(f"not a plan: {type(error).__name__}: {error}") from error
    if found != claimed:
        raise PlanInvalid(f"plan {plan.id} was edited: its hash is {found[:12]}…, the file says {claimed[:12]}…")
    return plan


def _from_document(document: Mapping[str, object]) -> Plan:
    fields = {
        name: document[name] for name in ("id", "rule", "rule_digest", "schema_fingerprint", "database", "author")
    }
    return Plan(
        **{name: str(value) for name, value in fields.items()},
        created_at=datetime.fromisoformat(str(document["created_at"])),
        expires_at=datetime.fromisoformat(str(document["expires_at"])),
        subjects=int(str(document["subjects"])),
        classes=dict(document["classes"]),  # type: ignore[call-overload]  # any mapping will do; the hash decides
        not_visible=tuple(document["not_visible"]),  # type: ignore[arg-type]  # likewise
        rows=_rows(document["rows"]),
    )


def _rows(rows: object) -> tuple[PlanRow, ...]:
    if not isinstance(rows, list):
        raise PlanInvalid("not a plan: rows is not a list")
    for row in rows:
        if not isinstance(row["values"], dict) or not isinstance(row["origins"], dict):
            raise PlanInvalid("not a plan: values and origins of a row must be objects")
    names = ("key", "values", "origins", "evidence")
    return tuple(PlanRow(**{name: r[name] for name in names}, version=r.get("version", "")) for r in rows)
