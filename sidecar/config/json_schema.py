"""JSON Schemas of sidecar.yaml and of a rule file, for editors and for `sidecar schema`."""

from collections.abc import Mapping
from typing import Any

import pydantic

from sidecar.config.rule_schema import RuleSection
from sidecar.config.rule_survey import REPORTS
from sidecar.config.schema import CheckSection, SidecarSection

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kinds: Mapping[str, type[pydantic.BaseModel]]) -> dict[str, Any]:
    """Return the JSON Schema of sidecar.yaml with one shape of check for each kind, and the rule file's in `$defs`."""
    document = _of(SidecarSection)
    definitions = document.setdefault("$defs", {})
    for kind, model in sorted(kinds.items()):
        check, own = _of(CheckSection), _of(model)
        definitions |= own.pop("$defs", {}) | check.pop("$defs", {})
        definitions[f"check_{kind}"] = {
            "type": "object",
            "properties": check["properties"] | own.get("properties", {}) | {"kind": {"const": kind}},
            "required": sorted({*check.get("required", ()), *own.get("required", ())}),
            "additionalProperties": False,
        }
    document["properties"]["checks"]["items"] = {"anyOf": [{"$ref": f"#/$defs/check_{kind}"} for kind in sorted(kinds)]}
    shapes = {"missing_row": _of(RuleSection), **{kind: _of(model) for kind, model in REPORTS.items()}}
    for kind, shape in shapes.items():
        definitions |= shape.pop("$defs", {})
        definitions[f"rule_{kind}"] = shape
    definitions["rule_file"] = {"anyOf": [{"$ref": f"#/$defs/rule_{kind}"} for kind in shapes]}
    return {"$schema": DIALECT, **document}


def _of(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template="#/$defs/{model}", mode="validation")
