"""Pass requests on to a PostgREST that runs somewhere else, for testing against the real one."""

import contextlib
from collections.abc import AsyncIterator

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# RFC 9110, 7.6.1: these speak about one connection. Host is httpx's own, and our server dates its answers itself.
_PER_CONNECTION = frozenset(
    {"connection", "keep-alive", "trailer", "transfer-encoding", "upgrade", "proxy-connection", "host", "date"}
)


@contextlib.asynccontextmanager
async def forward_to(root: str) -> AsyncIterator[ASGIApp]:
    """Yield an application that forwards to the REST root `root`."""
    async with httpx.AsyncClient(base_url=root.rstrip("/"), timeout=30, trust_env=False) as client:

        async def forward(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            await _exchange(client, request, scope, receive, send)

        yield forward


async def _exchange(client: httpx.AsyncClient, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
    url = httpx.URL(path=request.url.path, query=scope["query_string"])
    headers = [(name, value) for name, value in request.headers.raw if name.decode() not in _PER_CONNECTION]
    outgoing = client.build_request(request.method, url, headers=headers, content=await request.body())
    try:
        answer = await client.send(outgoing, stream=True)
    except httpx.TransportError:
        await JSONResponse({"message": "An invalid response was received from the upstream server"}, 502)(
            scope, receive, send
        )
        return
    async with contextlib.aclosing(answer):
        kept = {name: value for name, value in answer.headers.items() if name not in _PER_CONNECTION}
        await StreamingResponse(answer.aiter_raw(), answer.status_code, kept)(scope, receive, send)
