"""What rules of one target table must agree on: whoever repairs a row first, it must come out the same."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import PurePath

from sidecar.config.document import Document, Path
from sidecar.config.problems import Problems
from sidecar.domain.rule import AuthSource, FromBalance, Origin, Rule

Neighbour = tuple[Rule, Document]


def judge_neighbours(rules: Sequence[Neighbour], problems: Problems) -> None:
    """Note each pair of rules that would render one row differently. Shape: `rules` in file-name order."""
    for (first, its), (second, document) in combinations(rules, 2):
        if first.detect.expects.table == second.detect.expects.table:
            path, message = _difference(first, second)
            if path:
                where = f"{PurePath(its.file).name} and {PurePath(document.file).name}"
                hint = f"{where} repair one table, {first.detect.expects.table}: each row must come out the same"
                problems.add(document, path, message, hint)


def _difference(first: Rule, second: Rule) -> tuple[Path, str]:
    """Return what the second rule is to be blamed for, or an empty path."""
    if first.detect.expects != second.detect.expects:
        return ("detect", "expects"), "names the key or the created column of a table otherwise than another rule"
    if first.repair.money != second.repair.money:
        return ("repair", "money"), "names another money column than another rule of this table"
    if (column := _column_that_differs(first, second)) is not None:
        return ("repair", "values", column), "has another value, or another origin of it, than in another rule"
    if first.repair.defaults_accepted != second.repair.defaults_accepted:
        return ("repair", "defaults_accepted"), "accepts other defaults than another rule of this table"
    return _overlap(first, second)


def _column_that_differs(first: Rule, second: Rule) -> str | None:
    ours, theirs = first.repair.values, second.repair.values
    for column in (*theirs, *ours):
        one, other = ours.get(column), theirs.get(column)
        if isinstance(one, FromBalance) and isinstance(other, FromBalance):
            shared = set(one.order) & set(other.order)
            if _among(one.order, shared) != _among(other.order, shared):
                return column
        elif one != other:
            return column if column in theirs else next(iter(theirs))
    return None


def _among(order: Sequence[Origin], shared: set[Origin]) -> list[Origin]:
    return [origin for origin in order if origin in shared]


def _overlap(first: Rule, second: Rule) -> tuple[Path, str]:
    """Demand that no user can be a case of both, or that both would read the same movements."""
    for one, other in ((first.detect, second.detect), (second.detect, first.detect)):
        if isinstance(one.ledger, AuthSource) and one.movements != other.movements:
            return ("detect", "evidence"), "leaves users to two rules: `without` must be the ledger of the other rule"
    if first.detect.movements != second.detect.movements:
        return ("detect", "evidence"), "is another ledger than in another rule, so that balances of one user differ"
    return (), ""
