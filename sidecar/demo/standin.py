"""The Supabase stand-in: the REST root and the sign-in service over one database, and the gateway in front of both."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.types import ASGIApp

from sidecar.demo.auth import auth_app
from sidecar.demo.gateway import Gateway, Keys, make_keys, sign
from sidecar.demo.rest.app import rest_app
from sidecar.demo.rest.forward import forward_to
from sidecar.serving import listen, serving

__all__ = ["Keys", "StandIn", "make_keys", "sign", "standin"]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """Where it is served: `rest_url` is the bare REST root, `supabase_url` stands behind the gateway."""

    rest_url: str
    supabase_url: str


@contextlib.asynccontextmanager
async def standin(
    database_url: str,
    *,
    jwt_secret: str,
    keys: Keys,
    project_ref: str = "demo",
    rest_url: str | None = None,
    wrap: Callable[[ASGIApp], ASGIApp] | None = None,
    legacy_disabled_at: datetime | None = None,
    port: int = 0,
) -> AsyncIterator[StandIn]:
    """Serve a stand-in for a Supabase project for the time of the block.

    `database_url` is a superuser's. With `rest_url`, a real PostgREST there answers in place of ours. `wrap` may put
    something in front of the gateway. `port` is the gateway's; 0 picks a free one.
    """
    async with contextlib.AsyncExitStack() as stack:
        if rest_url is None:
            rest = await stack.enter_async_context(rest_app(database_url, jwt_secret))
            rest_url = await stack.enter_async_context(serving(rest, listen(HOST, 0)))
        else:
            rest = await stack.enter_async_context(forward_to(rest_url))
        gateway = Gateway(
            rest=rest,
            auth=await stack.enter_async_context(auth_app(database_url, jwt_secret)),
            keys=keys,
            jwt_secret=jwt_secret,
            project_ref=project_ref,
            legacy_disabled_at=legacy_disabled_at,
        )
        supabase_url = await stack.enter_async_context(serving(wrap(gateway) if wrap else gateway, listen(HOST, port)))
        yield StandIn(rest_url=rest_url, supabase_url=supabase_url)
