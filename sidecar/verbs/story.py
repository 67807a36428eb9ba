"""How a user's story is told: as lines for a person, and the same as one document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sidecar.data.account import Account
from sidecar.domain.chain import Link, Movement
from sidecar.domain.credits import Balance, NoBalance
from sidecar.domain.finding import Finding, FindingClass
from sidecar.domain.look import Catalogue, Facts, Subject
from sidecar.domain.rule import Rule
from sidecar.errors import SidecarError
from sidecar.sights import Attested, Quarantined, Touched
from sidecar.verbs.evidence_case import evidence_case
from sidecar.verbs.result import iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What one rule makes of one user. `is_concerned`: the rule's evidence names this user at all."""

    rule: Rule
    facts: Facts
    catalogue: Catalogue
    is_concerned: bool
    finding: Finding | None
    balance: Balance | NoBalance
    movements: Sequence[Movement]
    attested: Sequence[Attested]
    held: Sequence[Quarantined]
    looks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """A rule that could not look, and why."""

    rule: Rule
    error: str


Told: TypeAlias = Account | SidecarError | None

LINKS: Mapping[Link, str] = {
    Link.OPENS: "opens at 0",
    Link.OPENS_UNEXPLAINED: "OPENS with credits that no row explains",
    Link.FOLLOWS: "follows",
    Link.BREAKS: "DOES NOT FOLLOW",
    Link.TIED: "tied in time with another",
    Link.UNREADABLE: "UNREADABLE: an amount, balance or instant is missing",
}
ATTEST = "find the balance by hand, then: sidecar attest {key} --credits N --reason TEXT"
NEXT: Mapping[FindingClass, str] = {
    FindingClass.REPAIRABLE: "sidecar plan {rule}, or at once: sidecar backfill {rule}",
    FindingClass.TOO_YOUNG: "wait: a sign-up may still be on its way",
    FindingClass.UNCONFIRMED: "wait for the next proven look",
    FindingClass.SUBJECT_UNREADABLE: "have Supabase look into this user: Auth itself cannot load it",
    FindingClass.SUBJECT_GONE: "decide what becomes of credits without a user; Sidecar does not touch them",
    FindingClass.SUBJECT_DELETED: "nothing, unless the deletion was a mistake",
    FindingClass.SUBJECT_BANNED: "nothing while the user is banned",
    FindingClass.SUBJECT_ANONYMOUS: "nothing: anonymous users are left out",
    FindingClass.EMAIL_TAKEN: "find out whose profile has this e-mail; two accounts may be one person",
    FindingClass.VALUE_MISSING: "give the missing value a source in the rule, or `on_missing: null`",
    FindingClass.LEDGER_FORGEABLE: "revoke end users' writes on the ledger, or attest the balance",
    FindingClass.WRITE_REJECTED: "see why the database refused it: sidecar quarantine {rule}",
}


def lines(key: str, account: Told, stories: Sequence[Story | Unseen], touched: Sequence[Touched]) -> list[str]:
    """Tell the story to a person, every piece with its origin in brackets."""
    told = [f"user {key}", f"  account    {_account(account)}"]
    if not _known(account, stories):
        told.append("  unknown    nobody knows this user: no account, no movement, no row, no attestation")
    for story in stories:
        told += [f"  {story.rule.name}: could not look: {story.error}"] if isinstance(story, Unseen) else _rule(story)
    told += [f"  run {_touched(one)}  [memory]" for one in touched] or ["  no run ever planned this user  [memory]"]
    return told


def _known(account: Told, stories: Sequence[Story | Unseen]) -> bool:
    seen = [story for story in stories if isinstance(story, Story)]
    traces = any(s.facts.subject or s.facts.ledger or s.facts.expected_row or s.attested for s in seen)
    return account is not None or traces or len(seen) < len(stories)


