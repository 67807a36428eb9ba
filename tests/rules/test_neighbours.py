"""Rules of one target table agree on the row, or the configuration is refused with both files named."""

import re
from dataclasses import replace

import pytest

from sidecar.config.load import load_rules, load_text
from sidecar.config.rule_remarks import remarks
from sidecar.domain.rule import Rule
from sidecar.domain.survey import Survey
from sidecar.errors import ConfigError
from tests.config.kinds import ENVIRON, KINDS, MINIMAL
from tests.rules.cast import RULES

LEDGER = (RULES / "credits_without_profile.yaml").read_text()
AUTH = (RULES / "auth_user_without_profile.yaml").read_text()
NAMES = ("auth_user_without_profile.yaml", "credits_without_profile.yaml")


def refused(first: str, second: str, names: tuple[str, str] = NAMES) -> str:
    with pytest.raises(ConfigError) as caught:
        load_rules({names[0]: first, names[1]: second})
    [problem] = caught.value.problems
    assert (problem.file, problem.line > 0) == (names[1], True)
    assert f"{names[0]} and {names[1]} repair one table, public.users" in problem.hint
    return f"{problem.path}: {problem.message}"


def test_the_shipped_rules_stand_together() -> None:
    rules = load_rules({path.name: path.read_text() for path in RULES.glob("*.yaml")})
    assert [rule.name for rule in rules if isinstance(rule, Rule)] == [name.removesuffix(".yaml") for name in NAMES]
    assert [rule.name for rule in rules if isinstance(rule, Survey)] == [
        "balance_differs_from_ledger", "profile_without_auth_user", "stuck_generations",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "by", "told"),
    [
        ("email: {subject: email}", "email: {subject: phone}", "repair.values.email: has another value"),
        ("restored_by: sidecar", "restored_by: somebody", "repair.values.metadata: has another value"),
        (r"    full_name: .*\n", "", "repair.values.*: has another value"),
        (r"\[attested, snapshot, ledger\]", "[snapshot, attested, ledger]", "credits_balance: has another value"),
        ("expects:  {table: public.users, key: id", "expects:  {table: public.users, key: email", "detect.expects"),
        (r"key: id, created: created_at}", "key: id, created: updated_at}", "detect.expects: names the key or"),
        (r"\[avatar_url, is_active,", "[avatar_url,", "repair.defaults_accepted: accepts other defaults"),
        ("key: user_id", "key: owner_id", "detect.evidence: leaves users to two rules"),
    ],
)
def test_a_row_that_two_rules_would_render_differently_is_refused(pattern: str, by: str, told: str) -> None:
    changed, count = re.subn(pattern, by, LEDGER, count=1)
    assert count == 1
    if "key: email" in by:
        changed = changed.replace("    id: {subject: id}\n", "").replace(
            "email: {subject: email}", "email: {subject: id}"
        )
    assert re.search(told, refused(AUTH, changed))


def test_users_whom_two_rules_would_both_claim_are_refused() -> None:
    without = re.sub(r"    without: .*\n", "", AUTH)
    assert "leaves users to two rules" in refused(without, LEDGER)


def test_two_ledgers_of_one_table_are_refused() -> None:
    other = LEDGER.replace("rule: credits_without_profile", "rule: z_other").replace(
        "table: public.credit_transactions", "table: public.other_ledger"
    )
    told = refused(LEDGER, other, ("credits_without_profile.yaml", "z_other.yaml"))
    assert "is another ledger than in another rule" in told


def test_rules_of_different_tables_have_nothing_to_agree_on() -> None:
    other = AUTH.replace("table: public.users", "table: public.profiles").replace(
        "email: {subject: email}", "email: {subject: phone}"
    )
    assert len(load_rules({NAMES[0]: other, NAMES[1]: LEDGER})) == 2


def test_without_a_database_each_rule_that_needs_one_is_remarked_on() -> None:
    rules = {path.name: path.read_text() for path in RULES.glob("*.yaml")}
    told = remarks(load_text(MINIMAL, rules, KINDS, ENVIRON))
    assert [line.partition(":")[0] for line in told] == [
        "auth_user_without_profile", "balance_differs_from_ledger", "profile_without_auth_user",
    ]  # fmt: skip
    direct = MINIMAL + "database:\n  url: postgresql://sidecar@127.0.0.1/postgres\n"
    config = load_text(direct, rules, KINDS, ENVIRON)
    assert remarks(config) == []
    without = remarks(replace(config, left_out={"service-key": "left out"}))
    assert len(without) == len(rules)
    assert "credits_without_profile: it requires service-key, which is left out; looks end as unknown" in without
