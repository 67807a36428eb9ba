"""Every verb as people type it: exit codes, documents, refusals with guard, value, limit and what to do."""

import json
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sidecar.cli import cli
from tests.e2e.cast import INCIDENT, RULE, Ended, Project, rows_of
from tests.e2e.conftest import Sidecar

VERBS = sorted(command.name or command.callback.__name__ for command in cli.registered_commands if command.callback)
CONTRACT = {
    *("run", "check", "validate", "detect", "plan", "show", "approve", "reject", "apply", "backfill", "runs"),
    *("explain", "attest", "quarantine", "freeze", "unfreeze", "pause", "resume", "abort", "undo", "demo", "schema"),
}
REFUSAL = ("guard", "value", "limit", "do")


def refused(ended: Ended, guard: str) -> Any:  # noqa: ANN401  # JSON
    """Hold a refusal's document to the contract, and return its rule's part."""
    rule = rows_of(ended)
    assert (ended.code, rule["outcome"], rule["refused_by"]) == (4, "refused", guard), ended
    assert all(rule["refusal"][part] for part in ("value", "limit", "hint")), rule
    assert rule["inserted"] == 0
    return rule


def key_of(project: Project, reason: str) -> str:
    """Return the first user held back for this reason, as `quarantine` lists it."""
    held = project.ask("quarantine", RULE, "--json").document["quarantined"]
    return str(next(entry["key"] for entry in held if entry["reason"] == reason))


def planned(project: Project, *words: str) -> str:
    """Make a plan that waits; return its id."""
    ended = project.ask("plan", RULE, "--json", *words)
    assert (ended.code, rows_of(ended)["outcome"], rows_of(ended)["planned"]) == (1, "planned", 13), ended
    return str(rows_of(ended)["plan_id"])


def test_every_verb_of_the_contract_that_is_built_is_there() -> None:
    assert set(VERBS) == CONTRACT


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_ends_with_an_example_of_it(verb: str) -> None:
    told = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(cli, [verb, "--help"])
    assert told.exit_code == 0
    assert f"Example: sidecar {verb}" in told.stdout


def test_the_module_is_the_program_and_prints_its_completion(sidecar: Sidecar) -> None:
    told = sidecar("--help")
    assert told.code == 0
    assert all(verb in told.stdout for verb in VERBS)
    script = sidecar("--show-completion", "bash")
    assert (script.code, "complete " in script.stdout) == (0, True)
    assert sidecar("no-such-verb").code == 2


