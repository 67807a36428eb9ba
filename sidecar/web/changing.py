"""What changes something over HTTP: each needs a token with its scope, and says who asked."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sidecar.config.settings import Scope
from sidecar.web.guard import Door

ReloadBy: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]


def changing_routes(door: Door, reload: ReloadBy) -> list[BaseRoute]:
    """Return the routes. `reload` is told who asked, and returns every problem, none when it is done."""

    async def reload_now(request: Request) -> Response:
        problems = await reload(door.admit_named(request, Scope.OPERATE))
        if problems:
            return JSONResponse({"reloaded": False, "problems": list(problems)}, 422)
        return JSONResponse({"reloaded": True, "problems": []})

    return [Route("/-/reload", reload_now, methods=["POST"])]
