"""What a good configuration comes to: the shipped files, defaults, variables, secrets, tokens, digests."""

import pickle
from decimal import Decimal
from pathlib import Path

import pytest

from sidecar.checks.http_keys import HttpSpec
from sidecar.checks.kinds import KINDS as SHIPPED
from sidecar.checks.service_key_keys import ServiceKeySpec
from sidecar.config.load import load, load_text
from sidecar.config.settings import LogLevel, Notice, Scope
from sidecar.config.variables import Secret
from sidecar.domain.check import Severity
from sidecar.domain.rule import Constant, FromBalance, FromSubject, Mode, OnMissing, Origin, Skip, Table
from sidecar.errors import ConfigError
from tests.config.kinds import ENVIRON, KINDS, MINIMAL, HttpKind

ROOT = Path(__file__).parent.parent.parent
RULE = (ROOT / "rules" / "credits_without_profile.yaml").read_text()
RULES = {"credits_without_profile.yaml": RULE}


def refused(text: str, environ: dict[str, str] | None = None, rules: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(text, rules or {}, KINDS, dict(ENVIRON) if environ is None else environ)
    return str(caught.value)


def test_the_shipped_configuration_needs_only_environment_variables() -> None:
    config = load(ROOT / "sidecar.yaml", {name: kind.model for name, kind in SHIPPED.items()}, ENVIRON)
    assert config.supabase.url == "https://project.supabase.co"
    assert config.supabase.service_key.reveal() == "sb_secret_neverSHOWthis"
    assert config.backend_url == "http://127.0.0.1:8000"
    assert config.database_url is None
    assert config.state_url == "sqlite:///./var/sidecar.db"
    assert (config.server.host, config.server.port, config.drain_seconds) == ("127.0.0.1", 9877, 20.0)
    assert config.telemetry.otlp is None
    assert [rule.name for rule in config.rules] == ["auth_user_without_profile", "credits_without_profile"]
    reporting = ["balance_differs_from_ledger", "profile_without_auth_user", "stuck_generations"]
    assert [survey.name for survey in config.surveys] == reporting
    service_key, health = [check for check in config.checks if check.name in ("service-key", "backend-health")]
    assert (service_key.name, service_key.kind, service_key.severity) == (
        "service-key",
        "service_key",
        Severity.CRITICAL,
    )
    assert isinstance(service_key.spec, ServiceKeySpec)
    tables = ["public.users", "public.credit_transactions", "public.generations"]
    assert [str(table) for table in service_key.spec.tables] == tables
    assert isinstance(health.spec, HttpSpec)
    assert health.spec.url == "http://127.0.0.1:8000/health"


def test_the_shipped_rule_says_what_the_contract_prints() -> None:
    (rule,) = load_text(MINIMAL, RULES, KINDS, ENVIRON).rules
    assert (rule.mode, rule.severity, rule.every_seconds) == (Mode.APPROVE, Severity.CRITICAL, 300.0)
    assert rule.detect.ledger.table == Table("public", "credit_transactions")
    assert rule.detect.ledger.order == ("created_at", "id")
    assert rule.detect.skip == frozenset(Skip)
    assert rule.detect.expects.table == Table("public", "users")
    assert (rule.detect.min_age_seconds, rule.detect.confirmations) == (900.0, 2)
    assert rule.detect.max_change_percent == Decimal(20)
    assert rule.repair.values == {
        "id": FromSubject(path=("id",), on_missing=OnMissing.QUARANTINE),
        "email": FromSubject(path=("email",), on_missing=OnMissing.QUARANTINE),
        "full_name": FromSubject(path=("user_metadata", "full_name"), on_missing=OnMissing.NULL),
        "credits_balance": FromBalance(order=(Origin.ATTESTED, Origin.SNAPSHOT, Origin.LEDGER)),
        "metadata": Constant(value={"restored_by": "sidecar"}, plan_key="plan"),
    }
    assert rule.balance_column == "credits_balance"
    assert rule.plan_marker == ("metadata", "plan")
    assert rule.repair.plan_expires_seconds == 86400.0
    assert (rule.guard.max_rows, rule.guard.max_percent, rule.guard.max_rows_per_day) == (500, Decimal("0.5"), 5000)
    assert rule.guard.require_checks == ("service-key",)
    assert rule.verify_again_after_seconds == (60.0, 600.0)


def test_a_percentage_stays_the_number_that_was_written() -> None:
    text = RULE.replace("max_percent: 0.5 ", "max_percent: 0.1000000000000001 ")
    (rule,) = load_text(MINIMAL, {"credits_without_profile.yaml": text}, KINDS, ENVIRON).rules
    assert rule.guard.max_percent == Decimal("0.1000000000000001")


def test_defaults_are_the_documented_ones() -> None:
    config = load_text(MINIMAL, {}, KINDS, ENVIRON)
    check = config.checks[1]
    assert (check.every_seconds, check.timeout_seconds) == (60.0, 10.0)
    assert (check.severity, check.fail_after, check.pass_after) == (Severity.WARNING, 2, 1)
    assert config.telemetry.log_level is LogLevel.INFO
    assert config.telemetry.service_name == "supabase-sidecar"
    assert (config.notifications, config.maintenance.windows, config.server.tokens, config.server.tls) == (
        (),
        (),
        (),
        None,
    )
    assert config.backend_url is None


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30.0), ("5m", 300.0), ("24h", 86400.0), ("7d", 604800.0)]
)
def test_durations_become_seconds(written: str, seconds: float) -> None:
    text = MINIMAL + f"    every: {written}\n    timeout: 1ms\n"
    found = load_text(text, {}, KINDS, ENVIRON).checks[1].every_seconds
    assert (found, type(found)) == (seconds, float)


