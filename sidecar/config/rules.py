"""From the text of a rule file to the rule."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import assert_never

from sidecar.config.document import Document, Path
from sidecar.config.problems import Problems, closest
from sidecar.config.rule_neighbours import judge_neighbours
from sidecar.config.rule_schema import (
    AuthSection,
    BalanceSource,
    ConstantSource,
    DetectSection,
    GuardSection,
    LedgerSection,
    RepairSection,
    RuleSection,
    SubjectSource,
    ledger_of,
)
from sidecar.config.rule_semantics import judge_rule, without_repair
from sidecar.config.rule_survey import REPORTS, to_survey
from sidecar.config.validate import validate
from sidecar.config.yaml_text import parse
from sidecar.domain.pace import Signal
from sidecar.domain.plan import canonical
from sidecar.domain.rule import (
    AuthSource,
    Constant,
    Detect,
    Evidence,
    ExpectedRow,
    FromBalance,
    FromSubject,
    Guard,
    LedgerSource,
    Repair,
    Rule,
    ValueSource,
)
from sidecar.domain.survey import Survey

KINDS_OF_RULES = ("missing_row", *REPORTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """A rule file that was read, and its text as a document. `rule` is None after a problem."""

    rule: Rule | Survey | None
    document: Document


def read_rule(file: str, text: str, kinds_of_checks: Mapping[str, str] | None, problems: Problems) -> RuleFile | None:
    """Return the rule that a file's text describes, or None after noting why it is no document."""
    document = parse(file, text, problems)
    if document is None:
        return None
    _refuse_variables(document, problems)
    kind = document.at("detect", "kind")
    rule: Rule | Survey | None = None
    if isinstance(kind, str) and kind in REPORTS:
        reported = validate(REPORTS[kind], without_repair(document, kind, problems), (), problems)
        rule = None if reported is None else to_survey(reported)
    elif isinstance(kind, str) and kind not in KINDS_OF_RULES:
        _refuse_kind(document, kind, problems)
    else:
        section = validate(RuleSection, document, (), problems)
        rule = None if section is None else to_rule(section)
    judge_rule(document, PurePath(file).stem, kinds_of_checks, problems)
    return RuleFile(rule=rule, document=document)


def read_rules(
    texts: Mapping[str, str], kinds_of_checks: Mapping[str, str] | None, problems: Problems
) -> tuple[tuple[Rule, ...], tuple[Survey, ...]]:
    """Return the rules that repair and those that only report, each in file-name order. `texts` are by path."""
    files = [read_rule(file, texts[file], kinds_of_checks, problems) for file in sorted(texts)]
    read = [(found.rule, found.document) for found in files if found is not None]
    repairing = [(rule, document) for rule, document in read if isinstance(rule, Rule)]
    judge_neighbours(repairing, problems)
    return tuple(rule for rule, _ in repairing), tuple(rule for rule, _ in read if isinstance(rule, Survey))


def _refuse_kind(document: Document, kind: str, problems: Problems) -> None:
    """Say only this: what else the file should hold depends on its kind."""
    near = closest(kind, KINDS_OF_RULES)
    hint = f"did you mean {near}?" if near else ""
    problems.add(document, ("detect", "kind"), f"must be one of {', '.join(KINDS_OF_RULES)}", hint)


def _refuse_variables(document: Document, problems: Problems) -> None:
    """Keep the environment out of rules: their digest and their review are of what the file says."""

    def look(path: Path, text: str) -> str:
        if "${" in text:
            problems.add(
                document, path, "holds a variable", "variables belong in sidecar.yaml, rules stand for themselves"
            )
        return text

    document.with_texts(look)


def to_rule(section: RuleSection) -> Rule:
    """Turn what the schema read into the domain's rule, with the digest over what it does."""
    detect, repair, guard = _detect(section.detect), _repair(section.repair), _guard(section.guard)
    again = section.verify.again_after
    return Rule(
        name=section.rule,
        summary=section.summary,
        owner=section.owner,
        severity=section.severity,
        runbook=section.runbook,
        every_seconds=section.every,
        mode=section.mode,
        detect=detect,
        repair=repair,
        guard=guard,
        verify_again_after_seconds=again,
        digest=digest(detect, repair, guard, again),
    )


