"""Whatever the text, the loader answers with a configuration or with problems and their places, and with no secret."""

import json
import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.config.load import load_text
from sidecar.config.settings import Config
from sidecar.domain.rule import Rule
from sidecar.domain.survey import Survey
from sidecar.errors import ConfigError, Problem
from tests.config.kinds import ENVIRON, KINDS, MINIMAL

ROOT = Path(__file__).parent.parent.parent
RULE = (ROOT / "rules" / "credits_without_profile.yaml").read_text()
SHIPPED = (ROOT / "sidecar.yaml").read_text()
NAME = "credits_without_profile.yaml"
SHIPPED_RULES = {path.name: path.read_text() for path in sorted((ROOT / "rules").glob("*.yaml"))}
TRIED = 300  # mutated rule files, drawn from those of every shipped rule

Place: TypeAlias = tuple[int, ...]


def answer(text: str, rule: str = RULE, name: str = NAME) -> Config | tuple[Problem, ...]:
    try:
        return load_text(text, {name: rule}, KINDS, ENVIRON)
    except ConfigError as error:
        return error.problems


PIECES = (
    *("\t", "- ", ": ", "? ", "{", "}", "[", "]", "&a ", "*a", "!!x ", "|\n", ">\n", '"', "'", "---\n", "...\n", "#"),
    *("%YAML 9.9\n", "\\U99999999", '"\\UFFFFFFFF"', '"\\ud800"', "\ufeff", "\x85", "\u2028", "${", "${A}", "$$"),
    *("\n", "<<: ", "1e9", "0x1", "9" * 40, "-0", "~", "null", "true", "checks:\n", "  - name: a\n", "rule: "),
)
FRAGMENTS = st.text(max_size=20) | st.sampled_from(PIECES)


