"""The shipped files fit the real check kinds, and the reference names every key there is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import pydantic
import pytest

from sidecar.checks.kinds import KINDS
from sidecar.config.json_schema import json_schema
from sidecar.config.load import load
from sidecar.config.rule_schema import RuleSection
from sidecar.config.rule_survey import REPORTS
from sidecar.config.schema import CheckSection, NotificationSection, SidecarSection, TokenSection, WindowSection
from sidecar.config.settings import Notice, Scope
from tests.config.kinds import ENVIRON

ROOT = Path(__file__).parent.parent.parent
OPTIONAL = {
    "SIDECAR_DATABASE_URL": "postgresql://sidecar@127.0.0.1/velro",
    "SIDECAR_CANARY_EMAIL": "canary@example.com",
    "SIDECAR_CANARY_PASSWORD": "secret",
    "SIDECAR_CANARY_CREDITS": "100",
    "SIDECAR_BACKEND_LOG": "/var/log/backend.log",
}
MODELS = {name: kind.model for name, kind in KINDS.items()}


def documented(page: str) -> set[str]:
    text = (ROOT / "docs" / "reference" / page).read_text()
    return set(re.findall(r"^\| `([a-z_.]+)` \|", text, flags=re.MULTILINE))


def leaves(model: type[pydantic.BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        shapes = shapes_of(field.annotation)
        for shape in shapes:
            yield from leaves(shape, f"{above}{name}.")
        if not shapes:
            yield f"{above}{name}"


def shapes_of(kind: object) -> list[type[pydantic.BaseModel]]:
    """Return the models of a mapping that must be there: one, or each of a union."""
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    bare = [get_args(part)[0] if get_origin(part) is Annotated else part for part in parts]
    models = [part for part in bare if isinstance(part, type) and issubclass(part, pydantic.BaseModel)]
    return models if len(models) == len(parts) else []


def test_the_shipped_configuration_fits_the_real_check_kinds() -> None:
    config = load(ROOT / "sidecar.yaml", MODELS, ENVIRON)
    assert {check.kind for check in config.checks} == {"http", "service_key"}  # the five variables are enough
    whole = load(ROOT / "sidecar.yaml", MODELS, {**ENVIRON, **OPTIONAL})
    assert {check.kind for check in whole.checks} == KINDS.keys()
    assert {rule.guard.require_checks for rule in config.rules} == {("service-key",)}
    assert {survey.require_checks for survey in config.surveys} == {("service-key",)}


def test_the_reference_of_sidecar_yaml_names_every_key_and_no_other() -> None:
    sections = {
        *leaves(SidecarSection),
        *leaves(CheckSection),
        *leaves(TokenSection),
        *leaves(NotificationSection),
        *leaves(WindowSection),
    }
    assert documented("configuration.md") == sections


@pytest.mark.parametrize("word", [*Scope, *Notice])
def test_the_reference_names_every_scope_and_event(word: str) -> None:
    assert f"`{word}`" in (ROOT / "docs" / "reference" / "configuration.md").read_text()


def test_the_reference_of_rules_names_every_key_and_no_other() -> None:
    sections = [RuleSection, *REPORTS.values()]
    assert documented("rules.md") == {leaf for section in sections for leaf in leaves(section)}


def test_the_json_schema_has_a_shape_for_each_kind_and_every_reference_in_it_resolves() -> None:
    schema = json_schema(MODELS)
    shapes = {entry["$ref"] for entry in schema["properties"]["checks"]["items"]["anyOf"]}
    assert shapes == {f"#/$defs/check_{name}" for name in KINDS}
    assert {"name", "every", "url", "expect"} <= set(schema["$defs"]["check_http"]["properties"])
    assert schema["additionalProperties"] is False
    references = set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
    assert references <= set(schema["$defs"])
    assert "rule_file" in schema["$defs"]
