"""What the verbs make of both families of rules."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sidecar.app import App
from sidecar.domain.look import ProofFailure, Unproven
from sidecar.domain.survey import Survey, Surveyed
from sidecar.engine.lease import Leases
from sidecar.engine.survey import Surveyor
from sidecar.errors import UsageError
from sidecar.state.open import open_state
from sidecar.verbs import looking, repairing
from sidecar.verbs.result import Exit
from tests.cli.cast import an_app
from tests.domain.cast import a_check
from tests.engine.cast import Stage, a_world, approve, harm
from tests.fakes import FakeClock
from tests.rules.cast import shipped
from tests.rules.test_cycle import found

REPORTS = tuple(map(shipped, ("balance_differs_from_ledger", "stuck_generations")))
NEEDS = Unproven(failure=ProofFailure.NEEDS_DATABASE, detail="needs database.url")


@dataclass
class Answers:
    """Surveys whose answers the test gives, by rule; every other finds nothing."""

    by_rule: dict[str, Surveyed | Unproven] = field(default_factory=dict)

    async def survey(self, survey: Survey) -> Surveyed | Unproven:
        return self.by_rule.get(survey.name, found())


@dataclass(frozen=True)
class House:
    app: App
    stage: Stage
    answers: Answers


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = FakeClock()
    async with open_state(f"sqlite:///{tmp_path / 'sidecar.db'}") as state:
        stage = Stage(state=state, clock=clock, data=a_world(clock))
        answers, made = Answers(), an_app(stage, tmp_path, [approve()])
        surveyor = Surveyor(
            checks={"service-key": a_check()},
            watch=stage.watch,
            surveys=answers,
            leases=Leases(state=state, reporter=stage.reporter, clock=clock, holder="daemon"),
            state=state,
            reporter=stage.reporter,
            clock=clock,
        )
        app = replace(made, config=replace(made.config, surveys=REPORTS), surveyor=surveyor)
        yield House(app, stage, answers)


async def test_detect_without_a_name_looks_at_every_rule_of_both_families(house: House) -> None:
    told = await looking.detect(house.app, [], accept_change=None)
    rules = [rule["rule"] for rule in told.document["rules"]]  # type: ignore[attr-defined]  # a list of mappings
    assert rules == ["credits_without_profile", "balance_differs_from_ledger", "stuck_generations"]
    assert told.code is Exit.CLEAN


async def test_a_violation_that_is_only_reported_ends_detect_with_1(house: House) -> None:
    house.answers.by_rule["stuck_generations"] = found(compared=0, stale=1)
    assert (await looking.detect(house.app, ["stuck_generations"], accept_change=None)).code is Exit.VIOLATIONS
    assert (await looking.detect(house.app, [], accept_change=None)).code is Exit.VIOLATIONS


async def test_a_rule_that_needs_a_database_gives_3_by_name_and_hides_no_other_rule_among_all(house: House) -> None:
    house.answers.by_rule["balance_differs_from_ledger"] = NEEDS
    by_name = await looking.detect(house.app, ["balance_differs_from_ledger"], accept_change=None)
    assert by_name.code is Exit.UNKNOWN
    told = await looking.detect(house.app, [], accept_change=None)
    assert told.code is Exit.CLEAN
    assert any("needs_database" in line for line in told.lines), "it is told all the same"
    harm(house.stage.data, "user-1")
    assert (await looking.detect(house.app, [], accept_change=None)).code is Exit.VIOLATIONS


async def test_a_rule_that_is_blind_for_another_reason_gives_3_among_all(house: House) -> None:
    house.answers.by_rule["stuck_generations"] = Unproven(failure=ProofFailure.UNREACHABLE, detail="down")
    assert (await looking.detect(house.app, [], accept_change=None)).code is Exit.UNKNOWN


async def test_to_repair_by_a_rule_that_only_reports_is_refused_by_its_mode(house: House) -> None:
    for told in (
        await repairing.backfill(house.app, "stuck_generations", "anna"),
        await repairing.rehearse(house.app, "stuck_generations"),
        await repairing.plan(house.app, "stuck_generations", "anna", None),
    ):
        [rule] = told.document["rules"]  # type: ignore[misc]  # a list of mappings
        assert (told.code, rule["refused_by"]) == (Exit.REFUSED, "mode")  # type: ignore[has-type]  # likewise
    assert house.stage.data.inserted == []


async def test_nothing_of_a_report_is_held_back_or_vouched_for(house: House) -> None:
    with pytest.raises(UsageError, match="only reports"):
        await looking.quarantine(house.app, "stuck_generations", None, "anna")


async def test_an_unknown_name_lists_the_rules_of_both_families(house: House) -> None:
    with pytest.raises(UsageError, match="balance_differs_from_ledger, credits_without_profile, stuck_generations"):
        await looking.detect(house.app, ["nope"], accept_change=None)
