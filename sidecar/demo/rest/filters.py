"""Filters and logic trees: `eq.1`, `not.in.(1,2)`, `(a.eq.1,not.and(b.lt.2,c.is.null))`."""

from collections.abc import Callable

from sidecar.demo.rest.errors import not_implemented
from sidecar.demo.rest.query import Condition, Field, Group
from sidecar.demo.rest.reader import FIELD_NAME, Reader, field, list_value, single_value

# The order is PostgREST's: an operator that begins like another comes first.
_OPERATORS = (
    *("neq", "cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj"),
    *("eq", "gte", "gt", "lte", "lt", "like", "ilike", "match", "imatch"),
)
_QUANTIFIED = frozenset({"eq", "gte", "gt", "lte", "lt", "like", "ilike", "match", "imatch"})
_TRUTHS = ("null", "not_null", "true", "false", "unknown")
_TEXT_SEARCH = ("fts", "plfts", "phfts", "wfts")


def condition(reader: Reader, subject: Field, value: Callable[[Reader], str]) -> Condition:
    """Read an operator and its value, of which `value` reads a single one."""
    start = reader.at
    negated = reader.take("not.")
    if reader.take("in."):
        return Condition(subject, "in", list_value(reader), negated=negated)
    if reader.take("is."):
        return Condition(subject, "is", _truth(reader), negated=negated)
    if reader.take("isdistinct."):
        return Condition(subject, "isdistinct", value(reader), negated=negated)
    for operator in _OPERATORS:
        place = reader.at
        if reader.take(operator):
            quantifier = _quantifier(reader) if operator in _QUANTIFIED else ""
            if reader.take("."):
                return Condition(subject, operator, value(reader), quantifier, negated)
            reader.at = place
    if any(reader.sees(word) for word in _TEXT_SEARCH):
        raise not_implemented("The stand-in does not search texts.")
    if not negated:
        reader.at = start
    return reader.fail("operator (eq, gt, ...)" if negated else '"not" or operator (eq, gt, ...)')


def _quantifier(reader: Reader) -> str:
    return "any" if reader.take("(any)") else "all" if reader.take("(all)") else ""


def _truth(reader: Reader) -> str:
    for truth in _TRUTHS:
        if reader.text[reader.at : reader.at + len(truth)].lower() == truth:
            reader.at += len(truth)
            return truth
    return reader.fail("isVal: (null, not_null, true, false, unknown)")


def logic(reader: Reader) -> Condition | Group:
    """Read one condition, or a group of them in brackets."""
    leaf = reader.attempt(_leaf)
    if leaf is not None:
        return leaf
    negated = reader.take("not.")
    joiner = "and" if reader.take("and") else "or" if reader.take("or") else ""
    if not joiner:
        negation = "" if negated else f"{FIELD_NAME}, negation operator (not) or "
        reader.fail(f"{negation}logic operator (and, or)")
    reader.blanks()
    reader.need("(")
    members = [_member(reader)]
    while reader.take(","):
        members.append(_member(reader))
    reader.need(")")
    reader.blanks()
    return Group(joiner, tuple(members), negated)


def _member(reader: Reader) -> Condition | Group:
    reader.blanks()
    found = logic(reader)
    reader.blanks()
    return found


def _leaf(reader: Reader) -> Condition:
    subject = field(reader)
    reader.need(".")
    return condition(reader, subject, single_value)
