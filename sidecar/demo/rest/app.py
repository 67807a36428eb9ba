"""The REST root: one request in, one statement as its caller, one answer out."""

import contextlib
from collections.abc import AsyncIterator

import psycopg
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.demo.rest.catalogue import Catalogue, Pool
from sidecar.demo.rest.errors import RestError, from_postgres, not_implemented
from sidecar.demo.rest.openapi import description
from sidecar.demo.rest.operations import Operation
from sidecar.demo.rest.parse import parse
from sidecar.demo.rest.preferences import media_type, preferences, row_range
from sidecar.demo.rest.session import connections
from sidecar.demo.rest.tokens import Caller, caller

ANONYMOUS = "anon"
SCHEMA = "public"

_WRITING = frozenset({"POST", "PATCH", "PUT", "DELETE"})
# SQLSTATEs that tell of a database that is not what the catalogue remembers.
_STALE = frozenset({"42P01", "42703", "42883", "42704"})


@contextlib.asynccontextmanager
async def rest_app(database_url: str, jwt_secret: str) -> AsyncIterator[ASGIApp]:
    """Hold connections to a database (a superuser's URL) and yield the application that serves its schema `public`."""
    async with connections(database_url, step_down=True) as pool:
        yield _Rest(pool, jwt_secret)


class _Rest:
    def __init__(self, pool: Pool, jwt_secret: str) -> None:
        self._pool = pool
        self._jwt_secret = jwt_secret
        self._catalogue = Catalogue(pool, SCHEMA)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        role = ANONYMOUS
        try:
            who = caller(request.headers.get("authorization"), self._jwt_secret, ANONYMOUS)
            role = who.role
            response = await self._answer(request, who)
        except RestError as error:
            response = error.response()
        except psycopg.Error as error:
            if error.sqlstate in _STALE:
                self._catalogue.forget()
            response = from_postgres(error, anonymous=role == ANONYMOUS).response()
        await response(scope, receive, send)

    async def _answer(self, request: Request, who: Caller) -> Response:
        method = request.method
        resource = [part for part in request.scope["path"].split("/") if part]
        profile = request.headers.get("content-profile" if method in _WRITING else "accept-profile")
        if profile is not None and profile != SCHEMA:
            hint = f"Only the following schemas are exposed: {SCHEMA}"
            raise RestError(406, "PGRST106", f"Invalid schema: {profile}", hint=hint)
        for_call = resource[:1] == ["rpc"] and len(resource) > 1
        if len(resource) > 1 + for_call:
            raise RestError(404, "PGRST125", "Invalid path specified in request URL")
        if method == "OPTIONS":
            return Response(headers={"Allow": "OPTIONS,GET,HEAD,POST,PATCH,DELETE"})
        if not resource:
            return await description(self._catalogue, method)
        query = parse(request.scope["query_string"], for_call=for_call and method in {"GET", "HEAD"})
        limit, offset = row_range(request.headers, query, method)
        content_type, shape = media_type(request.headers)
        operation = Operation(
            pool=self._pool,
            catalogue=self._catalogue,
            caller=who,
            request=request,
            query=query,
            limit=limit,
            offset=offset,
            preferences=preferences(request.headers),
            content={"Content-Type": content_type, **({"Content-Profile": profile} if profile else {})},
            shape=shape,
        )
        return await _carry_out(operation, method, resource[-1], for_call=for_call)


async def _carry_out(operation: Operation, method: str, name: str, *, for_call: bool) -> Response:
    if for_call:
        if method not in {"GET", "HEAD", "POST"}:
            raise RestError(405, "PGRST101", f"Cannot use the {method} method on RPC")
        return await operation.call(name)
    match method:
        case "GET" | "HEAD":
            return await operation.read(name)
        case "POST":
            return await operation.insert(name)
        case "PATCH":
            return await operation.update(name)
        case "DELETE":
            return await operation.delete(name)
        case "PUT":
            raise not_implemented("The stand-in does not know PUT.")
        case _:
            raise RestError(405, "PGRST117", f"Unsupported HTTP method: {method}")
