"""Plans that must not be applied: each is refused before the first write, with guard, value, limit and way out."""

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.app import App
from sidecar.config.settings import Scope
from sidecar.domain.decide import GuardName
from sidecar.domain.plan import Plan, PlanStatus, from_text, to_text
from sidecar.errors import AccessDenied, PlanInvalid, UsageError
from sidecar.state.open import open_state
from sidecar.verbs import repairing
from sidecar.verbs.actor import TOKEN_VARIABLE, actor_of
from sidecar.verbs.result import Exit, Result
from tests.cli.cast import SCOPES, an_app, token_of
from tests.domain.cast import CATALOGUE, GUARD, REPAIR
from tests.engine.cast import ROOMY, Stage, approve, harm, keys_of
from tests.engine.test_resume import only_run

RULE = approve().name


async def planned(app: App, stage: Stage, file: Path, *, author: str = "anna") -> Plan:
    """Let somebody make a plan of three rows that waits, also as a file."""
    harm(stage.data, *keys_of(3))
    await repairing.plan(app, RULE, author, file)
    return read(file)


def read(file: Path) -> Plan:
    return from_text(file.read_text())


async def approved(app: App, stage: Stage, file: Path) -> Plan:
    made = await planned(app, stage, file)
    await repairing.judge(app, made.id, "ben", PlanStatus.APPROVED)
    return made


def refusal_of(result: Result) -> tuple[str, bool]:
    """Return the guard of a refusal, and whether it told value, limit and what to do."""
    rules: Any = result.document["rules"]
    assert (result.code, len(rules)) == (Exit.REFUSED, 1), result.lines
    told = rules[0]["refusal"]
    return rules[0]["refused_by"], bool(told["value"] and told["limit"] and told["hint"])


EDITS: dict[str, Callable[[dict[str, object]], object]] = {
    "a balance": lambda d: d["rows"][0]["values"].update(credits_balance=10**6),  # type: ignore[index]  # JSON
    "a row more": lambda d: d["rows"].append(d["rows"][0]),  # type: ignore[attr-defined,index]  # JSON
    "a row less": lambda d: d["rows"].pop(),  # type: ignore[attr-defined]  # JSON
    "its rule": lambda d: d.update(rule="another"),
    "its author": lambda d: d.update(author="ben"),
    "its expiry": lambda d: d.update(expires_at="2099-01-01T00:00:00+00:00"),
    "its database": lambda d: d.update(database="db-2"),
    "its hash": lambda d: d.update(hash="0" * 64),
}


@pytest.mark.parametrize("what", EDITS)
async def test_a_plan_file_edited_by_hand_is_no_plan(stage: Stage, app: App, tmp_path: Path, what: str) -> None:
    file = tmp_path / "plan.json"
    await approved(app, stage, file)
    document = json.loads(file.read_text())
    EDITS[what](document)
    file.write_text(json.dumps(document))
    for attempt in (
        repairing.apply(app, str(file), "carl"),
        repairing.judge(app, str(file), "ben", PlanStatus.APPROVED),
    ):
        with pytest.raises(PlanInvalid, match="was edited"):
            await attempt
    assert stage.data.inserted == []


async def test_a_plan_file_whose_hash_was_made_anew_is_not_the_plan_that_is_known_here(
    stage: Stage, app: App, tmp_path: Path
) -> None:
    """Whoever edits a file can hash it too; memory holds the plan that was made."""
    file = tmp_path / "plan.json"
    made = await approved(app, stage, file)
    file.write_text(to_text(replace(made, rows=made.rows[:1], author="ben")))
    with pytest.raises(PlanInvalid, match="is not known here as this file has it"):
        await repairing.apply(app, str(file), "carl")
    assert stage.data.inserted == []