def test_missing_keys_do_not_stop_the_start() -> None:
    config = load_text(MINIMAL, {}, KINDS, {"SUPABASE_URL": "https://project.supabase.co"})
    assert not config.supabase.service_key
    assert not config.supabase.anon_key
    without = MINIMAL.replace("  service_key: ${SUPABASE_SERVICE_ROLE_KEY}\n", "")
    assert not load_text(without, {}, KINDS, ENVIRON).supabase.service_key


def test_empty_keys_do_not_stop_the_start() -> None:
    environ = {**ENVIRON, "SUPABASE_SERVICE_ROLE_KEY": ""}
    assert not load_text(MINIMAL, {}, KINDS, environ).supabase.service_key


def test_an_unset_url_does_stop_it() -> None:
    assert refused(MINIMAL, {}) == (
        "sidecar.yaml:2:8: supabase.url: the environment variable SUPABASE_URL is not set (export it)"
    )


def test_an_empty_url_does_stop_it() -> None:
    assert refused(MINIMAL, {"SUPABASE_URL": ""}) == "sidecar.yaml:2:8: supabase.url: must not be empty"


def test_only_the_given_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    assert "SUPABASE_URL is not set" in refused(MINIMAL, {})


def test_a_default_stands_in_for_an_unset_or_empty_variable() -> None:
    text = MINIMAL.replace("http://127.0.0.1:8000/health", "${URL:-http://127.0.0.1:1/x}$$${A:-}${B:-b}")
    for environ in (dict(ENVIRON), {**ENVIRON, "URL": "", "A": ""}):
        spec = load_text(text, {}, KINDS, environ).checks[1].spec
        assert isinstance(spec, HttpKind)
        assert spec.url == "http://127.0.0.1:1/x$b"
    spec = load_text(text, {}, KINDS, {**ENVIRON, "URL": "http://127.0.0.1:2/", "B": "c"}).checks[1].spec
    assert isinstance(spec, HttpKind)
    assert spec.url == "http://127.0.0.1:2/$c"


@pytest.mark.parametrize("value", ["a\nchecks: []", "{a: b}", "[1, 2]", "true", "12", "${SUPABASE_URL}", "# x", "null"])
def test_no_value_of_a_variable_changes_the_structure_or_is_expanded_again(value: str) -> None:
    text = MINIMAL + "    headers:\n      X-Value: ${VALUE}\n"
    spec = load_text(text, {}, KINDS, {**ENVIRON, "VALUE": value}).checks[1].spec
    assert isinstance(spec, HttpKind)
    assert spec.headers == {"X-Value": value}


def test_a_variable_that_is_not_text_is_refused() -> None:
    found = refused(MINIMAL, {**ENVIRON, "SUPABASE_URL": "https://\udcff.example"})
    assert found == "sidecar.yaml:2:8: supabase.url: the environment variable SUPABASE_URL is not text"


def test_words_that_yaml_1_1_takes_for_booleans_stay_text_in_quotes() -> None:
    text = MINIMAL + '    headers: {on: "off", X-Yes: "no"}\n'
    spec = load_text(text, {}, KINDS, ENVIRON).checks[1].spec
    assert isinstance(spec, HttpKind)
    assert spec.headers == {"on": "off", "X-Yes": "no"}


