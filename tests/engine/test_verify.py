"""What was written must be there afterwards, read from the source; and who spends at once is no alarm."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from sidecar.domain.event import CycleFinished, VerifyFailed
from sidecar.domain.run import Outcome, RunStatus
from sidecar.engine.lease import Lease
from sidecar.engine.trust import LOST
from sidecar.engine.verify import Verified
from sidecar.engine.work import Work
from sidecar.errors import StateUnavailable, TargetUnreachable, Unreached
from tests.domain.cast import PROOF, chain
from tests.engine.cast import TABLE, Stage, auto, harm, keys_of


def at_verification(stage: Stage, *steps: Callable[[], object] | Exception | None) -> None:
    """Let things happen just before each reading of the verification. Of two rows the first is verified before."""
    stage.data.script["read_rows"].extend(steps)


async def test_what_was_written_is_read_again_from_the_source(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    cycle = await stage.repair.tick(auto())

    assert cycle.verified == Verified(rows=2, broken={}, drift=0)
    assert stage.data.made("read_rows") == [("user-0000",), ("user-0000", "user-0001")]
    assert stage.data.made("ledger") == [("user-0000",), ("user-0000", "user-0001")]
    assert [e.drift for e in stage.reporter.told(CycleFinished)] == [0.0]


async def test_a_row_that_is_gone_by_the_time_of_verification_is_an_alarm(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    at_verification(stage, None, lambda: stage.data.rows.pop("user-0000"))
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.verified) == (
        Outcome.VERIFY_FAILED,
        Verified(rows=2, broken={"row_missing": 1}, drift=-1200),
    )
    told = stage.reporter.told(VerifyFailed)
    assert [(e.invariant, e.rows, e.run_id) for e in told] == [("row_missing", 1, cycle.run_id)]
    assert [e.drift for e in stage.reporter.told(CycleFinished)] == [-1200.0]


async def test_a_balance_that_no_evidence_explains_is_an_alarm_with_its_drift(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    at_verification(stage, None, lambda: stage.data.rows["user-0001"].update(credits_balance=Decimal("1250.50")))
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.VERIFY_FAILED
    assert cycle.verified == Verified(rows=2, broken={"value_differs": 1}, drift=Decimal("50.50"))


@pytest.mark.parametrize("value", [None, "1200", True])
async def test_a_balance_that_is_no_number_counts_as_nothing(stage: Stage, value: object) -> None:
    harm(stage.data, "alice")
    at_verification(stage, lambda: stage.data.rows["alice"].update(credits_balance=value))  # type: ignore[call-overload]  # what no balance is
    cycle = await stage.repair.tick(auto())

    assert cycle.verified == Verified(rows=1, broken={"value_differs": 1}, drift=-1200)


async def test_a_user_who_spends_credits_at_once_is_no_alarm(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    stage.clock.advance(60)
    at_verification(stage, None, lambda: stage.data.spend("user-0001", 200))
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.verified) == (Outcome.REPAIRED, Verified(rows=2, broken={}, drift=0))
    assert stage.data.rows["user-0001"]["credits_balance"] == 1000


async def test_a_user_who_spends_between_the_reading_of_row_and_ledger_is_no_alarm(stage: Stage) -> None:
    harm(stage.data, *keys_of(2))
    at_verification(stage, None, lambda: stage.data.spend("user-0001", 200))
    stage.data.script["ledger"].extend([None, lambda: stage.data.spend("user-0001", 300)])
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.verified) == (Outcome.REPAIRED, Verified(rows=2, broken={}, drift=0))
    assert stage.data.made("read_rows")[2:] == [("user-0001",)]


async def test_a_spender_with_an_attested_balance_is_followed_from_the_attestation(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.ledger_rows["alice"] = (*chain(10), replace(chain(10)[0], balance_after=77))
    await stage.state.attest("public.users", "alice", 500, "ticket 7", "olga", stage.clock.now())
    stage.clock.advance(60)

    def spend() -> None:
        stage.data.rows["alice"]["credits_balance"] = 450
        row = replace(chain(10)[0], created_at=stage.clock.now(), order=(stage.clock.now(), "x"))
        stage.data.ledger_rows["alice"] += (replace(row, amount=-50, balance_after=450),)

    at_verification(stage, spend)
    cycle = await stage.repair.tick(auto())

    assert cycle.outcome is Outcome.REPAIRED


async def test_a_spent_balance_that_the_ledger_does_not_prove_stays_an_alarm(stage: Stage) -> None:
    harm(stage.data, "alice")

    def vanish() -> None:
        stage.data.rows["alice"]["credits_balance"] = 1100
        stage.data.ledger_rows["alice"] = ()

    at_verification(stage, vanish)

    assert (await stage.repair.tick(auto())).outcome is Outcome.VERIFY_FAILED


async def test_a_value_that_was_altered_on_its_way_in_is_an_alarm_even_where_the_money_is_right(stage: Stage) -> None:
    harm(stage.data, "alice")
    stage.data.altering = {"email": "lower@example.org"}
    cycle = await stage.repair.tick(auto())

    assert cycle.verified == Verified(rows=1, broken={"value_differs": 1}, drift=0)


async def test_a_failed_verification_leaves_the_rule_untrusted(stage: Stage) -> None:
    await stage.state.trust(auto().name, "an older digest", "olga", stage.clock.now())
    harm(stage.data, "alice")
    await stage.repair.tick(auto())
    at_verification(stage, lambda: stage.data.rows.pop("alice"))
    cycle = await stage.apply_newest(auto())

    assert cycle.outcome is Outcome.VERIFY_FAILED
    assert await stage.state.trusted(auto().name) == LOST


async def test_a_source_that_cannot_be_read_leaves_the_run_to_be_verified_later(stage: Stage) -> None:
    harm(stage.data, "alice")
    at_verification(stage, TargetUnreachable(Unreached.TIMED_OUT, "late"))
    cycle = await stage.repair.tick(auto())

    assert (cycle.outcome, cycle.verified) == (Outcome.UNKNOWN, None)
    assert cycle.run_id is not None
    run = await stage.state.run(cycle.run_id)
    assert run is not None
    assert (run.status, run.detail) == (RunStatus.INTERRUPTED, "could not verify")
    again = await stage.repair.tick(auto())
    assert (again.run_id, again.outcome) == (cycle.run_id, Outcome.REPAIRED)
    assert again.verified == Verified(rows=1, broken={}, drift=0)
    assert len(stage.data.made("insert")) == 1


async def test_memory_that_fails_while_verifying_is_not_taken_for_blindness(stage: Stage) -> None:
    harm(stage.data, "alice")
    at_verification(stage, StateUnavailable("disk full"))
    with pytest.raises(StateUnavailable):
        await stage.repair.tick(auto())

    assert (await stage.repair.tick(auto())).outcome is Outcome.REPAIRED


async def test_where_no_balance_is_written_nothing_is_proven_anew(stage: Stage) -> None:
    """The loader admits no such rule; the verifier asks no ledger for it all the same."""
    harm(stage.data, "alice")
    cycle = await stage.repair.tick(auto())
    assert cycle.plan is not None
    run = await stage.state.run(cycle.run_id or "")
    assert run is not None
    bare = replace(cycle.plan.rows[0], origins={"credits_balance": "const"})
    work = Work(rule=auto(), plan=cycle.plan, run=run, lease=Lease(name=TABLE, epoch=1), proof=PROOF)
    stage.data.calls.clear()

    assert await stage.verifier._proven(work, [bare]) == {}
    assert stage.data.calls == []