def test_a_plan_goes_from_a_persons_desk_into_the_table_exactly_once(project: Project) -> None:
    assert project.ask("detect", "--json").code == 1
    file = project.folder / "plan.json"
    made = planned(project, "--out", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    early = refused(project.ask("apply", str(file), "--json"), "plan_not_approved")
    assert made in early["refusal"]["value"]
    shown = project.ask("show", str(file), "--json").document
    assert (shown["status"], shown["approver"], len(shown["plan"]["rows"])) == ("waiting", None, 13)
    told = project.ask("show", made).stdout
    assert all(word in told for word in ("13 rows of", INCIDENT, "credits_balance = 1200", "balance:ledger", "hash"))
    assert project.ask("approve", str(file), "--as", "anna", "--json").document == {
        "plan": made,
        "status": "approved",
        "by": "anna",
    }
    again = project.ask("approve", made)
    assert (again.code, "is approved, not waiting" in again.stderr) == (2, True)
    done = project.run("apply", str(file), "--json", "--as", "anna")
    rule = rows_of(done)
    assert (done.code, rule["outcome"], rule["inserted"], rule["verified"]) == (0, "repaired", 13, True), done
    assert project.restored() == 13
    refused(project.ask("apply", made, "--json"), "plan_taken")
    assert project.ask("reject", made).code == 2
    finished = project.ask("backfill", RULE, "--json")
    assert (finished.code, rows_of(finished)["outcome"]) == (0, "nothing_to_do")
    tell_the_run(project, rule["run_id"], made)


def tell_the_run(project: Project, run_id: str, plan_id: str) -> None:
    [run] = project.ask("runs", "--json").document["runs"]
    assert (run["id"], run["plan_id"], run["actor"], run["status"]) == (run_id, plan_id, "anna", "finished")
    told = project.ask("runs", run_id, "--json").document
    assert [row["result"] for row in told["rows"]] == ["inserted"] * 13
    assert INCIDENT in {row["key"] for row in told["rows"]}
    story = project.ask("explain", INCIDENT, "--json").document["rules"][0]
    assert (story["expected_row"], story["runs"], story["class"]) == (True, [run_id], None)


def test_a_rejected_plan_can_be_neither_approved_nor_applied(project: Project) -> None:
    made = planned(project)
    assert project.ask("reject", made, "--json").document["status"] == "rejected"
    assert project.ask("approve", made).code == 2
    refused(project.ask("apply", made, "--json"), "plan_not_approved")
    assert project.restored() == 0


def test_a_refusal_tells_a_person_the_guard_the_value_the_limit_and_what_to_do(project: Project) -> None:
    ended = project.run("apply", planned(project))
    told = {line.split()[0]: line.split(maxsplit=1)[1] for line in ended.stdout.splitlines()[1:5]}
    assert (ended.code, tuple(told)) == (4, REFUSAL)
    assert told["guard"] == "plan_not_approved"
    assert "sidecar approve" in told["do"]


def test_an_edited_plan_file_is_refused_as_such(project: Project) -> None:
    file = project.folder / "plan.json"
    made = planned(project, "--out", str(file))
    whole = file.read_text()
    assert project.ask("approve", made).code == 0
    file.write_text(whole.replace('"credits_balance": 1200', '"credits_balance": 120000'))
    for verb in ("apply", "show", "approve"):
        ended = project.ask(verb, str(file))
        assert (ended.code, ended.stdout, "was edited" in ended.stderr) == (2, "", True)
    document = json.loads(whole)
    document["hash"] = "0" * 64
    file.write_text(json.dumps(document))
    assert project.ask("apply", str(file)).code == 2
    assert project.restored() == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe\x00", b"[" * 100_000, b'{"format": 1, "rows": [1]}'])
def test_a_file_that_is_no_plan_is_refused_in_one_line(project: Project, content: bytes) -> None:
    file = project.folder / "plan.json"
    file.write_bytes(content)
    ended = project.ask("show", str(file))
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("sidecar: not a plan")


def test_names_that_are_neither_plan_nor_file_are_usage_errors(project: Project) -> None:
    for name in ("nope", str(project.folder), "x" * 5000):
        ended = project.ask("show", name)
        assert (ended.code, ended.stdout, ended.stderr.startswith("sidecar: ")) == (2, "", True)
    for words in (("runs", "nope"), ("detect", "nope"), ("check", "nope"), ("explain", "nope"), ("backfill", "nope")):
        ended = project.ask(*words)
        assert (ended.code, ended.stdout, "nope" in ended.stderr) == (2, "", True)


def test_a_plan_file_that_cannot_be_written_is_told_with_the_plan_that_waits(project: Project) -> None:
    (project.folder / "elsewhere").write_text("mine")
    (project.folder / "link").symlink_to(project.folder / "elsewhere")
    for out in (project.folder / "missing" / "plan.json", project.folder, project.folder / "link"):
        ended = project.ask("plan", RULE, "--out", str(out))
        assert (ended.code, "cannot be written" in ended.stderr) == (2, True)
    assert (project.folder / "elsewhere").read_text() == "mine"


def test_an_expired_plan_can_be_neither_approved_nor_applied(project: Project) -> None:
    project.write(rule={"plan_expires: 24h": "plan_expires: 1ms"})
    made = planned(project)
    ended = project.ask("approve", made)
    assert (ended.code, "expired at" in ended.stderr) == (2, True)
    with sqlite3.connect(project.state) as memory:
        memory.execute("update plans set status = 'approved'")
    memory.close()
    refused(project.ask("apply", made, "--json"), "plan_expired")
    assert project.restored() == 0


def test_a_plan_goes_stale_with_its_rule(project: Project) -> None:
    made = planned(project)
    assert project.ask("approve", made).code == 0
    project.write(rule={"full_name: {subject: user_metadata.full_name, on_missing: null}": "full_name: {const: Jo}"})
    assert "the rule changed" in refused(project.ask("apply", made, "--json"), "plan_stale")["refusal"]["value"]


def test_a_rule_that_observes_writes_for_nobody(project: Project) -> None:
    made = planned(project)
    assert project.ask("approve", made).code == 0
    project.write(rule={"mode: approve": "mode: observe"})
    refused(project.ask("backfill", RULE, "--json"), "mode")
    refused(project.ask("backfill", RULE, "--dry-run", "--json"), "mode")
    assert project.ask("apply", made).code == 4
    seen = project.ask("detect", RULE, "--json")
    assert (seen.code, rows_of(seen)["outcome"], rows_of(seen)["violations"]["repairable"]) == (1, "observed", 13)
    assert project.restored() == 0


def test_a_dry_run_decides_as_backfill_would_and_leaves_nothing_behind(project: Project) -> None:
    ended = project.ask("backfill", RULE, "--dry-run", "--json")
    assert (ended.code, ended.document["dry_run"], rows_of(ended)["planned"]) == (1, True, 13)
    with sqlite3.connect(project.state) as memory:
        assert memory.execute("select (select count(*) from plans) + (select count(*) from runs)").fetchone() == (0,)
    memory.close()
    assert project.restored() == 0
    told = project.ask("backfill", RULE, "--dry-run")
    assert "nothing was written" in told.stdout


def test_a_number_that_a_person_attests_repairs_a_user_whose_ledger_is_broken(project: Project) -> None:
    assert project.ask("backfill", RULE).code == 0
    user = key_of(project, "chain_broken")
    before = project.ask("explain", user, "--json").document["rules"][0]
    assert (before["class"], before["balance"], before["held"]) == (
        "chain_broken",
        {"unproven": "chain_broken"},
        ["chain_broken"],
    )
    attested = project.ask("attest", user, "--credits", "777", "--reason", "invoice 4711", "--as", "anna", "--json")
    assert (attested.code, attested.document["credits"], attested.document["by"]) == (0, "777", "anna")
    done = project.ask("backfill", RULE, "--json")
    assert (done.code, rows_of(done)["inserted"], rows_of(done)["verified"]) == (0, 1, True), done
    assert project.sql("select credits_balance from public.users where id = %s", user) == [(777,)]
    after = project.ask("explain", user, "--json").document["rules"][0]
    assert after["balance"] == {"credits": "777", "origin": "attested"}
    assert [anchor["origin"] for anchor in after["anchors"]] == ["attested"]
    assert (after["expected_row"], after["held"]) == (True, [])
    told = project.ask("explain", user).stdout
    assert "777 credits" in told


@pytest.mark.parametrize("number", ["-1", "nan", "inf", "1e9999999", "1e-9999999", "twelve", ""])
def test_a_number_that_is_no_balance_is_not_attested(project: Project, number: str) -> None:
    ended = project.ask("attest", INCIDENT, f"--credits={number}", "--reason", "because")
    assert (ended.code, ended.stdout, "--credits" in ended.stderr) == (2, "", True)


def test_nobody_attests_without_saying_where_the_number_comes_from(project: Project) -> None:
    ended = project.ask("attest", INCIDENT, "--credits", "5", "--reason", " ")
    assert (ended.code, "--reason" in ended.stderr) == (2, True)


def test_a_row_is_let_go_by_its_number_and_only_once(project: Project) -> None:
    project.ask("detect")
    held = project.ask("quarantine", "--json").document["quarantined"]
    assert {"chain_broken", "no_evidence", "email_taken"} <= {entry["reason"] for entry in held}
    number = str(held[0]["id"])
    assert project.ask("quarantine", "--release", number, "--json").document == {"released": int(number)}
    assert project.ask("quarantine", "--release", number).code == 2
    assert number not in {str(q["id"]) for q in project.ask("quarantine", "--json").document["quarantined"]}


def test_a_freeze_holds_everybody_until_exactly_it_is_lifted(project: Project) -> None:
    made = planned(project)
    assert project.ask("approve", made).code == 0
    assert project.ask("freeze", "--reason", "migration", "--as", "anna").code == 0
    for words in (("backfill", RULE), ("backfill", RULE, "--dry-run"), ("apply", made)):
        rule = refused(project.ask(*words, "--json"), "frozen")
        assert "anna" in rule["refusal"]["value"]
        assert "migration" in rule["refusal"]["value"]
    assert project.ask("unfreeze", RULE).code == 2
    assert project.ask("unfreeze", "--json").document["unfrozen"] == "*"
    assert project.ask("unfreeze").code == 2
    assert project.ask("apply", made).code == 0
    assert project.restored() == 13


def test_the_token_that_made_a_plan_cannot_approve_it(project: Project) -> None:
    tokened(project)
    made = str(rows_of(as_(project, "anna", "plan", RULE, "--json"))["plan_id"])
    own = as_(project, "anna", "approve", made)
    assert (own.code, "another token" in own.stderr) == (4, True)
    assert as_(project, "carl", "approve", made).code == 4  # carl may not approve at all
    assert project.ask("approve", made, "--as", "ben", environment={"SIDECAR_TOKEN": "wrong"}).code == 4
    assert project.ask("approve", made).code == 2
    assert as_(project, "ben", "approve", made).code == 0
    assert project.ask("show", made, "--json").document["approver"] == "ben"
    assert as_(project, "carl", "apply", made).code == 0
    assert project.restored() == 13


def tokened(project: Project) -> None:
    lines = "  drain: 15s\n  tokens:\n"
    for name, scopes in (("anna", "plan, approve"), ("ben", "approve"), ("carl", "operate")):
        file = project.folder / f"{name}.token"
        file.write_text(f"{name}-has-a-token-of-hers-or-his")
        file.chmod(0o600)
        lines += f"    - {{name: {name}, scopes: [{scopes}], file: {file}}}\n"
    project.write(main={"  drain: 15s\n": lines})


def as_(project: Project, name: str, *words: str) -> Ended:
    token = Path(project.folder / f"{name}.token").read_text()
    return project.ask(*words, "--as", name, environment={"SIDECAR_TOKEN": token})


def test_a_trigger_that_changes_what_was_written_fails_the_verification(project: Project) -> None:
    project.sql("""
        create function public.gift() returns trigger language plpgsql as
        $$ begin new.credits_balance := new.credits_balance + 100; return new; end $$;
        create trigger gift before insert on public.users for each row execute function public.gift();
    """)
    try:
        refused(project.ask("backfill", RULE, "--json"), "triggers_reviewed")
        project.write(rule={"triggers_reviewed: []": "triggers_reviewed: [gift]"})
        ended = project.ask("backfill", RULE, "--json")
    finally:
        project.sql("drop trigger gift on public.users; drop function public.gift()")
    assert (ended.code, rows_of(ended)["outcome"], rows_of(ended)["verified"]) == (5, "verify_failed", False), ended


def test_validate_tells_what_was_loaded(project: Project) -> None:
    assert project.ask("validate", "--json").document == {
        "problems": [],
        "checks": ["service-key", "backend-health"],
        "rules": [RULE],
        "remarks": [f"{RULE}: public.credit_transactions outlives a row of public.users: it can restore the row"],
    }
    assert not project.state.exists()


def test_check_tells_each_look(project: Project) -> None:
    ended = project.ask("check", "--json")
    assert ended.code == 0
    looks = ended.document["checks"]
    told = [(look["name"], look["kind"], look["verdict"], look["reason"]) for look in looks]
    assert told == [("service-key", "service_key", "healthy", "ok"), ("backend-health", "http", "healthy", "ok")]
    assert all(0 < look["duration_seconds"] < 10 for look in looks)
    assert [look["name"] for look in project.ask("check", "backend-health", "--json").document["checks"]] == [
        "backend-health"
    ]


def test_the_schema_describes_every_section_and_the_fixture_has_a_nonce_of_its_own() -> None:
    told = CliRunner().invoke(cli, ["schema"])
    assert (
        told.exit_code,
        {"supabase", "checks", "state", "server"} <= set(json.loads(told.stdout)["properties"]),
    ) == (
        0,
        True,
    )
    one, other = (CliRunner().invoke(cli, ["schema", "--fixture"]).stdout for _ in range(2))
    assert "sidecar_rls_probe" in one
    assert one != other
