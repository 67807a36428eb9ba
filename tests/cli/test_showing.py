"""What show and explain tell: every value with its origin, and what stands in the way."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from sidecar.app import App
from sidecar.domain.chain import Link
from sidecar.domain.plan import PlanStatus
from sidecar.errors import AccessDenied, TargetUnreachable, Unreached, UsageError
from sidecar.ports import Description
from sidecar.verbs import repairing
from sidecar.verbs.explaining import explain
from sidecar.verbs.result import Exit, Result
from sidecar.verbs.showing import show
from tests.cli.cast import an_app
from tests.domain.cast import CATALOGUE, REPAIR, chain
from tests.engine.cast import TABLE, Stage, approve, auto, harm, keys_of
from tests.fakes import FakeData

USER = str(UUID(int=7))
RULE = approve().name


async def planned(app: App, stage: Stage) -> str:
    harm(stage.data, *keys_of(25))
    made: Any = (await repairing.plan(app, RULE, "anna", None)).document["rules"]
    return str(made[0]["plan_id"])


def line(result: Result, start: str) -> str:
    """Return the one line that starts so."""
    [found] = [text.strip() for text in result.lines if text.strip().startswith(start)]
    return found


async def test_a_plan_is_shown_with_its_share_target_rows_and_origins(stage: Stage, app: App) -> None:
    shown = await show(app, await planned(app, stage))

    assert line(shown, "25 rows of").startswith("25 rows of 1000 subjects (2.500 %)")
    assert line(shown, "triggers that would fire") == "triggers that would fire   none"
    assert line(shown, "uniques") == "uniques                    (id), (email)"
    assert line(shown, "defaults left") == "defaults left to the table created_at = now()"
    assert line(shown, "public.users, as it is now") == "public.users, as it is now, the schema of the plan:"
    assert line(shown, "expected time") == "expected time  unknown before the first run"
    assert sum("(balance:ledger)" in text for text in shown.lines) == 20
    assert line(shown, "… and").startswith("… and 5 more")
    assert shown.document["stale"] == []


async def test_the_expected_time_is_measured_by_the_last_run(stage: Stage, app: App) -> None:
    harm(stage.data, "zoe")

    async def take_two_seconds() -> None:
        stage.clock.advance(2)

    stage.data.script["insert"].append(take_two_seconds)
    await stage.repair.tick(auto())
    shown = await show(app, await planned(app, stage))

    assert line(shown, "expected time") == "expected time  50.0 s, at the last run's 0.5 rows/s"
    assert shown.document["expected_seconds"] == 50.0


async def test_a_plan_that_apply_would_refuse_says_so(stage: Stage, app: App, tmp_path: Path) -> None:
    made = await planned(app, stage)
    stage.data.catalogue_seen = replace(CATALOGUE, fingerprint="schema-2", database="db-2", triggers=("bonus",))
    stage.clock.advance(REPAIR.plan_expires_seconds)
    shown = await show(replace(app, config=replace(app.config, rules=(approve(digest="d2"),))), made)
    stale = [text for text in shown.lines if "STALE" in text]
    assert len(stale) == 4
    assert all(
        any(why in text for text in stale) for why in ("expired", "rule changed", "schema changed", "another data")
    )
    assert line(shown, "triggers that") == "triggers that would fire   bonus"

    gone = await show(an_app(stage, tmp_path, rules=[]), made)
    assert any("is not configured; apply would refuse it" in text for text in gone.lines)
    await app.state.move_plan(made, PlanStatus.WAITING, PlanStatus.REJECTED, "ben", stage.clock.now())
    assert (await show(app, made)).document["stale"] == [], "nobody would apply it any more"


async def test_a_database_that_cannot_be_asked_does_not_hide_the_plan(stage: Stage, app: App) -> None:
    made = await planned(app, stage)
    stage.data.script["catalogue"].append(TargetUnreachable(Unreached.TIMED_OUT, "no answer"))
    shown = await show(app, made)

    assert (shown.code, shown.document["stale"]) == (Exit.CLEAN, [])
    assert line(shown, "the database could not be asked") == "the database could not be asked: timed_out: no answer"


async def test_what_a_path_would_send_is_shown_where_it_can_tell(stage: Stage, app: App) -> None:
    class Telling(FakeData):
        async def describe(self, _rule: object) -> Description:
            return Description(sql=("select 1",), explain="Hash Anti Join\n  -> Seq Scan")

    telling = Telling(clock=stage.clock, catalogue_seen=CATALOGUE)
    shown = await show(replace(app, data=telling), await planned(app, stage))

    assert [text.strip() for text in shown.lines if text.startswith("    ")][4:7] == [
        "select 1",
        "Hash Anti Join",
        "-> Seq Scan",
    ]


async def test_a_users_story_goes_from_the_ledger_to_what_would_be_written(stage: Stage, app: App) -> None:
    harm(stage.data, USER)
    await app.state.attest(TABLE, USER, 1200, "invoice 4711", "anna", stage.clock.now())
    told = await explain(app, USER)
    [rule] = _rules(told)

    assert (rule["class"], rule["next_action"]) == (
        "repairable",
        f"sidecar plan {RULE}, or at once: sidecar backfill {RULE}",
    )
    assert [movement["link"] for movement in rule["ledger"]] == [Link.OPENS, Link.FOLLOWS]
    assert [(one["by"], one["reason"], one["credits"]) for one in rule["attested"]] == [
        ("anna", "invoice 4711", "1200")
    ]
    written = {one["column"]: one["origin"] for one in rule["would_write"]}
    assert written["credits_balance"] == "balance:attested"
    assert line(told, "attested").startswith("attested   1200 credits by anna at")
    assert line(told, "credits_balance =") == "credits_balance = 1200  [balance:attested]"
    assert line(told, "no run ever planned") == "no run ever planned this user  [memory]"


async def test_a_break_in_the_chain_is_shown_where_it_is_with_what_to_do(stage: Stage, app: App) -> None:
    harm(stage.data, USER)
    one, two = chain(1000, 200)
    stage.data.ledger_rows[USER] = (one, replace(two, balance_after=1300))
    told = await explain(app, USER)

    assert any("DOES NOT FOLLOW: 1200 would" in text for text in told.lines)
    assert line(told, "next").endswith(f"sidecar attest {USER} --credits N --reason TEXT")
    assert _rules(told)[0]["class"] == "chain_broken"


async def test_runs_and_quarantine_of_a_user_are_part_of_the_story(stage: Stage, app: App) -> None:
    harm(stage.data, USER)
    stage.data.poison[USER] = "23503"
    await stage.repair.tick(auto())
    told = await explain(app, USER)

    assert [(run["result"], run["reason"]) for run in _any(told.document["runs"])] == [("conflict", "23503")]
    assert "let it go with: sidecar quarantine --release" in line(told, "held")


async def test_a_user_whom_nobody_knows_is_said_to_be_unknown(app: App) -> None:
    told = await explain(app, USER)

    assert line(told, "judged").startswith("judged     not a case of this rule")
    assert (_rules(told)[0]["class"], _rules(told)[0]["next_action"]) == (None, "nothing")


async def test_a_rule_that_cannot_look_ends_as_unknown_with_its_cause(stage: Stage, app: App) -> None:
    stage.data.script["facts"].append(AccessDenied("status 403"))
    told = await explain(app, USER)

    assert (told.code, _rules(told)) == (Exit.UNKNOWN, [{"rule": RULE, "error": "status 403"}])


async def test_without_rules_there_is_nothing_to_look_into(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no rule is configured"):
        await explain(an_app(stage, tmp_path, rules=[]), USER)


def _any(value: object) -> Any:  # noqa: ANN401  # JSON
    return value


def _rules(told: Result) -> Any:  # noqa: ANN401  # JSON
    return told.document["rules"]