async def test_a_plan_of_another_memory_is_not_known_here(stage: Stage, app: App, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    made = await approved(app, stage, file)
    async with open_state(f"sqlite:///{tmp_path / 'elsewhere.db'}") as elsewhere:
        other = Stage(state=elsewhere, clock=stage.clock, data=stage.data, holder="elsewhere")
        there = an_app(other, tmp_path)
        with pytest.raises(PlanInvalid, match="not known here"):
            await repairing.apply(there, str(file), "carl")
        with pytest.raises(UsageError, match="there is no plan"):
            await repairing.apply(there, made.id, "carl")
    assert stage.data.inserted == []


async def test_a_plan_is_applied_once(stage: Stage, app: App, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    made = await approved(app, stage, file)
    assert (await repairing.apply(app, str(file), "carl")).code is Exit.CLEAN
    for name in (made.id, str(file)):
        assert refusal_of(await repairing.apply(app, name, "carl")) == (GuardName.PLAN_TAKEN, True)
    assert stage.data.inserted == keys_of(3)


async def expire(stage: Stage, app: App) -> App:
    stage.clock.advance(REPAIR.plan_expires_seconds)
    return app


async def edit_rule(_stage: Stage, app: App) -> App:
    return replace(app, config=replace(app.config, rules=(approve(digest="rule-digest-2"),)))


async def alter_schema(stage: Stage, app: App) -> App:
    stage.data.catalogue_seen = replace(CATALOGUE, fingerprint="schema-2")
    return app


async def swap_database(stage: Stage, app: App) -> App:
    stage.data.database = "db-2"
    await app.state.drop_baseline(RULE, "carl", stage.clock.now())  # somebody says that this was meant
    return app


async def add_trigger(stage: Stage, app: App) -> App:
    stage.data.catalogue_seen = replace(CATALOGUE, triggers=("bonus",))
    return app


async def lower_cap(_stage: Stage, app: App) -> App:
    return replace(app, config=replace(app.config, rules=(approve(guard=replace(ROOMY, max_rows=2)),)))


@pytest.mark.parametrize(
    ("change", "guard", "value", "limit"),
    [
        (expire, "plan_expired", "plan cli-1", "until 2026-11-21T12:00:00"),
        (edit_rule, "plan_stale", "the rule changed since plan cli-1 was made", "the same rule"),
        (alter_schema, "plan_stale", "the schema changed since plan cli-1 was made", "the same schema"),
        (swap_database, "plan_stale", "the database changed since plan cli-1 was made", "the same database"),
        (add_trigger, "triggers_reviewed", "bonus", ""),
        (lower_cap, "max_rows", "3 rows", "2 rows"),
    ],
)
async def test_an_approved_plan_that_no_longer_holds_is_refused_before_the_first_write(
    stage: Stage,
    app: App,
    tmp_path: Path,
    change: Callable[[Stage, App], Awaitable[App]],
    guard: str,
    value: str,
    limit: str,
) -> None:
    made = await approved(app, stage, tmp_path / "plan.json")
    result = await repairing.apply(await change(stage, app), made.id, "carl")

    assert refusal_of(result) == (guard, True)
    assert (value in result.lines[2], limit in result.lines[3]) == (True, True), result.lines
    assert (stage.data.inserted, await app.state.runs()) == ([], [])


async def test_a_plan_of_a_rule_that_is_not_configured_is_a_usage_error(stage: Stage, app: App, tmp_path: Path) -> None:
    made = await approved(app, stage, tmp_path / "plan.json")
    with pytest.raises(UsageError, match=f"there is no rule '{RULE}'"):
        await repairing.apply(an_app(stage, tmp_path, rules=[]), made.id, "carl")


async def test_a_plan_cannot_be_taken_for_another_rules(stage: Stage, app: App, tmp_path: Path) -> None:
    """A plan in memory that names a rule with another digest is stale, whatever its own hash says."""
    made = await planned(app, stage, tmp_path / "plan.json")
    forged = replace(made, id="forged", rule_digest="rule-digest-9", rows=made.rows)
    await app.state.save_plan(forged, PlanStatus.APPROVED, "ben")

    assert refusal_of(await repairing.apply(app, "forged", "carl")) == ("plan_stale", True)
    assert (GUARD.max_rows, stage.data.inserted) == (500, [])


ATTEMPTS = 300


async def test_300_attempts_with_tokens_at_plans_that_must_not_be_applied_apply_none(
    stage: Stage, app: App, tmp_path: Path
) -> None:
    """Self-approved, expired and replayed plans, by people with every mix of scopes, in a seeded order."""
    chance = random.Random(20261122)
    made = await planned(app, stage, tmp_path / "replayed.json", author="dora")
    await repairing.judge(app, made.id, "ben", PlanStatus.APPROVED)
    assert (await repairing.apply(app, made.id, "dora")).code is Exit.CLEAN
    replayed, written = made.id, list(stage.data.inserted)
    harm(stage.data, *(f"late-{number}" for number in range(3)))
    await repairing.plan(app, RULE, "dora", tmp_path / "expired.json")
    expired = read(tmp_path / "expired.json").id
    await repairing.judge(app, expired, "ben", PlanStatus.APPROVED)
    await expire(stage, app)

    ended: Counter[str] = Counter()
    for _ in range(ATTEMPTS):
        kind = chance.choice(["self", "expired", "replayed"])
        ended[f"{kind}: {await attempted(chance, kind, app, tmp_path, (replayed, expired))}"] += 1
        assert stage.data.inserted == written

    runs = await app.state.runs()
    told = ", ".join(f"{count} {how}" for how, count in sorted(ended.items()))
    print(f"\n{ATTEMPTS} attempts at plans that must not be applied: {len(runs) - 1} applied; {told}")
    assert (sum(ended.values()), len(runs), stage.data.inserted) == (ATTEMPTS, 1, written)
    assert (await only_run(stage)).plan_id == replayed


async def attempted(chance: random.Random, kind: str, app: App, folder: Path, known: tuple[str, str]) -> str:
    """Try to bring one bad plan into the table; return how that ended."""
    replayed, expired = known
    who = chance.choice(sorted(SCOPES))
    try:
        if kind == "self":
            await repairing.plan(app, RULE, as_token(app, folder, who, Scope.PLAN), folder / "own.json")
            made = read(folder / "own.json")  # with the same rows as one that waits, it is that one: its author tries
            who, name, by_path = made.author, made.id, str(folder / "own.json")
        else:
            name = replayed if kind == "replayed" else expired
            by_path = str(folder / f"{kind}.json")
        name = chance.choice([name, by_path])
        if kind == "self" or chance.random() < 0.5:
            await repairing.judge(app, name, as_token(app, folder, who, Scope.APPROVE), PlanStatus.APPROVED)
        result = await repairing.apply(app, name, as_token(app, folder, "dora", Scope.OPERATE))
    except (AccessDenied, UsageError, PlanInvalid) as error:
        return type(error).__name__
    return refusal_of(result)[0]


def as_token(app: App, folder: Path, name: str, scope: Scope) -> str:
    """Return who acts, as the command line does. Raises: AccessDenied where the token lacks the scope."""
    return actor_of(name, scope, app.config.server.tokens, {TOKEN_VARIABLE: token_of(folder, name)})