@st.composite
def bent(draw: st.DrawFn, text: str) -> str:
    """Bend a good text: put things in, and take things out."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 3, 10, 40])))
        text = text[:start] + draw(FRAGMENTS) + text[end:]
    return text


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=12).map("".join), bent(SHIPPED)))
@example('a: "\\UFFFFFFFF"')
@example("[" * 5000)
@example("- " * 5000)
@example("a: " * 100)
@example("? " * 3000)
@example("")
def test_no_text_of_sidecar_yaml_crashes_the_loader(text: str) -> None:
    assert answer(text)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=12).map("".join), bent(RULE)))
@example("rule: credits_without_profile\nrepair: {values: {subject: {const: 1}, const: {}}}")
@example("{}")
def test_no_text_of_a_rule_crashes_the_loader(text: str) -> None:
    assert answer(MINIMAL, text)


@settings(max_examples=200, deadline=None)
@given(
    prefix=st.text(st.sampled_from("*&!|>'\"[]#%@` \t:-?,$a1.\\"), max_size=4),
    suffix=st.text(st.sampled_from("*&!|>'\"[]{}#%@` \t:-?,$a1.\\"), max_size=4),
    key=st.sampled_from(["service_key: ${SUPABASE_SERVICE_ROLE_KEY}", "anon_key: ${SUPABASE_ANON_KEY}"]),
)
def test_a_secret_pasted_into_the_text_never_shows_in_a_problem(prefix: str, suffix: str, key: str) -> None:
    name = key.split(":", maxsplit=1)[0]
    text = MINIMAL.replace(key, f"{name}: {prefix}neverSHOWthis{suffix}").replace("    kind: http", "    kind: htp")
    found = answer(text)
    assert not isinstance(found, Config)
    assert "neverSHOWthis" not in "".join(map(str, found))


@settings(max_examples=100, deadline=None)
@given(secret=st.text(min_size=4).filter(lambda text: text not in SHIPPED), where=bent(SHIPPED))
def test_a_secret_from_the_environment_never_shows_in_a_problem(secret: str, where: str) -> None:
    marked = f"neverSHOWthis{secret}"
    environ = {**dict.fromkeys(ENVIRON, marked), "SIDECAR_CANARY_NONCE": marked}
    with pytest.raises(ConfigError) as caught:
        load_text(where, {}, KINDS, environ)
    assert "neverSHOWthis" not in str(caught.value)


# What follows mutates a shipped rule as data and writes it as JSON, which is YAML: one value to a line.


class Pairs(list[tuple[str, object]]):
    """A mapping that can hold a key twice."""


def as_pairs(value: object) -> object:
    return Pairs((key, as_pairs(item)) for key, item in value.items()) if isinstance(value, dict) else value


def written(value: object, depth: int = 1) -> str:
    if not isinstance(value, Pairs):
        return json.dumps(value)
    inside = [f"{' ' * depth}{json.dumps(key)}: {written(item, depth + 1)}" for key, item in value]
    return "{\n" + ",\n".join(inside) + "}" if inside else "{}"


def base(rule: str = RULE) -> Pairs:
    found = as_pairs(yaml.safe_load(rule))
    assert isinstance(found, Pairs)
    return found


def places(pairs: Pairs, above: Place = (), keys: tuple[str, ...] = ()) -> Iterator[tuple[Place, tuple[str, ...]]]:
    for index, (key, value) in enumerate(pairs):
        yield (*above, index), (*keys, key)
        if isinstance(value, Pairs):
            yield from places(value, (*above, index), (*keys, key))


def parent(pairs: Pairs, place: Place) -> Pairs:
    for index in place[:-1]:
        below = pairs[index][1]
        assert isinstance(below, Pairs)
        pairs = below
    return pairs


FREE_COLUMNS = {("repair", "values", name) for name in ("email", "full_name", "metadata")}
CONSTANT = ("repair", "values", "metadata", "const")
OPTIONAL = {
    ("detect", "evidence", "created"),
    ("detect", "evidence", "without"),
    ("detect", "evidence", "without", "created"),
    ("detect", "expects", "created"),
    ("detect", "rows", "created"),
    ("repair", "values", "full_name", "on_missing"),
    ("repair", "values", "credits_balance", "on_missing"),
    ("repair", "values", "metadata", "plan"),
    ("repair", "defaults_accepted"),
    ("repair", "plan_expires"),
    ("guard", "triggers_reviewed"),
    *FREE_COLUMNS,
    (*CONSTANT, "restored_by"),
}
BAD_SCALARS: Sequence[object] = (0, -1, "", True, "${X}", [], Pairs(), "no such thing!", 1.5)
BAD_LISTS: Sequence[object] = (0, "word", Pairs(), None, [7], ["a", "a"], ["no such thing!"])


def mutated(rule: str = RULE) -> Iterator[tuple[str, str]]:
    """Yield every way to break a shipped rule in one place, as (what was done, text)."""
    for place, keys in places(base(rule)):
        index = place[-1]
        key, value = parent(base(rule), place)[index]
        variants: list[tuple[str, list[tuple[str, object]]]] = [("give twice", [(key, value), (key, value)])]
        if keys not in FREE_COLUMNS and keys[:4] != CONSTANT:
            variants.append(("rename", [(f"{key}x", value)]))
        if keys not in OPTIONAL:
            variants.append(("leave out", []))
        if keys[:4] != CONSTANT:
            bad = () if isinstance(value, Pairs) else BAD_LISTS if isinstance(value, list) else BAD_SCALARS
            variants += [(f"write {item!r}", [(key, item)]) for item in bad if not stays_good(keys, item)]
        for what, instead in variants:
            tree = deepcopy(base(rule))
            parent(tree, place)[index : index + 1] = instead
            yield f"{what}: {'.'.join(keys)}", written(tree)


def stays_good(keys: tuple[str, ...], item: object) -> bool:
    """Name the replacements that are good rules, though other ones."""
    return (
        (keys[-1] in {"summary", "owner", "runbook"} and item == "no such thing!")
        or (keys[-1] == "max_percent" and item == 1.5)
        or (keys[-1] == "auth" and item is True)
        or (keys == ("detect", "state", "values") and item == ["no such thing!"])
    )


def alike(rule: str = RULE) -> Iterator[tuple[str, str]]:
    """Yield a shipped rule, said otherwise."""
    yield "as it is", rule
    yield "with a byte order mark", f"\ufeff{rule}"
    yield "with other line ends", rule.replace("\n", "\r\n")
    yield "as JSON", written(base(rule))
    yield "as block YAML", yaml.safe_dump(yaml.safe_load(rule), sort_keys=True, default_flow_style=False)
    yield "on one line", yaml.safe_dump(yaml.safe_load(rule), default_flow_style=True, width=10_000)
    yield "between markers", f"---\n{rule}...\n"
    for place, keys in places(base(rule)):
        tree = deepcopy(base(rule))
        siblings = parent(tree, place)
        siblings.append(siblings.pop(place[-1]))
        yield f"with {'.'.join(keys)} last", written(tree)


def test_every_mutated_rule_is_rejected_with_its_path_and_line() -> None:
    count = 0
    for what, text in mutated():
        found = answer(MINIMAL, text)
        assert not isinstance(found, Config), what
        assert all(problem.line and problem.column and problem.path for problem in found), (what, found)
        count += 1
    assert count >= 300


def only(found: Config | tuple[Problem, ...]) -> Rule | Survey:
    assert isinstance(found, Config), found
    read: list[Rule | Survey] = [*found.rules, *found.surveys]
    assert len(read) == 1
    return read[0]


def test_the_same_rule_said_otherwise_stays_the_same_rule() -> None:
    for what, text in alike():
        assert only(answer(MINIMAL, text)) == only(answer(MINIMAL, RULE)), what


def test_mutated_files_of_every_shipped_rule_are_rejected_or_equal_in_meaning() -> None:
    bent_files = [
        (name, what, text, equal)
        for name, rule in SHIPPED_RULES.items()
        for equal, made in ((False, mutated(rule)), (True, alike(rule)))
        for what, text in made
    ]
    drawn = random.Random(7).sample(bent_files, TRIED)  # of one rule, the tests above try all
    for name, what, text, equal in drawn:
        found = answer(MINIMAL, text, name)
        if equal:
            assert only(found) == only(answer(MINIMAL, SHIPPED_RULES[name], name)), (name, what)
        else:
            assert not isinstance(found, Config), (name, what)
            assert all(p.file == name and p.line and p.column and p.path for p in found), (name, what, found)
    assert {name for name, *_ in drawn} == set(SHIPPED_RULES)
    print(f"mutated rule files: {len(drawn)} rejected or equal in meaning")
