"""The verb explain: one user's story, each piece with where it was read."""

from sidecar.app import App
from sidecar.data.account import Account, read_account
from sidecar.domain.chain import walk
from sidecar.domain.credits import Balance, NoBalance, prove_balance
from sidecar.domain.finding import DEFERRED, classify, horizon
from sidecar.domain.look import Facts
from sidecar.domain.rule import AuthSource, FromBalance, Rule
from sidecar.engine.look import blindness_of
from sidecar.errors import SidecarError, UsageError
from sidecar.verbs.repairing import user_id_of
from sidecar.verbs.result import Exit, Result
from sidecar.verbs.story import Story, Unseen, document, lines


async def explain(app: App, user_id: str) -> Result:
    """Tell what Supabase Auth, the tables, the ledger and Sidecar's own memory know about one user."""
    key = user_id_of(user_id)
    if not app.config.rules:
        raise UsageError("no rule is configured, so there is no table to look into")
    account = await _account(app, key)
    stories = [await _story(app, rule, key) for rule in app.config.rules]
    touched = await app.state.touched(key)
    code = max((_code(story) for story in stories), default=Exit.CLEAN)
    if isinstance(account, SidecarError):
        code = max(code, Exit.UNKNOWN)
    return Result(
        document=document(key, account, stories, touched), lines=lines(key, account, stories, touched), code=code
    )


def _code(story: Story | Unseen) -> Exit:
    """Damage counts, as `detect` counts it; a sign-up in flight does not."""
    if isinstance(story, Unseen):
        return Exit.UNKNOWN
    damaged = story.finding is not None and story.finding.kind not in DEFERRED
    return Exit.VIOLATIONS if damaged else Exit.CLEAN


async def _account(app: App, key: str) -> Account | SidecarError | None:
    supabase = app.config.supabase
    try:
        return await read_account(supabase.url, supabase.service_key.reveal(), key)
    except SidecarError as error:
        return error


async def _story(app: App, rule: Rule, key: str) -> Story | Unseen:
    try:
        [facts] = await app.looker.facts(rule, [key])
        catalogue = await app.data.catalogue(rule)
    except SidecarError as error:
        blindness_of(error)  # what is no matter of sight goes on upwards
        return Unseen(rule=rule, error=str(error))
    is_concerned = facts.subject is not None if isinstance(rule.detect.ledger, AuthSource) else bool(facts.ledger)
    finding = classify(
        rule,
        facts,
        ledger_forgeable=not catalogue.visible or bool(catalogue.ledger_writers),
        plan_id="the plan's id",
        horizon_at=horizon(app.clock.now(), rule.detect.min_age_seconds),
    )
    return Story(
        rule=rule,
        facts=facts,
        catalogue=catalogue,
        is_concerned=is_concerned,
        finding=finding if is_concerned else None,
        balance=_balance(rule, facts),
        movements=walk(facts.ledger),
        attested=await app.state.attested(str(rule.detect.expects.table), key),
        held=[held for held in await app.state.held(rule.name, app.clock.now()) if held.key == key],
        looks=(await app.state.confirmations(rule.name)).get(key, 0),
    )


def _balance(rule: Rule, facts: Facts) -> Balance | NoBalance:
    source = rule.repair.values[rule.balance_column]
    if not isinstance(source, FromBalance):
        return NoBalance.NO_EVIDENCE
    return prove_balance(source.order, facts.anchors, facts.ledger, margin=rule.detect.min_age)