def test_a_secret_comes_from_a_file_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sb_secret_fromAfile\n")
    text = MINIMAL.replace("${SUPABASE_SERVICE_ROLE_KEY}", "file:key")
    config = load_text(text, {}, KINDS, ENVIRON, folder=tmp_path)
    assert config.supabase.service_key.reveal() == "sb_secret_fromAfile"


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root")
    text = MINIMAL + "    headers:\n      X-Value: file:passwd\n"
    spec = load_text(text, {}, KINDS, ENVIRON, folder=tmp_path).checks[1].spec
    assert isinstance(spec, HttpKind)
    assert spec.headers == {"X-Value": "file:passwd"}


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("sb_secret_neverSHOWthis")
    assert (str(secret), repr(secret), f"{secret}", f"{[secret]}") == ("***", "***", "***", "[***]")
    assert secret.reveal() == "sb_secret_neverSHOWthis"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    config = load_text(MINIMAL, {}, KINDS, ENVIRON)
    assert "SHOW" not in repr(config)
    assert "norTHIS" not in repr(config)


def conditions(*texts: str) -> str:
    """Return a check whose kind repeats its conditions in what it complains about."""
    return f"    expect: {[f'{text} ==' for text in texts]}\n"


def test_a_kind_cannot_show_the_value_of_a_variable() -> None:
    found = refused(MINIMAL + conditions("${NONCE}"), {**ENVIRON, "NONCE": "nonceSHOWNnever"})
    assert found == "sidecar.yaml:12:14: checks[1].expect[0]: '*** ==' is no condition"


