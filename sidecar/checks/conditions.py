"""Conditions on an answer, written in CEL. Only the boolean true holds.

cel-expr-python 0.1.3 returns evaluation errors as truthy values of type ERROR, and raises RuntimeError where its step
budget (10,000 iterations) is spent; both become `Errored` here. Source: its behaviour, held by tests/checks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

from sidecar.domain.check import JSON
from sidecar.domain.looked_at import looked_at, shown_values

TEXT_AT_MOST = 2_000  # characters of one condition
TOLD_AT_MOST = 300  # of them in a detail


class Shape(Enum):
    """What type a name has for the compiler. ANY is checked at evaluation, so that `latency_seconds < 1` compiles."""

    INT = "int"
    STRING = "string"
    STRINGS = "map of strings"
    NUMBERS = "map of numbers"
    ANY = "any"


ANSWER_NAMES: Mapping[str, Shape] = {
    "status": Shape.INT,
    "headers": Shape.STRINGS,
    "body": Shape.ANY,
    "text": Shape.STRING,
    "latency_seconds": Shape.ANY,
    "phases": Shape.NUMBERS,
    "certificate": Shape.ANY,
}


@dataclass(frozen=True, slots=True)
class Held:
    """The condition evaluated to true."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The condition evaluated to anything but true. `detail` names what it looked at, short, secrets masked."""

    detail: str


@dataclass(frozen=True, slots=True)
class Errored:
    """The condition could not be evaluated. `detail` holds nothing of the answer."""

    detail: str


Evaluated: TypeAlias = Held | Failed | Errored


@dataclass(frozen=True, slots=True)
class Condition:
    """One compiled condition. `names` are the bindings that its text mentions."""

    text: str
    names: tuple[str, ...]
    _program: Any = field(repr=False, compare=False)  # cel.Expression; the package publishes no types

    def holds(self, bindings: Mapping[str, JSON], secrets: Iterable[str] = ()) -> Evaluated:
        """Evaluate on the answer's values; where it does not hold, tell them without `secrets`."""
        try:
            # Only what the text mentions: the library converts whatever it is given.
            value = self._program.eval(data={name: bindings[name] for name in self.names if name in bindings})
            kind, result = value.type().name(), value.value()
        except RuntimeError as error:
            return Errored(f"{self.text}: {_reason(str(error))}")
        if kind == "ERROR":
            return Errored(f"{self.text}: {_reason(str(result))}")
        if kind == "BOOL" and result is True:
            return Held()
        why = [] if kind == "BOOL" else [f"the result is {kind.lower()}, not a boolean"]
        seen = shown_values(looked_at(self.text, self.names), bindings, secrets)
        told = "; ".join([*why, *([seen] if seen else [])])
        return Failed(f"{_cut(self.text)}: {told}" if told else _cut(self.text))

    def value(self, bindings: Mapping[str, JSON]) -> JSON | Errored:
        """Evaluate as an expression, and return what it came to."""
        try:
            value = self._program.eval(data=dict(bindings))
            kind, result = value.type().name(), value.value()
        except RuntimeError as error:
            return Errored(f"{self.text}: {_reason(str(error))}")
        if kind == "ERROR":
            return Errored(f"{self.text}: {_reason(str(result))}")
        if not isinstance(result, bool | int | float | str):
            return Errored(f"{self.text}: the result is {kind.lower()}, not a single value")
        return result


def compile_condition(text: str, names: Mapping[str, Shape] = ANSWER_NAMES) -> Condition:
    """Compile a condition over `names`.

    Raises: ValueError for a text that does not compile, an unknown name included.
    """
    if len(text) > TEXT_AT_MOST:
        message = f"a condition of {len(text)} characters; at most {TEXT_AT_MOST}"
        raise ValueError(message)
    try:
        program = _environment(tuple(names.items())).compile(text)
    except RuntimeError as error:
        raise ValueError(_complaint(str(error), names)) from error
    used = tuple(name for name in names if re.search(rf"\b{name}\b", text))
    return Condition(text=text, names=used, _program=program)


@lru_cache(maxsize=16)
def _environment(names: tuple[tuple[str, Shape], ...]) -> Any:  # noqa: ANN401  # the package publishes no types
    """Return the compiler over `names`. Programs share it: one of their own each would take 150 kB."""
    from cel_expr_python import cel  # noqa: PLC0415  # a native library, needed only where there are conditions

    types = {
        Shape.INT: cel.Type.INT,
        Shape.STRING: cel.Type.STRING,
        Shape.STRINGS: cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        Shape.NUMBERS: cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
        Shape.ANY: cel.Type.DYN,
    }
    return cel.NewEnv(variables={name: types[shape] for name, shape in names})


_COMPLAINT = re.compile(r"ERROR: <input>:-?\d+:(-?\d+): (.*)")


def _complaint(raw: str, names: Mapping[str, Shape]) -> str:
    """Render the compiler's first complaint on one line."""
    match = _COMPLAINT.search(raw)
    if match is None:
        return f"not a CEL expression: {raw.splitlines()[0] if raw else 'no reason given'}"
    column, complaint = match.groups()
    unknown = re.match(r"undeclared reference to '(.*?)'", complaint)
    if unknown:
        return f"unknown name {unknown.group(1)!r} in a condition; known are {', '.join(names)}"
    return f"not a CEL expression: {complaint} (character {column})"


def _reason(raw: str) -> str:
    """Cut an evaluation error before anything that may come from the answer: quoted text, or what follows a colon."""
    _, _, message = raw.partition(": ")
    return re.split(r"['\":]", message or raw, maxsplit=1)[0].strip()


def _cut(text: str) -> str:
    """Keep the detail short; `facts.condition` has the whole text."""
    return text if len(text) <= TOLD_AT_MOST else text[:TOLD_AT_MOST] + "…"


def used_names(conditions: Sequence[Condition]) -> frozenset[str]:
    """Return every binding that some condition mentions."""
    return frozenset(name for condition in conditions for name in condition.names)