def _account(account: Told) -> str:
    if account is None:
        return "none: Supabase Auth answers 404"
    if isinstance(account, SidecarError):
        return f"could not be read: {account}"
    last = f"{account.last_sign_in_at:%Y-%m-%d %H:%M} UTC" if account.last_sign_in_at else "never"
    confirmed = f"confirmed {account.confirmed_at:%Y-%m-%d %H:%M} UTC" if account.confirmed_at else "not confirmed"
    return f"signs in by {', '.join(account.providers) or 'no provider known'}, {confirmed}, last {last}  [auth]"


def _rule(story: Story) -> list[str]:
    rule, facts = story.rule, story.facts
    table, movements = rule.detect.expects.table, rule.detect.movements
    row = facts.expected_row
    has = "has NO row" if row is None else f"has the row, {rule.balance_column} = {row.get(rule.balance_column)}"
    told = [f"  {rule.name}", f"    subject    {_subject(facts.subject, unreadable=facts.unreadable)}  [auth]"]
    told.append(f"    profile    {has}  [{table}]")
    if facts.email_taken:
        told.append(f"    e-mail     another row has it  [{table}]")
    if movements is not None:
        told.append(f"    ledger     {len(story.movements)} movements  [{movements.table}]")
        told += [f"      {_movement(movement)}" for movement in story.movements]
        told.append(f"    writable   {_writers(story)}  [catalogue]")
    told.append(f"    evidence   {evidence_case(rule, story.catalogue)}  [catalogue]")
    told += [f"    attested   {_vouched(one)}  [memory]" for one in story.attested]
    for anchor in facts.anchors:
        if anchor.origin != "attested":
            told.append(f"    {anchor.origin:<10} {anchor.balance} credits at {_at(anchor.at)}  [memory]")
    told += [f"    balance    {_proven(story)}", f"    judged     {_judged(story)}"]
    told += [f"    held       {_held(held)}  [memory]" for held in story.held]
    if story.finding is not None and story.finding.values:
        told.append("    would write")
        origins = story.finding.origins
        told += [f"      {column} = {value!r}  [{origins[column]}]" for column, value in story.finding.values.items()]
    return [*told, f"    next       {next_action(story)}"]


def _subject(subject: Subject | None, *, unreadable: bool) -> str:
    if subject is None:
        return "Supabase Auth cannot load this user" if unreadable else "Supabase Auth does not know this user"
    state = [word for word in ("deleted", "banned", "anonymous") if getattr(subject, word)]
    return f"{', '.join(state) or 'live'}, since {_at(subject.created_at)}"


def _movement(movement: Movement) -> str:
    row = movement.row
    when = f"{row.created_at:%Y-%m-%d %H:%M:%S}" if row.created_at else "no instant         "
    verdict = LINKS[movement.link]
    if movement.link is Link.BREAKS:
        verdict += f": {movement.expected} would"
    return f"{when}  {row.amount!s:>8}  -> {row.balance_after!s:>8}  {verdict}"


def _writers(story: Story) -> str:
    if not story.catalogue.visible:
        return "not visible over REST without the fixture"
    return (
        f"the ledger, by {', '.join(story.catalogue.ledger_writers)}" if story.catalogue.ledger_writers else "by nobody"
    )


def _vouched(one: Attested) -> str:
    return f"{one.amount} credits by {one.actor} at {_at(one.at)}: {one.reason}"


def _proven(story: Story) -> str:
    if isinstance(story.balance, NoBalance):
        return f"not proven: {story.balance}"
    return f"{story.balance.amount} credits  [{story.balance.origin}]"


def _judged(story: Story) -> str:
    if story.facts.expected_row is not None:
        return "no damage: the row is there"
    if not story.is_concerned:
        return f"not a case of this rule: nothing in {story.rule.detect.ledger.table} names this user"
    if story.finding is None:
        return "the case of another rule"
    forgeable = ", on a ledger that end users may write" if story.finding.forgeable else ""
    return f"{story.finding.kind}{forgeable}, seen in {story.looks} proven looks in a row"


def _held(held: Quarantined) -> str:
    until = f", until {_at(held.until_at)}" if held.until_at else ""
    return f"{held.reason} since {_at(held.since_at)}{until}; let it go with: sidecar quarantine --release {held.id}"


