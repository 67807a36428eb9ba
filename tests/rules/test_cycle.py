"""The cycle of a rule that only reports, over the real memory and a scripted world."""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sidecar.domain.check import Verdict
from sidecar.domain.event import CycleFinished, LookFinished
from sidecar.domain.look import Catalogue, Counts, ProofFailure, ReadProof, Unproven
from sidecar.domain.run import Outcome
from sidecar.domain.survey import Survey, SurveyClass, Surveyed
from sidecar.engine.cycle import Cycle
from sidecar.engine.lease import Leases
from sidecar.engine.survey import Surveyor
from sidecar.engine.watch import Watch
from sidecar.errors import AccessDenied, SchemaMismatch, SidecarError, TransientError
from sidecar.ports import State
from sidecar.state.open import open_state
from sidecar.telemetry.metrics import Metrics
from sidecar.verbs.result import Exit, code_of_look, code_of_repair, cycle_document, cycle_lines, deciding
from tests.domain.cast import LONG_AGO, a_check
from tests.fakes import START, FakeClock, FakeProbe, RecordingReporter
from tests.rules.cast import shipped

RULE = shipped("balance_differs_from_ledger")
STUCK = shipped("stuck_generations")


def found(rows: int = 1000, compared: int = 5000, database: str = "db-1", **classes: int) -> Surveyed:
    counts = Counts(ledger_rows=compared, expected_rows=rows, subjects=rows)
    proof = ReadProof(horizon_at=START, database=database, counts=counts, catalogue=Catalogue(visible=False))
    named = {SurveyClass(name): count for name, count in classes.items()}
    return Surveyed(
        proof=proof,
        classes=named,
        oldest_at=LONG_AGO if classes else None,
        samples=dict.fromkeys(named, ("an-id",)),
    )


@dataclass
class FakeSurveys:
    answers: deque[Surveyed | Unproven | SidecarError] = field(default_factory=deque)
    asked: int = 0

    async def survey(self, survey: Survey) -> Surveyed | Unproven:
        self.asked += 1
        assert survey.name
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, SidecarError):
            raise answer
        return answer


@dataclass
class Desk:
    state: State
    probe: FakeProbe = field(default_factory=FakeProbe)
    data: FakeSurveys = field(default_factory=FakeSurveys)
    clock: FakeClock = field(default_factory=FakeClock)
    reporter: RecordingReporter = field(default_factory=RecordingReporter)

    async def look(self, survey: Survey, *answers: Surveyed | Unproven | SidecarError, holder: str = "one") -> Cycle:
        self.data.answers.extend(answers)
        watch = Watch({"service_key": self.probe}, state=self.state, reporter=self.reporter, clock=self.clock)
        surveyor = Surveyor(
            checks={"service-key": a_check()},
            watch=watch,
            surveys=self.data,
            leases=Leases(state=self.state, reporter=self.reporter, clock=self.clock, holder=holder),
            state=self.state,
            reporter=self.reporter,
            clock=self.clock,
        )
        cycle = await surveyor.look(survey)
        self.data.answers.clear()
        return cycle

    def told(self) -> LookFinished:
        return self.reporter.told(LookFinished)[-1]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_state(f"sqlite:///{tmp_path / 'sidecar.db'}") as state:
        yield Desk(state)


async def test_what_was_found_is_told_counted_and_shown_with_ids(desk: Desk) -> None:
    cycle = await desk.look(RULE, found(differs=3, too_young=2))
    assert (cycle.outcome, code_of_look(cycle), code_of_repair(cycle)) == (
        Outcome.OBSERVED, Exit.VIOLATIONS, Exit.CLEAN,
    )  # fmt: skip
    told = desk.told()
    assert (told.failure, told.violations, told.oldest_at) == (None, {"differs": 3, "too_young": 2}, LONG_AGO)
    document = cycle_document(cycle)
    assert (document["violations"], document["rows"], document["samples"]) == (
        {"differs": 3, "too_young": 2}, 1000, {"differs": ["an-id"], "too_young": ["an-id"]},
    )  # fmt: skip
    assert "        3  differs  such as an-id" in cycle_lines(cycle)
    assert [event.outcome for event in desk.reporter.told(CycleFinished)] == [Outcome.OBSERVED]


async def test_only_what_is_too_young_is_no_violation(desk: Desk) -> None:
    assert code_of_look(await desk.look(RULE, found(too_young=2))) is Exit.CLEAN


async def test_a_required_check_that_is_unhealthy_refuses_and_nothing_is_read(desk: Desk) -> None:
    desk.probe = FakeProbe(Verdict.UNHEALTHY, reason="rls_still_applied")
    cycle = await desk.look(RULE, found())
    assert (cycle.outcome, code_of_look(cycle), desk.data.asked) == (Outcome.REFUSED, Exit.REFUSED, 0)
    assert (desk.told().failure, desk.told().violations) == (ProofFailure.CHECK_UNHEALTHY, None)


