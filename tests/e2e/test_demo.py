"""The main job, end to end, and every fault that must stop it: `sidecar demo --once`."""

import re
from pathlib import Path
from typing import Any

import pytest

from sidecar.demo.backend import FRONTEND_ORIGIN
from tests.e2e.conftest import Ended, Sidecar

SIZE = ("--users", "2000", "--orphans", "37", "--seed", "7")


def _once(sidecar: Sidecar, *words: str) -> Ended:
    return sidecar("demo", "--once", "--json", *SIZE, *words)


def _rule(document: Any) -> Any:  # noqa: ANN401  # JSON
    return next(rule for rule in document["rules"] if rule["rule"] == "credits_without_profile")


def _check(document: Any, name: str) -> Any:  # noqa: ANN401  # JSON
    return next(check for check in document["checks"] if check["name"] == name)


def test_the_demo_restores_exactly_the_users_whose_balance_is_proven(sidecar: Sidecar) -> None:
    ended = _once(sidecar)
    assert ended.code == 0, ended.stdout + ended.stderr
    document, rule = ended.document, _rule(ended.document)
    assert document["seeded"]["repairable"] == 38
    assert (rule["outcome"], rule["planned"], rule["inserted"], rule["raced"]) == ("repaired", 38, 38, 0)
    assert rule["verified"] is True
    assert rule["looks"] == 2, "the confirming look followed at once, and says so"
    assert document["credits"]["drift"] == 0
    assert document["credits"]["restored_sum"] == document["credits"]["expected_sum"] > 1200
    told = dict(rule["quarantined"])
    told["too_young"] = rule["violations"].get("too_young", 0)
    assert told == document["seeded"]["unrepairable"]
    assert all(check["verdict"] == "healthy" for check in document["checks"]), document["checks"]


def test_a_second_run_on_the_same_data_finds_nothing_to_do(sidecar: Sidecar, shared_tmp: Path) -> None:
    first = _once(sidecar, "--data", str(shared_tmp / "demo"))
    assert (first.code, _rule(first.document)["inserted"]) == (0, 38), first.stderr
    second = _once(sidecar, "--data", str(shared_tmp / "demo"))
    assert second.code == 0, second.stderr
    assert (_rule(second.document)["outcome"], _rule(second.document)["inserted"]) == ("nothing_to_do", 0)
    exported = (shared_tmp / "demo" / "sidecar" / "env").read_text(encoding="utf-8").splitlines()
    assert f"export FRONTEND_ORIGIN={FRONTEND_ORIGIN}" in exported


@pytest.mark.parametrize(
    ("fault", "code", "named"),
    [
        ("anon_key", 4, "key_wrong_role"),
        ("forged_key", 4, "key_invalid"),
        ("expired_key", 4, "key_expired"),
        ("no_bypass", 4, "rls_still_applied"),
        ("rls_leak", 4, "rls_leak_anon"),
        ("auth_down", 3, "gateway_down"),
        ("rest_down", 3, "db_down|gateway_down"),
        ("truncated_reads", 3, "count_mismatch"),
    ],
)
def test_a_fault_that_blinds_it_writes_nothing_and_is_named(
    sidecar: Sidecar, fault: str, code: int, named: str
) -> None:
    ended = _once(sidecar, "--fault", fault)
    rule = _rule(ended.document)
    assert ended.code == code, ended.stdout + ended.stderr
    assert rule["outcome"] == {3: "unknown", 4: "refused"}[code]
    assert (rule["inserted"], rule["violations"], ended.document["credits"]["restored_sum"]) == (0, None, 0)
    assert re.search(named, rule["detail"]), rule["detail"]


def test_reads_cut_after_the_first_page_are_seen_on_small_tables_too(sidecar: Sidecar) -> None:
    ended = sidecar("demo", "--once", "--json", "--users", "200", "--orphans", "5", "--fault", "truncated_reads")
    rule = _rule(ended.document)
    assert (ended.code, rule["outcome"], rule["inserted"]) == (3, "unknown", 0), ended.stderr
    assert "count_mismatch" in rule["detail"]


def test_a_ledger_that_users_may_write_is_evidence_for_no_automatic_repair(sidecar: Sidecar) -> None:
    ended = _once(sidecar, "--fault", "forgeable_ledger")
    rule = _rule(ended.document)
    assert (ended.code, rule["refused_by"], rule["inserted"]) == (4, "ledger_forgeable", 0)
    assert rule["violations"]["ledger_forgeable"] == 38


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("wrong_balance", "credits-value"),
        ("backend_down", "backend-health"),
        ("cors_reflects", "cors"),
        ("forged_tokens_accepted", "credits-require-auth"),
    ],
)
def test_a_backend_that_lies_or_is_down_is_told_and_does_not_stop_the_repair(
    sidecar: Sidecar, fault: str, check: str
) -> None:
    ended = _once(sidecar, "--fault", fault)
    assert ended.code == 1, ended.stdout + ended.stderr
    assert _check(ended.document, check)["verdict"] == "unhealthy"
    assert (_rule(ended.document)["outcome"], _rule(ended.document)["inserted"]) == ("repaired", 38)


def test_the_shipped_guards_refuse_more_rows_than_they_allow(sidecar: Sidecar) -> None:
    ended = _once(sidecar, "--guards", "shipped")
    rule = _rule(ended.document)
    assert (ended.code, rule["refused_by"], rule["inserted"]) == (4, "max_percent", 0)
    assert rule["refusal"]["limit"].startswith("10 rows")


def test_more_orphans_than_users_is_a_usage_error(sidecar: Sidecar) -> None:
    ended = sidecar("demo", "--once", "--users", "3", "--orphans", "4")
    assert (ended.code, ended.stdout) == (2, "")
    assert "more orphans (4) than users (3)" in ended.stderr


def test_an_unknown_fault_is_a_usage_error_that_names_the_list(sidecar: Sidecar) -> None:
    ended = sidecar("demo", "--once", "--fault", "gremlins")
    assert (ended.code, ended.stdout) == (2, "")
    assert "there is no fault gremlins; there are anon_key" in ended.stderr