def _touched(one: Touched) -> str:
    flying = " in flight" if one.in_flight else ""
    return (
        f"{one.run_id} of {one.rule}: {one.settled.result}{flying} {one.settled.reason}".rstrip() + f", {_at(one.at)}"
    )


def next_action(story: Story) -> str:
    """Say what a person can do about what the rule found."""
    if story.finding is None:
        return "nothing"
    return NEXT.get(story.finding.kind, ATTEST).format(rule=story.rule.name, key=story.facts.key)


def _at(at: object) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def document(
    key: str, account: Told, stories: Sequence[Story | Unseen], touched: Sequence[Touched]
) -> dict[str, object]:
    """Return the story as values."""
    return {
        "user_id": key,
        "known": _known(account, stories),
        "account": _account_document(account),
        "rules": [_rule_document(story, touched) for story in stories],
        "runs": [
            {
                "run": one.run_id,
                "rule": one.rule,
                "result": str(one.settled.result),
                "reason": one.settled.reason,
                "in_flight": one.in_flight,
                "at": iso(one.at),
            }
            for one in touched
        ],
    }


def _account_document(account: Told) -> dict[str, object] | None:
    if account is None:
        return None
    if isinstance(account, SidecarError):
        return {"error": str(account)}
    return {
        "providers": list(account.providers),
        "confirmed_at": iso(account.confirmed_at),
        "last_sign_in_at": iso(account.last_sign_in_at),
    }


def _rule_document(story: Story | Unseen, touched: Sequence[Touched]) -> dict[str, object]:
    if isinstance(story, Unseen):
        return {"rule": story.rule.name, "error": story.error}
    facts, finding, catalogue = story.facts, story.finding, story.catalogue
    return {
        "rule": story.rule.name,
        "table": str(story.rule.detect.expects.table),
        "subject": _subject_document(facts.subject),
        "unreadable": facts.unreadable,
        "expected_row": facts.expected_row is not None,
        "email_taken": facts.email_taken,
        "ledger_rows": len(facts.ledger),
        "ledger": [_movement_document(movement) for movement in story.movements],
        "ledger_cascades": story.catalogue.ledger_cascades,
        "ledger_writable_by": list(catalogue.ledger_writers) if catalogue.visible else "not visible",
        "anchors": [{"origin": a.origin, "balance": str(a.balance), "at": iso(a.at)} for a in facts.anchors],
        "attested": [
            {"credits": str(a.amount), "by": a.actor, "reason": a.reason, "at": iso(a.at)} for a in story.attested
        ],
        "balance": _balance_document(story.balance),
        "class": str(finding.kind) if finding else None,
        "confirmed_looks": story.looks,
        "held": [held.reason for held in story.held],
        "quarantine": [
            {"id": h.id, "reason": h.reason, "since_at": iso(h.since_at), "until_at": iso(h.until_at)}
            for h in story.held
        ],
        "would_write": [
            {"column": column, "value": value, "origin": finding.origins[column]}
            for column, value in finding.values.items()
        ]
        if finding is not None
        else [],
        "next_action": next_action(story),
        "runs": [one.run_id for one in touched if one.rule == story.rule.name],
    }


def _subject_document(subject: Subject | None) -> dict[str, object] | None:
    if subject is None:
        return None
    return {
        "created_at": subject.created_at.isoformat(),
        "deleted": subject.deleted,
        "banned": subject.banned,
        "anonymous": subject.anonymous,
    }


def _movement_document(movement: Movement) -> dict[str, object]:
    row = movement.row
    return {
        "created_at": iso(row.created_at),
        "amount": None if row.amount is None else str(row.amount),
        "balance_after": None if row.balance_after is None else str(row.balance_after),
        "link": str(movement.link),
        "expected": None if movement.expected is None else str(movement.expected),
    }


def _balance_document(balance: Balance | NoBalance) -> dict[str, str]:
    if isinstance(balance, NoBalance):
        return {"unproven": str(balance)}
    return {"credits": str(balance.amount), "origin": str(balance.origin)}