async def test_a_required_check_that_could_not_look_leaves_it_blind(desk: Desk) -> None:
    desk.probe = FakeProbe(Verdict.UNKNOWN, reason="rate_limited")
    cycle = await desk.look(RULE, found())
    assert (cycle.failure, desk.data.asked) == (ProofFailure.CHECK_UNKNOWN, 0)
    assert code_of_look(cycle) is Exit.UNKNOWN


@pytest.mark.parametrize(
    ("answer", "failure", "outcome"),
    [
        (TransientError("down"), ProofFailure.UNREACHABLE, Outcome.UNKNOWN),
        (AccessDenied("no"), ProofFailure.ACCESS_DENIED, Outcome.UNKNOWN),
        (SchemaMismatch("public.users has no column id"), ProofFailure.SCHEMA_MISMATCH, Outcome.REFUSED),
        (Unproven(failure=ProofFailure.CANARY_UNSEEN, detail="gone"), ProofFailure.CANARY_UNSEEN, Outcome.UNKNOWN),
    ],
)
async def test_a_read_that_proves_nothing_publishes_no_count(
    desk: Desk, answer: Unproven | SidecarError, failure: ProofFailure, outcome: Outcome
) -> None:
    cycle = await desk.look(RULE, answer)
    told = desk.told()
    assert (cycle.outcome, told.failure, told.violations, told.counts) == (outcome, failure, None, None)
    assert cycle_document(cycle)["violations"] is None
    assert await desk.state.baseline(RULE.name) is None


async def test_the_next_look_is_compared_with_the_last_proven_one_over_restarts(desk: Desk) -> None:
    await desk.look(RULE, found(rows=1000, compared=5000))
    for shrunk in (found(rows=799), found(compared=3999)):
        cycle = await desk.look(RULE, shrunk)
        assert (cycle.outcome, cycle.failure) == (Outcome.UNKNOWN, ProofFailure.COUNT_CHANGED)
    assert (await desk.look(RULE, found(rows=800, compared=4000))).outcome is Outcome.OBSERVED
    other = await desk.look(RULE, found(database="db-2"))
    assert other.failure is ProofFailure.DATABASE_CHANGED
    await desk.state.drop_baseline(RULE.name, "olga", START)
    assert (await desk.look(RULE, found(database="db-2"))).outcome is Outcome.OBSERVED


async def test_what_rows_are_compared_with_cannot_be_empty(desk: Desk) -> None:
    cycle = await desk.look(RULE, found(compared=0, no_evidence=1000))
    assert (cycle.failure, desk.told().violations) == (ProofFailure.BELOW_FLOOR, None)
    alone = await desk.look(STUCK, found(compared=0, stale=1))
    assert alone.outcome is Outcome.OBSERVED, "a rule over one table compares it with nothing"


async def test_one_process_at_a_time_looks(desk: Desk) -> None:
    assert await desk.state.acquire(f"survey {RULE.name}", "another", 3600, desk.clock.now()) is not None
    cycle = await desk.look(RULE, found(), holder="two")
    assert (cycle.outcome, desk.data.asked) == (Outcome.REFUSED, 0)
    assert cycle.refusal is not None
    assert cycle.refusal.guard == "rule_busy"


async def test_the_metrics_of_a_report_have_its_own_classes_and_are_absent_while_unproven(desk: Desk) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, [], {}, [RULE])
    await desk.look(RULE, found(differs=3))
    metrics.hear(desk.told())
    labels = {"rule": RULE.name, "class": "differs"}
    assert registry.get_sample_value("sidecar_rule_violations", labels) == 3
    assert registry.get_sample_value("sidecar_rule_violations", {**labels, "class": "chain_broken"}) == 0
    assert registry.get_sample_value("sidecar_rule_violations", {**labels, "class": "orphan"}) is None
    assert registry.get_sample_value("sidecar_rule_subjects", {"rule": RULE.name}) == 1000
    await desk.look(RULE, TransientError("down"))
    metrics.hear(desk.told())
    assert registry.get_sample_value("sidecar_rule_violations", labels) is None


def test_a_rule_that_this_path_can_never_look_at_decides_no_code_unless_it_is_alone() -> None:
    needs = Cycle(rule="a", outcome=Outcome.UNKNOWN, failure=ProofFailure.NEEDS_DATABASE)
    blind = replace(needs, rule="b", failure=ProofFailure.UNREACHABLE)
    well = Cycle(rule="c", outcome=Outcome.OBSERVED, surveyed=found())
    assert list(deciding([needs, well])) == [well]
    assert list(deciding([needs, blind])) == [blind]
    assert list(deciding([needs])) == [needs]
    assert code_of_look(needs) is Exit.UNKNOWN
