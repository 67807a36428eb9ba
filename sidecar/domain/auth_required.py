"""Whether a route is there, asks who somebody is, and finds out who only pretends.

A 401 alone proves nothing: the backend of the incident answered 401 on routes that did not exist.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.domain.check import JSON
from sidecar.domain.reasons import HttpReason

REFUSED = frozenset({401, 403})
_BAD_REQUEST = 400  # a token that no parser likes
# Answers of the route itself. Where a stranger is refused before, whoever hears them was believed to be somebody.
_BEHIND_THE_REFUSAL = frozenset({402, 404, 405, 406, 409, 410, 411, 412, 413, 415, 422, 428})
_PARAMETER = re.compile(r"\{[^/{}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSeen:
    """Statuses of the answers without credentials and with tokens that somebody else signed.

    `exists` is None where nobody could say whether the route is there, and `unproven` says why.
    """

    exists: bool | None
    without: int
    forged: Mapping[str, int]
    unproven: str = ""


@dataclass(frozen=True, slots=True)
class AuthFault:
    """What is wrong."""

    reason: HttpReason
    detail: str


def judge_auth(seen: AuthSeen) -> AuthFault | None:
    """Return the worst that was seen, or None where all is as it should be."""
    if _is_let_in(seen.without):
        return AuthFault(HttpReason.AUTH_NOT_REQUIRED, f"without credentials: status {seen.without}")
    for how, status in seen.forged.items():
        if _is_let_in(status):
            return AuthFault(HttpReason.FORGED_TOKEN_ACCEPTED, f"{how}: status {status}")
    if seen.exists is False:
        return AuthFault(HttpReason.ROUTE_MISSING, "the route is not among those that the backend names")
    if seen.without not in REFUSED:
        return AuthFault(
            HttpReason.AUTH_ANSWER_UNEXPECTED, f"without credentials: status {seen.without}, not 401 or 403"
        )
    for how, status in seen.forged.items():
        if status in _BEHIND_THE_REFUSAL:
            return AuthFault(
                HttpReason.FORGED_TOKEN_ACCEPTED, f"{how}: status {status}, where without one it is {seen.without}"
            )
        if status not in REFUSED and status != _BAD_REQUEST:
            return AuthFault(HttpReason.AUTH_ANSWER_UNEXPECTED, f"{how}: status {status}, not a refusal")
    if seen.exists is None:
        return AuthFault(HttpReason.ROUTE_UNPROVEN, seen.unproven)
    return None


def _is_let_in(status: int) -> bool:
    return 200 <= status < 300


def names_route(document: JSON, method: str, path: str) -> bool | None:
    """Say whether an OpenAPI document names a route; None when it is no such document.

    `/x/{id}` in the document stands for any `id` of one character or more. A slash at the end makes no difference.
    """
    paths = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(paths, dict):
        return None
    for template, operations in paths.items():
        if _matches(template, path) and isinstance(operations, dict) and method.lower() in operations:
            return True
    return False


def _matches(template: str, path: str) -> bool:
    """Match segment by segment, in steps in proportion to the text: the document comes from outside."""
    pattern, segments = template.rstrip("/").split("/"), path.rstrip("/").split("/")
    return len(pattern) == len(segments) and all(map(_fits, pattern, segments))


def _fits(pattern: str, segment: str) -> bool:
    first, *others = _PARAMETER.split(pattern) if "{" in pattern else [pattern]
    if not others:
        return pattern == segment
    if not segment.startswith(first):
        return False
    *between, last = others
    at = len(first)
    for piece in between:  # the first place that fits leaves most to the rest; each parameter takes a character
        found = segment.find(piece, at + 1)
        if found < 0:
            return False
        at = found + len(piece)
    return segment.endswith(last) and len(segment) - len(last) > at
