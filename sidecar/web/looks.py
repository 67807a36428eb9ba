"""The last looks over HTTP: `/probe` and `/sd` for Prometheus, `/api/v1/checks` for everybody. None of them looks."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sidecar.config.settings import Scope
from sidecar.domain.check import Check, CheckState
from sidecar.web.blackbox import Told
from sidecar.web.encoding import encoded
from sidecar.web.guard import Door


@dataclass(frozen=True, slots=True, kw_only=True)
class LookView:
    """A check as it stands. With `is_stale`, its last look is too old to say anything, and `state` is unknown."""

    check: Check
    state: CheckState
    is_stale: bool


Looks: TypeAlias = Callable[[], Mapping[str, LookView]]


def look_routes(door: Door, looks: Looks) -> list[BaseRoute]:
    """Return the routes. `looks` returns every configured check by name, from memory."""

    async def probe(request: Request) -> Response:
        door.admit(request, Scope.READ)
        view = _asked(request, looks())
        seen = view.state.last
        if seen is None or view.is_stale:
            raise HTTPException(503, "the last look is older than two intervals, or there was none yet")
        registry = CollectorRegistry()
        registry.register(Told(view.check, seen))
        return await asyncio.to_thread(encoded, request, registry)

    async def discover(request: Request) -> Response:
        door.admit(request, Scope.READ)
        return JSONResponse([_target(view.check) for view in looks().values()])

    async def checks(request: Request) -> Response:
        door.admit(request, Scope.READ)
        return JSONResponse({"checks": [_document(view) for view in looks().values()]})

    return [Route("/probe", probe), Route("/sd", discover), Route("/api/v1/checks", checks)]


def _asked(request: Request, looks: Mapping[str, LookView]) -> LookView:
    """Return the check that is asked for. Raises: HTTPException 400 and 404; nothing that was sent is repeated."""
    targets = request.query_params.getlist("target")
    if len(targets) != 1:
        raise HTTPException(400, "target must be given once: the name of a configured check")
    view = looks.get(targets[0])
    if view is None:
        raise HTTPException(404, "there is no such check")
    return view


def _target(check: Check) -> dict[str, object]:
    """Return one group of Prometheus' http_sd: an address to be replaced by ours, and what to ask of it."""
    labels = {
        "__metrics_path__": "/probe",
        "__param_target": check.name,
        "check": check.name,
        "kind": check.kind,
        "severity": str(check.severity),
    }
    return {"targets": [check.name], "labels": labels}


def _document(view: LookView) -> dict[str, object]:
    check, state, seen = view.check, view.state, view.state.last
    return {
        "name": check.name,
        "kind": check.kind,
        "severity": str(check.severity),
        "every_seconds": check.every_seconds,
        "depends_on": list(check.depends_on),
        "verdict": str(state.verdict),
        "since_at": _iso(state.since),
        "is_stale": view.is_stale,
        "maintenance": state.maintenance or None,
        "last_look": None
        if seen is None
        else {
            "taken_at": _iso(seen.taken_at),
            "verdict": str(seen.verdict),
            "reason": seen.reason,
            "detail": seen.detail,
            "notes": list(seen.notes),
            "duration_seconds": round(seen.duration_seconds, 6),
            "phases": {name: round(seconds, 6) for name, seconds in seen.phases.items()},
            "facts": dict(seen.facts),
            "expires_at": _iso(seen.expires_at),
        },
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
