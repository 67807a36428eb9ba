"""Runs a pydantic model over a part of a document, and says in our words and with our places what did not fit."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path as FilePath
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

import pydantic
from pydantic_core import ErrorDetails

from sidecar.config.document import Document, Path, Plain
from sidecar.config.problems import Problems, closest, hide_in, suggest

Model = TypeVar("Model", bound=pydantic.BaseModel)

TAG = "source:"  # begins the tags of unions, which are parts of pydantic's locations but not of the text

_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
}


def validate(
    model: type[Model], document: Document, path: Path, problems: Problems, inherited: Iterable[str] = ()
) -> Model | None:
    """Return what `model` reads at `path`, or None after noting every problem.

    `inherited` are keys that stand beside the model's own, for suggestions.
    """
    try:
        return model.model_validate(document.at(*path))
    except pydantic.ValidationError as error:
        report(error, model, document, path, problems, inherited)
        return None


def validate_kind(
    model: type[Model],
    document: Document,
    path: Path,
    own: Mapping[str, Plain],
    problems: Problems,
    *,
    inherited: Iterable[str],
    hidden: Iterable[str],
    folder: FilePath,
) -> Model | None:
    """Return what a check kind's model reads in its `own` keys; `hidden` values never show in its messages.

    The model finds `folder`, where relative paths begin, in its context.

    Strict, and as JSON: no text becomes a number or a boolean, but a list may become a tuple and a word an enum.
    """
    try:
        return model.model_validate_json(json.dumps(own, default=_number), strict=True, context={"folder": folder})
    except pydantic.ValidationError as error:
        report(error, model, document, path, problems, inherited, hidden)
        return None


def _number(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value).__name__)


def report(
    error: pydantic.ValidationError,
    model: type[pydantic.BaseModel],
    document: Document,
    path: Path,
    problems: Problems,
    inherited: Iterable[str] = (),
    hidden: Iterable[str] = (),
) -> None:
    """Note each of pydantic's errors as a problem."""
    details = error.errors(include_url=False, include_input=False)
    unknown = [(_inside(detail), detail) for detail in details if detail["type"] == "extra_forbidden"]
    misspelt: set[Path] = set()
    for inside, _ in unknown:
        known = {*fields_at(model, inside[:-1]), *(inherited if len(inside) == 1 else ())}
        name = str(inside[-1])
        if name in known:
            hint = "it does not go together with the keys beside it"
        else:
            hint = suggest(name, known)
            misspelt.add((*inside[:-1], closest(name, known) or name))
        problems.add_key(document, (*path, *inside), "is not a known key", hint)
    for detail in details:
        inside = _inside(detail)
        at = (*path, *inside)
        if _follows(detail, inside, misspelt, document.at(*at)):
            continue
        blame = problems.add_key if detail["loc"] and detail["loc"][-1] == "[key]" else problems.add
        blame(document, at, *_say(detail, hidden))


def _inside(detail: ErrorDetails) -> Path:
    """Return pydantic's location without what stands only in the model."""
    return tuple(part for part in detail["loc"] if not str(part).startswith(TAG) and part != "[key]")


def _follows(detail: ErrorDetails, inside: Path, misspelt: set[Path], found: Plain) -> bool:
    """Say whether an error only follows from another one: a key that was misspelt, a list whose items were refused."""
    if detail["type"] == "too_short":
        return isinstance(found, (list, dict)) and len(found) >= detail["ctx"]["min_length"]
    return detail["type"] == "extra_forbidden" or (detail["type"] == "missing" and inside in misspelt)


def _say(detail: ErrorDetails, hidden: Iterable[str]) -> tuple[str, str]:
    context = detail.get("ctx", {})
    if detail["type"] in {"too_short", "too_long"}:
        limit = context.get("min_length", context.get("max_length"))
        word = "least" if detail["type"] == "too_short" else "most"
        return f"must have at {word} {limit} entr{'y' if limit == 1 else 'ies'}", ""
    message = _WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    hint = context.get("hint")
    return hide_in(message, hidden), hide_in(hint, hidden) if isinstance(hint, str) else ""


def fields_at(model: type[pydantic.BaseModel], inside: Path) -> set[str]:
    """Return the keys that a model knows at a path inside it."""
    models = {model}
    for part in inside:
        nested = [m.model_fields[part].annotation for m in models if isinstance(part, str) and part in m.model_fields]
        if nested:
            models = {found for annotation in nested for found in _models_in(annotation)}
    return {name for found in models for name in found.model_fields}


def _models_in(annotation: Any) -> set[type[pydantic.BaseModel]]:  # noqa: ANN401  # any annotation at all
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return {annotation} if issubclass(annotation, pydantic.BaseModel) else set()
    parts = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return {found for part in parts if part is not NoneType for found in _models_in(part)}
