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
    """One row to insert. `evidence` is the digest of the evidence its balance rests on."""

    key: str
    values: Mapping[str, Value]
    origins: Mapping[str, str]
    evidence: str


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
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_exact)


def _exact(value: object) -> object:
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


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
        "rows": [
            {"key": r.key, "values": dict(r.values), "origins": dict(r.origins), "evidence": r.evidence}
            for r in plan.rows
        ],
    }


def to_text(plan: Plan) -> str:
    """Render the plan as the text of a plan file, its hash included."""
    document = {**_bound(plan), "hash": plan.hash}
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, default=_exact) + "\n"


def from_text(text: str) -> Plan:
    """Read a plan file back.

    Raises: PlanInvalid when it is not a plan of this format, or was edited since its hash was taken.
    """
    try:
        document = json.loads(text, object_hook=_restore, parse_float=Decimal)
        if document["format"] != FORMAT:
            raise PlanInvalid(f"plan format {document['format']!r} is not {FORMAT}")
        plan = _from_document(document)
        claimed = document["hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise PlanInvalid(f"not a plan: {type(error).__name__}: {error}") from error
    if plan.hash != claimed:
        raise PlanInvalid(
            f"plan {plan.id} was edited: its hash is {plan.hash[:12]}…, the file says {str(claimed)[:12]}…"
        )
    return plan


def _restore(found: dict[str, object]) -> object:
    return Decimal(str(found["decimal"])) if found.keys() == {"decimal"} else found


def _from_document(document: Mapping[str, object]) -> Plan:
    rows = document["rows"]
    if not isinstance(rows, list):
        raise PlanInvalid("rows is not a list")
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
        rows=tuple(
            PlanRow(key=r["key"], values=r["values"], origins=r["origins"], evidence=r["evidence"]) for r in rows
        ),
    )