def _detect(section: DetectSection) -> Detect:
    expects = section.expects
    return Detect(
        ledger=_evidence(section.evidence),
        skip=frozenset(section.subject.skip),
        expects=ExpectedRow(table=expects.table, key=expects.key, created=expects.created),
        min_age_seconds=section.min_age,
        confirmations=section.confirmations,
        max_change_percent=section.max_change_percent,
    )


def _evidence(section: LedgerSection | AuthSection) -> Evidence:
    if isinstance(section, AuthSection):
        return AuthSource(without=None if section.without is None else ledger_of(section.without))
    return ledger_of(section)


def _repair(section: RepairSection) -> Repair:
    return Repair(
        values={column: _source(source) for column, source in section.values.items()},
        money=frozenset(section.money),
        defaults_accepted=frozenset(section.defaults_accepted),
        plan_expires_seconds=section.plan_expires,
    )


def _source(section: SubjectSource | BalanceSource | ConstantSource) -> ValueSource:
    match section:
        case SubjectSource():
            return FromSubject(path=section.subject, on_missing=section.on_missing)
        case BalanceSource():
            return FromBalance(order=section.balance, on_missing=section.on_missing)
        case ConstantSource():
            return Constant(value=section.const, plan_key=section.plan)
        case _:
            assert_never(section)


def _guard(section: GuardSection) -> Guard:
    return Guard(
        max_rows=section.max_rows,
        max_percent=section.max_percent,
        max_rows_per_day=section.max_rows_per_day,
        require_checks=section.require_checks,
        triggers_reviewed=frozenset(section.triggers_reviewed),
        signals=tuple(Signal(name=s.name, query=s.query, at_most=s.at_most) for s in section.signals),
    )


def digest(detect: Detect, repair: Repair, guard: Guard, again_after_seconds: tuple[float, ...]) -> str:
    """Return SHA-256 over what detects, repairs, guards and verifies, in one canonical form.

    Not over mode, summary, owner, severity, runbook and interval: changing those does not change what a plan does.
    """
    document = {
        "detect": {
            "ledger": _described_evidence(detect.ledger),
            "skip": sorted(detect.skip),
            "expects": {
                "table": str(detect.expects.table),
                "key": detect.expects.key,
                "created": detect.expects.created,
            },
            "min_age_seconds": float(detect.min_age_seconds),
            "confirmations": detect.confirmations,
            "max_change_percent": detect.max_change_percent.normalize(),
        },
        "repair": {
            "values": {column: _described(source) for column, source in repair.values.items()},
            "money": sorted(repair.money),
            "defaults_accepted": sorted(repair.defaults_accepted),
            "plan_expires_seconds": float(repair.plan_expires_seconds),
        },
        "guard": {
            "max_rows": guard.max_rows,
            "max_percent": guard.max_percent.normalize(),
            "max_rows_per_day": guard.max_rows_per_day,
            "require_checks": sorted(guard.require_checks),
            "triggers_reviewed": sorted(guard.triggers_reviewed),
            "signals": [[s.name, s.query, s.at_most.normalize()] for s in guard.signals],
        },
        "verify": [float(seconds) for seconds in again_after_seconds],
    }
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def _described_evidence(evidence: Evidence) -> dict[str, object]:
    match evidence:
        case LedgerSource():
            return {
                "table": str(evidence.table),
                "key": evidence.key,
                "created": evidence.created,
                "order": list(evidence.order),
                "amount": evidence.amount,
                "balance": evidence.balance,
            }
        case AuthSource():
            return {"auth": True, "without": evidence.without and _described_evidence(evidence.without)}
        case _:
            assert_never(evidence)


def _described(source: ValueSource) -> dict[str, object]:
    match source:
        case FromSubject():
            return {"subject": list(source.path), "on_missing": source.on_missing}
        case FromBalance():
            return {"balance": list(source.order), "on_missing": source.on_missing}
        case Constant():
            return {"const": source.value, "plan": source.plan_key}
        case _:
            assert_never(source)
