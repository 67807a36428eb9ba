"""The verb explain: one user's story, each piece with where it was read."""

from sidecar.app import App
from sidecar.data.account import read_account
from sidecar.domain.credits import Balance, NoBalance, prove_balance
from sidecar.domain.finding import classify, horizon
from sidecar.domain.look import Facts
from sidecar.domain.rule import FromBalance, Rule
from sidecar.engine.look import blindness_of
from sidecar.errors import SidecarError, UsageError
from sidecar.verbs.repairing import user_id_of
from sidecar.verbs.result import Exit, Result


async def explain(app: App, user_id: str) -> Result:
    """Tell what Supabase Auth, the tables, the ledger and Sidecar's own memory know about one user."""
    key = user_id_of(user_id)
    if not app.config.rules:
        raise UsageError("no rule is configured, so there is no table to look into")
    lines = [f"user {key}", f"  account              {await _account(app, key)}"]
    stories: list[dict[str, object]] = []
    code = Exit.CLEAN
    for rule in app.config.rules:
        try:
            [facts] = await app.looker.facts(rule, [key])
            story = await _story(app, rule, facts)
        except SidecarError as error:
            blindness_of(error)
            lines += [f"  {rule.name}: could not look: {error}"]
            stories.append({"rule": rule.name, "error": str(error)})
            code = Exit.UNKNOWN
            continue
        lines += _told(rule, facts, story)
        stories.append(story)
    return Result(document={"user_id": key, "rules": stories}, lines=lines, code=code)


async def _account(app: App, key: str) -> str:
    supabase = app.config.supabase
    try:
        account = await read_account(supabase.url, supabase.service_key.reveal(), key)
    except SidecarError as error:
        return f"could not be read: {error}"
    if account is None:
        return "none: Supabase Auth answers 404"
    last = f"{account.last_sign_in_at:%Y-%m-%d %H:%M} UTC" if account.last_sign_in_at else "never"
    confirmed = "confirmed" if account.confirmed_at else "not confirmed"
    return f"signs in by {', '.join(account.providers) or 'no provider known'}, {confirmed}, last signed in {last}"


async def _story(app: App, rule: Rule, facts: Facts) -> dict[str, object]:
    catalogue = await app.data.catalogue(rule)
    finding = classify(
        rule,
        facts,
        ledger_forgeable=not catalogue.visible or bool(catalogue.ledger_writers),
        plan_id="none",
        horizon_at=horizon(app.clock.now(), rule.detect.min_age_seconds),
    )
    held = [q.reason for q in await app.state.held(rule.name, app.clock.now()) if q.key == facts.key]
    looks = (await app.state.confirmations(rule.name)).get(facts.key, 0)
    runs = [run.id for run in await app.state.runs(rule.name) if facts.key in await _keys_of(app, run.id)]
    subject = facts.subject
    return {
        "rule": rule.name,
        "subject": None
        if subject is None
        else {
            "created_at": subject.created_at.isoformat(),
            "deleted": subject.deleted,
            "banned": subject.banned,
            "anonymous": subject.anonymous,
        },
        "expected_row": facts.expected_row is not None,
        "email_taken": facts.email_taken,
        "ledger_rows": len(facts.ledger),
        "anchors": [{"origin": a.origin, "balance": str(a.balance), "at": a.at.isoformat()} for a in facts.anchors],
        "balance": _balance(rule, facts),
        "ledger_writable_by": list(catalogue.ledger_writers) if catalogue.visible else "not visible",
        "class": str(finding.kind) if finding else None,
        "confirmed_looks": looks,
        "held": held,
        "runs": runs,
    }


async def _keys_of(app: App, run_id: str) -> set[str]:
    return {row.key for row in await app.state.rows(run_id)}


def _balance(rule: Rule, facts: Facts) -> dict[str, str]:
    source = rule.repair.values[rule.balance_column]
    if not isinstance(source, FromBalance):
        return {"unproven": str(NoBalance.NO_EVIDENCE)}
    proven = prove_balance(source.order, facts.anchors, facts.ledger, margin=rule.detect.min_age)
    if isinstance(proven, Balance):
        return {"credits": str(proven.amount), "origin": str(proven.origin)}
    return {"unproven": str(proven)}


def _told(rule: Rule, facts: Facts, story: dict[str, object]) -> list[str]:
    table, ledger = rule.detect.expects.table, rule.detect.ledger.table
    subject = facts.subject
    state = [w for w in ("deleted", "banned", "anonymous") if subject is not None and getattr(subject, w)]
    missing = "cannot load this user" if facts.unreadable else "does not know this user"
    known = missing if subject is None else f"knows this user: {', '.join(state) or 'live'}"
    lines = [
        f"  {rule.name}",
        f"    Supabase Auth      {known}" + (f", since {subject.created_at:%Y-%m-%d %H:%M} UTC" if subject else ""),
        f"    {table!s:<18} {'has the row' if facts.expected_row is not None else 'has NO row'}",
        f"    {ledger!s:<18} {len(facts.ledger)} rows",
    ]
    for row in sorted(facts.ledger, key=lambda row: str(row.order)):
        when = f"{row.created_at:%Y-%m-%d %H:%M:%S}" if row.created_at else "no instant"
        lines.append(f"        {when}  {row.amount!s:>8}  -> {row.balance_after}")
    lines += [f"    {a.origin:<18} {a.balance} credits at {a.at:%Y-%m-%d %H:%M} UTC" for a in facts.anchors]
    lines.append(f"    balance            {', '.join(f'{k} {v}' for k, v in _balance(rule, facts).items())}")
    lines.append(f"    judged             {story['class'] or 'no damage'}, seen in {story['confirmed_looks']} looks")
    if story["held"]:
        lines.append(f"    in quarantine      {story['held']}")
    if story["runs"]:
        lines.append(f"    runs               {story['runs']}")
    return lines
