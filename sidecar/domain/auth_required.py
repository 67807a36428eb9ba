"""Whether a route is there, asks who somebody is, and finds out who only pretends.

A 401 alone proves nothing: the backend of the incident answered 401 on routes that did not exist.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.domain.check import JSON
from sidecar.domain.reasons import HttpReason

REFUSED = frozenset({401, 403})


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
        if not 400 <= status < 500:  # a token that no parser likes may be a bad request
            return AuthFault(HttpReason.AUTH_ANSWER_UNEXPECTED, f"{how}: status {status}, not a refusal")
    if seen.exists is None:
        return AuthFault(HttpReason.ROUTE_UNPROVEN, seen.unproven)
    return None


def _is_let_in(status: int) -> bool:
    return 200 <= status < 300


def names_route(document: JSON, method: str, path: str) -> bool | None:
    """Say whether an OpenAPI document names a route; None when it is no such document.

    `/x/{id}` in the document stands for one segment. A slash at the end makes no difference.
    """
    paths = document.get("paths") if isinstance(document, dict) else None
    if not isinstance(paths, dict):
        return None
    for template, operations in paths.items():
        if _matches(template, path) and isinstance(operations, dict) and method.lower() in operations:
            return True
    return False


def _matches(template: str, path: str) -> bool:
    parts = re.split(r"(\{[^/{}]*\})", template.rstrip("/"))
    pattern = "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
    return re.fullmatch(pattern, path.rstrip("/")) is not None
