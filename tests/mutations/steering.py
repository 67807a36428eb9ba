"""Pause, abort, approvals, plans that must not be applied."""

from tests.mutations.guard import Guard

GUARDS = (
    Guard(
        name="a pause holds before the next batch",
        file="sidecar/state/rows.py",
        line="frozen_by(connection, rule, run_id)",
        instead="frozen_by(connection, rule)",
        test="tests/engine/test_steering.py::test_a_pause_holds_before_the_next_batch_and_says_whose_it_is",
    ),
    Guard(
        name="a paused run is taken up by nobody",
        file="sidecar/engine/running.py",
        line="wishes.get(pause_of(run.id))",
        instead='wishes.get("nobody")',
        test="tests/engine/test_steering.py::test_a_paused_run_is_taken_up_by_nobody_until_it_is_resumed",
    ),
    Guard(
        name="an abort is carried out by the next look",
        file="sidecar/engine/running.py",
        line="wishes.get(abort_of(run.id))",
        instead='wishes.get("nobody")',
        test="tests/engine/test_steering.py::test_an_abort_that_found_the_holder_at_work_is_carried_out_by_the_next_look",
    ),
    Guard(
        name="a run without its plan strands nothing",
        file="sidecar/engine/running.py",
        line="except PlanInvalid:",
        instead="except ZeroDivisionError:",
        test="tests/engine/test_resume.py::test_a_run_without_its_plan_is_abandoned_with_every_row_accounted_for",
    ),
    Guard(
        name="rows that nobody can read back are undetermined",
        file="sidecar/engine/ending.py",
        line='Settled(result=RowResult.UNDETERMINED, reason="not_read_back")',
        instead="Settled(result=RowResult.PLANNED)",
        test="tests/engine/test_steering.py::test_rows_that_nobody_can_read_back_are_undetermined_and_count_against_the_day",
    ),
    Guard(
        name="rows in flight of an aborted run",
        file="sidecar/engine/ending.py",
        line="{key: Settled(result=RowResult.PLANNED) for key in lost} | landed",
        instead="landed",
        test="tests/engine/test_steering.py::test_rows_in_flight_of_an_aborted_run_are_read_back",
    ),
    Guard(
        name="refused rows stay held after an abort",
        file="sidecar/engine/ending.py",
        line="        await self._hold_back(run, rows)\n",
        instead="",
        test="tests/engine/test_steering.py::test_rows_that_the_database_refused_stay_held_when_the_run_is_aborted",
    ),
    Guard(
        name="an abort that cannot read back stays wished",
        file="sidecar/engine/steering.py",
        line="        await self._wish(abort_of(run.id), actor, reason)\n",
        instead="",
        test="tests/engine/test_steering.py::test_an_abort_that_cannot_read_back_changes_nothing_and_stays_wished",
    ),
    Guard(
        name="a pause is not lifted as a freeze",
        file="sidecar/verbs/steering.py",
        line='if ":" in scope or not await',
        instead="if not await",
        test="tests/cli/test_steering_verbs.py::test_a_pause_is_not_lifted_as_a_freeze",
    ),
    Guard(
        name="an author does not approve",
        file="sidecar/verbs/approving.py",
        line="actor == plan.author:",
        instead='actor == "":',
        test="tests/cli/test_bad_plans.py::test_300_attempts_with_tokens_at_plans_that_must_not_be_applied_apply_none",
    ),
    Guard(
        name="a file hashed anew is not the plan",
        file="sidecar/verbs/repairing.py",
        line=" or stored.plan.hash != read.hash",
        instead="",
        test="tests/cli/test_bad_plans.py::test_a_plan_file_whose_hash_was_made_anew_is_not_the_plan_that_is_known_here",
    ),
    Guard(
        name="a plan edited by hand",
        file="sidecar/domain/plan.py",
        line="if found != claimed:",
        instead='if found == "":',
        test="tests/cli/test_bad_plans.py::test_a_plan_file_edited_by_hand_is_no_plan",
    ),
)
