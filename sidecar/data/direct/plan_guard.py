"""What PostgreSQL would do, before it does it: the detection must be an anti join over whole tables."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from sidecar.errors import PlanUnfit

Node: TypeAlias = Mapping[str, Any]


def require_anti_joins(explained: Any, wanted: int) -> None:  # noqa: ANN401  # JSON from outside
    """Read what EXPLAIN (FORMAT JSON) answered. Raises: PlanUnfit that names what is wrong.

    A filter with a subplan asks once for each row, and so does a nested loop whose inner side is no index scan:
    hours at ten million rows, all of it inside one snapshot.
    """
    nodes = list(_walk(explained[0]["Plan"]))
    if any(node.get("Parent Relationship") == "SubPlan" for node in nodes):
        raise PlanUnfit("PostgreSQL would ask a subplan for each row of the evidence")
    anti = [node for node in nodes if "Anti" in str(node.get("Join Type", ""))]
    if len(anti) < wanted:
        raise PlanUnfit(f"PostgreSQL plans {len(anti)} anti joins where {wanted} are due")
    if any(node["Node Type"] == "Nested Loop" and not _has_index(node) for node in anti):
        raise PlanUnfit("PostgreSQL would read a whole table for each row of the evidence")


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for below in node.get("Plans", ()):
        yield from _walk(below)


def _has_index(loop: Node) -> bool:
    inner = next(below for below in loop["Plans"] if below.get("Parent Relationship") == "Inner")
    scans = [node for node in _walk(inner) if "Scan" in node["Node Type"]]
    return bool(scans) and all("Index" in node["Node Type"] or "Bitmap" in node["Node Type"] for node in scans)