def test_a_kind_cannot_show_a_secret_that_was_copied_into_its_keys(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sb_secret_fromAfile\n")
    text = MINIMAL.replace("${SUPABASE_SERVICE_ROLE_KEY}", "file:key") + conditions("sb_secret_fromAfile")
    with pytest.raises(ConfigError) as caught:
        load_text(text, {}, KINDS, ENVIRON, folder=tmp_path)
    assert str(caught.value) == "sidecar.yaml:12:14: checks[1].expect[0]: '*** ==' is no condition"


def test_a_kind_cannot_show_a_token_that_was_copied_into_its_keys(tmp_path: Path) -> None:
    write_tokens(tmp_path, "r" * 16, "a" * 16)
    found = refused_tokens(tmp_path, conditions("r" * 16) + TOKENS)
    assert found == "sidecar.yaml:12:14: checks[1].expect[0]: '*** ==' is no condition"


def test_a_secret_that_yaml_takes_for_the_handle_of_a_tag_is_not_shown() -> None:
    found = refused(MINIMAL.replace("${SUPABASE_SERVICE_ROLE_KEY}", "!neverSHOWthis!x y"))
    assert found == "sidecar.yaml:3:16: is not YAML: found undefined tag handle '…'"


TOKENS = """\
server:
  listen: 0.0.0.0:9877
  tokens:
    - {name: grafana, scopes: [read], file: read.token}
    - {name: anna, scopes: [plan, approve, operate], file: anna.token}
"""


def write_tokens(folder: Path, read: str, anna: str, mode: int = 0o600) -> None:
    for name, value in (("read.token", read), ("anna.token", anna)):
        (folder / name).write_text(value + "\n")
        (folder / name).chmod(mode)


def refused_tokens(folder: Path, text: str = TOKENS) -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(MINIMAL + text, {}, KINDS, ENVIRON, folder=folder)
    return str(caught.value)


def test_with_tokens_the_server_may_listen_anywhere(tmp_path: Path) -> None:
    write_tokens(tmp_path, "r" * 16, "a" * 16)
    server = load_text(MINIMAL + TOKENS, {}, KINDS, ENVIRON, folder=tmp_path).server
    assert (server.host, server.port) == ("0.0.0.0", 9877)  # noqa: S104  # the point of the test
    grafana, anna = server.tokens
    assert (grafana.name, grafana.value.reveal()) == ("grafana", "r" * 16)
    assert grafana.scopes == {Scope.READ}
    assert anna.scopes == {Scope.PLAN, Scope.APPROVE, Scope.OPERATE}


def test_a_token_that_is_too_short_is_refused_without_being_shown(tmp_path: Path) -> None:
    write_tokens(tmp_path, "r" * 15, "a" * 16)
    found = refused_tokens(tmp_path)
    assert found.startswith("sidecar.yaml:15:45: server.tokens[0].file: the file holds no usable token")
    assert "r" * 15 not in found


def test_a_token_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    write_tokens(tmp_path, "r" * 16, "a" * 16, mode=0o644)
    assert refused_tokens(tmp_path).count("the file can be read or written by everybody (chmod 600)") == 2


def test_two_names_for_one_token_are_refused_since_an_approver_must_be_another(tmp_path: Path) -> None:
    write_tokens(tmp_path, "r" * 16, "r" * 16)
    assert refused_tokens(tmp_path) == (
        "sidecar.yaml:16:60: server.tokens[1].file: holds the same token as another file"
    )


def test_two_tokens_of_one_name_are_refused(tmp_path: Path) -> None:
    write_tokens(tmp_path, "r" * 16, "a" * 16)
    found = refused_tokens(tmp_path, TOKENS.replace("anna,", "grafana,"))
    assert found == "sidecar.yaml:16:14: server.tokens[1].name: is the name of another token"


@pytest.mark.parametrize("listen", ["127.0.0.1:9877", "127.1.2.3:1", "localhost:0", '"[::1]:9877"'])
def test_loopback_needs_no_tokens(listen: str) -> None:
    server = load_text(f"{MINIMAL}server:\n  listen: {listen}\n", {}, KINDS, ENVIRON).server
    assert f"{server.host}:{server.port}" == listen.strip('"').replace("[", "").replace("]", "")


def test_a_notification_hears_of_everything_unless_told_otherwise() -> None:
    text = MINIMAL + "notifications: [{url: 'https://hooks.example/T0'}, {url: 'http://h/', events: [run_ended]}]\n"
    every, one = load_text(text, {}, KINDS, ENVIRON).notifications
    assert every.events == frozenset(Notice)
    assert every.url.reveal() == "https://hooks.example/T0"
    assert one.events == {Notice.RUN_ENDED}


def digest_of(*changes: tuple[str, str]) -> str:
    text = RULE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (rule,) = load_text(MINIMAL, {"credits_without_profile.yaml": text}, KINDS, ENVIRON).rules
    return rule.digest


@pytest.mark.parametrize(
    "change",
    [
        ("mode: approve", "mode: auto"),
        ("owner: billing", "owner: growth"),
        ("severity: critical", "severity: info"),
        ("every: 5m", "every: 1m"),
        ("summary: A user", "summary: One user"),
        ("runbook: docs/", "runbook: https://example.org/docs/"),
        ("min_age: 15m", "min_age: 900s"),
        ("max_percent: 0.5 ", "max_percent: 0.50 "),
        ("skip: [deleted, banned, anonymous]", "skip: [anonymous, deleted, banned]"),
        ("email: {subject: email}", "email: {on_missing: quarantine, subject: email}"),
        ("  confirmations: 2 ", "  max_change_percent: 20\n  confirmations: 2 "),
    ],
)
def test_what_does_not_change_a_repair_keeps_the_digest(change: tuple[str, str]) -> None:
    assert digest_of(change) == digest_of()


@pytest.mark.parametrize(
    "change",
    [
        ("min_age: 15m", "min_age: 16m"),
        ("confirmations: 2", "confirmations: 3"),
        ("max_rows: 500", "max_rows: 501"),
        ("max_percent: 0.5 ", "max_percent: 0.6 "),
        ("order: [created_at, id]", "order: [id, created_at]"),
        ("[attested, snapshot, ledger]", "[attested, ledger, snapshot]"),
        ("on_missing: null", "on_missing: quarantine"),
        ("restored_by: sidecar", "restored_by: somebody"),
        ("plan: plan}", "plan: plan_id}"),
        ("again_after: [1m, 10m]", "again_after: [1m]"),
        ("triggers_reviewed: []", "triggers_reviewed: [welcome_bonus]"),
        ("skip: [deleted, banned, anonymous]", "skip: [deleted, banned]"),
        ("plan_expires: 24h", "plan_expires: 25h"),
        ("defaults_accepted: [avatar_url, ", "defaults_accepted: ["),
    ],
)
def test_what_changes_a_repair_changes_the_digest(change: tuple[str, str]) -> None:
    assert digest_of(change) != digest_of()


def test_the_configuration_digest_follows_the_texts_and_not_the_secrets() -> None:
    def digest(text: str = MINIMAL, rule: str = RULE, key: str = "sb_secret_a") -> str:
        environ = {**ENVIRON, "SUPABASE_SERVICE_ROLE_KEY": key}
        return load_text(text, {"credits_without_profile.yaml": rule}, KINDS, environ).digest

    assert digest(key="sb_secret_b") == digest()
    assert digest(text=MINIMAL + "# edited\n") != digest()
    assert digest(rule=RULE + "# edited\n") != digest()


def test_rules_come_in_file_name_order() -> None:
    rules = {f"{name}.yaml": RULE.replace("rule: credits_without_profile", f"rule: {name}") for name in ("b", "c", "a")}
    assert [rule.name for rule in load_text(MINIMAL, rules, KINDS, ENVIRON).rules] == ["a", "b", "c"]


def test_a_rule_needs_a_service_key_check_to_be_configured() -> None:
    text = MINIMAL.replace("kind: service_key\n    tables: [public.users]", "kind: http\n    url: http://127.0.0.1:1/")
    expected = (
        "must name a check of kind service_key: without its proof a read may lie (configure a check of that kind)"
    )
    assert expected in refused(text, rules=RULES)
