"""Loads sidecar.yaml and the rules beside it: a whole configuration, or every problem at once."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath

import pydantic

from sidecar.config.checks import LeftOut, kinds_of, read_checks
from sidecar.config.document import Document, Path
from sidecar.config.fields import is_http_url
from sidecar.config.maintenance import read_windows
from sidecar.config.problems import Problems
from sidecar.config.rules import read_rules
from sidecar.config.schema import DEFAULT_STATE, SECRETS, SidecarSection
from sidecar.config.server import judge_server, read_server
from sidecar.config.settings import (
    Config,
    ConnectivityConfig,
    NotificationConfig,
    ServerConfig,
    SupabaseConfig,
    TelemetryConfig,
)
from sidecar.config.validate import validate
from sidecar.config.variables import Expanded, expand, reveal_files
from sidecar.config.yaml_text import parse, read_file
from sidecar.domain.check import Check
from sidecar.domain.maintenance import Calendar
from sidecar.domain.rule import Rule
from sidecar.domain.survey import Survey

# A missing key must not stop the start: the service_key check says `key_missing`, and repairs refuse.
MAY_BE_UNSET: frozenset[Path] = frozenset({("supabase", "service_key"), ("supabase", "anon_key")})


def load(config_path: FilePath, kinds: Mapping[str, type[pydantic.BaseModel]], environ: Mapping[str, str]) -> Config:
    """Read a configuration from files.

    Shape: `kinds` maps a check kind to the model of its own keys, which has `to_spec()`.
    Raises: ConfigError with every problem of sidecar.yaml and of every rule file.
    """
    problems = Problems()
    text = read_file(config_path, problems)
    expanded = None if text is None else _read_main(str(config_path), text, config_path.parent, environ, problems)
    rules = _rule_texts(expanded.document if expanded else None, config_path.parent, problems)
    return _assemble(text or "", expanded, rules, kinds, config_path.parent, problems)


def load_text(
    text: str,
    rules: Mapping[str, str],
    kinds: Mapping[str, type[pydantic.BaseModel]],
    environ: Mapping[str, str],
    *,
    file: str = "sidecar.yaml",
    folder: FilePath = FilePath(),
) -> Config:
    """Read a configuration from texts; `rules` maps a rule file's name to its text, `folder` is where `file:` begins.

    Raises: ConfigError.
    """
    problems = Problems()
    expanded = _read_main(file, text, folder, environ, problems)
    return _assemble(text, expanded, rules, kinds, folder, problems)


def load_rules(texts: Mapping[str, str]) -> tuple[Rule | Survey, ...]:
    """Read rules alone, by file name; whether the checks that they require exist is not asked. Raises: ConfigError."""
    problems = Problems()
    repairing, surveys = read_rules(texts, None, problems)
    problems.raise_any()
    return (*repairing, *surveys)


def load_rule_folder(config_path: FilePath) -> tuple[Rule | Survey, ...]:
    """Read the rules of a configuration whose variables need not be set. Raises: ConfigError."""
    problems = Problems()
    text = read_file(config_path, problems)
    document = None if text is None else parse(str(config_path), text, problems)
    texts = _rule_texts(document, config_path.parent, problems)
    problems.raise_any()
    return load_rules(texts)


def _read_main(
    file: str, text: str, folder: FilePath, environ: Mapping[str, str], problems: Problems
) -> Expanded | None:
    document = parse(file, text, problems)
    if document is None:
        return None
    expanded = expand(document, environ, problems, MAY_BE_UNSET)
    return reveal_files(expanded, SECRETS, folder, problems)


def _rule_texts(main: Document | None, folder: FilePath, problems: Problems) -> dict[str, str]:
    """Return the texts of the rule files by path, in file-name order."""
    document = main or Document(file="")
    named = document.at("rules", "path")
    directory = folder / (named if isinstance(named, str) and named else "rules")
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except (OSError, ValueError) as error:
        if main:
            reason = error.strerror if isinstance(error, OSError) else "not a usable path"
            problems.add(document, ("rules", "path"), f"the folder cannot be read: {reason}", "it holds the rule files")
        return {}
    texts = {}
    for name in names:
        if name.endswith(".yaml"):
            text = read_file(directory / name, problems)
            if text is not None:
                texts[str(directory / name)] = text
        elif name.endswith(".yml"):
            problems.add(
                document, ("rules", "path"), f"the folder holds {name}, which would be ignored", "rename it to .yaml"
            )
    return texts


def _assemble(
    text: str,
    expanded: Expanded | None,
    rule_texts: Mapping[str, str],
    kinds: Mapping[str, type[pydantic.BaseModel]],
    folder: FilePath,
    problems: Problems,
) -> Config:
    document = expanded.document if expanded else None
    config = None
    root = validate(SidecarSection, document, (), problems) if document else None
    checks: tuple[Check, ...] = ()
    kinds_of_checks = None
    tokens: Mapping[int, str] = {}
    if expanded and document:
        tokens = judge_server(document, folder, problems)
        _judge_state(document, problems)
        checks = read_checks(expanded, kinds, _backend_url(document), folder, problems)
        kinds_of_checks = kinds_of(document) if document.list_at("checks") else None
    rules, surveys = read_rules(rule_texts, kinds_of_checks, problems)
    if document and root:
        _judge_signals(document, rules, problems)
        server = read_server(root.server, tokens, document, folder, problems)
        windows = read_windows(root.maintenance, kinds_of(document), document, problems)
        config = _config(root, checks, (rules, surveys), _digest(text, rule_texts), server, Calendar(windows))
    problems.raise_any()
    if config is None:
        raise RuntimeError("a configuration was refused without a problem")
    return config


def _judge_state(document: Document, problems: Problems) -> None:
    if document.at("database", "url") and document.at("state", "url"):
        message = "must not be set together with database.url: state then lives in that database"
        problems.add(document, ("state", "url"), message, "leave one of them out")


def _freeze_file(root: SidecarSection) -> FilePath:
    """Return where the file is looked for that freezes everything: beside the memory, unless it is named."""
    if root.state.freeze_file is not None:
        return FilePath(root.state.freeze_file)
    memory = DEFAULT_STATE if root.database.url else root.state.url
    return FilePath(memory.removeprefix("sqlite:///")).parent / "freeze"


def _judge_signals(document: Document, rules: Sequence[Rule], problems: Problems) -> None:
    named = sorted(rule.name for rule in rules if rule.guard.signals)
    if named and not document.at("telemetry", "prometheus"):
        message = f"is not set, and {named[0]} names signals that are asked of it"
        problems.add(document, ("telemetry", "prometheus"), message, "without it that rule would never write")


def _backend_url(document: Document) -> str | None:
    url = document.at("backend", "url")
    return url.rstrip("/") if isinstance(url, str) and is_http_url(url) else None


def _digest(text: str, rule_texts: Mapping[str, str]) -> str:
    together = hashlib.sha256(text.encode())
    for file in sorted(rule_texts):
        together.update(hashlib.sha256(rule_texts[file].encode()).digest())
    return together.hexdigest()


def _config(
    root: SidecarSection,
    checks: tuple[Check, ...],
    rules: tuple[tuple[Rule, ...], tuple[Survey, ...]],
    digest: str,
    server: ServerConfig,
    maintenance: Calendar,
) -> Config:
    return Config(
        supabase=SupabaseConfig(
            url=root.supabase.url, service_key=root.supabase.service_key, anon_key=root.supabase.anon_key
        ),
        database_url=root.database.url,
        backend_url=root.backend.url,
        checks=tuple(check for check in checks if not isinstance(check.spec, LeftOut)),
        left_out={check.name: check.spec.why for check in checks if isinstance(check.spec, LeftOut)},
        rules=rules[0],
        surveys=rules[1],
        state_url=root.state.url,
        freeze_file=_freeze_file(root),
        server=server,
        telemetry=TelemetryConfig(
            otlp=root.telemetry.otlp,
            prometheus=root.telemetry.prometheus,
            service_name=root.telemetry.service_name,
            log_level=root.telemetry.log_level,
        ),
        notifications=tuple(
            NotificationConfig(url=entry.url, events=frozenset(entry.events)) for entry in root.notifications
        ),
        maintenance=maintenance,
        connectivity=ConnectivityConfig(targets=root.connectivity.targets, timeout_seconds=root.connectivity.timeout),
        drain_seconds=root.server.drain,
        digest=digest,
    )
