"""The sample backend: velro's contract and velro's faults, each behind a switch.

Source of the contract: the design's 41-velro, A1 and A2. None of velro's code is here.
"""

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sidecar.demo.layers import Edge, Gate, Manner, Tracking
from sidecar.demo.models import supported_models
from sidecar.domain.check import JSON
from sidecar.errors import AnswerMalformed, TransientError
from sidecar.wire import Answer, exchange, key_headers, open_client

FRONTEND_ORIGIN = "https://app.velro.example"  # the design names none, so it is the demo's own
FALLBACK_BALANCE = 100  # what velro says whenever it cannot find the profile
READ_SECONDS_AT_MOST = 5.0
GENERATIONS_LISTED = 20

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """One switch per fault. `slow_seconds` is how long each answer takes in the manner `slow`."""

    manner: Manner = Manner.STEADY
    slow_seconds: float = 10.0
    wrong_balance: bool = False
    forged_tokens_accepted: bool = False
    foreign_origin_reflected: bool = False
    credits_router_missing: bool = False


def backend_app(supabase_url: str, service_key: str, jwt_secret: str, switches: Switches) -> Starlette:
    """Return the backend over a Supabase project."""
    backend = _Backend(supabase_url, service_key, jwt_secret, switches)
    middleware = [
        Middleware(Edge, manner=switches.manner, slow_seconds=switches.slow_seconds),
        Middleware(
            CORSMiddleware,
            allow_origins=[FRONTEND_ORIGIN],
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization"],  # what a page must send here; a form needs no word
            allow_credentials=True,
            max_age=86_400,
        ),
        Middleware(Tracking, foreign_origin_reflected=switches.foreign_origin_reflected),
        Middleware(Gate, user_of=backend.user_of),
    ]
    return Starlette(routes=backend.routes(), middleware=middleware, exception_handlers={HTTPException: _refuse})


class _Backend:
    """The endpoints."""

    def __init__(self, supabase_url: str, service_key: str, jwt_secret: str, switches: Switches) -> None:
        self._supabase_url = supabase_url
        self._service_key = service_key
        self._jwt_secret = jwt_secret
        self._switches = switches

    def routes(self) -> Sequence[Route]:
        credits_routes = [*_get("/api/v1/credits/balance", self._balance), *_get("/api/v1/credits/_ping", _ping)]
        if self._switches.credits_router_missing:
            credits_routes = _get("/api/v1/credits/_ping", _fallback_ping)
        return [
            *_get("/health", _health),
            *_get("/openapi.json", self._openapi),
            *_get("/api/v1/generations/models/supported", _models),
            *credits_routes,
            # velro's `/create` never existed: a POST to it falls on the route of a single generation, hence the 405.
            *_get("/api/v1/generations/{generation_id}", _no_generation),
            *_get("/api/v1/generations", self._generations),
            Route("/api/v1/generations", self._create, methods=["POST"]),
            Route("/api/v1/generations/", self._create, methods=["POST"]),
        ]

    def user_of(self, token: str) -> str | None:
        """Return the user that a token speaks for, or None where it speaks for nobody."""
        options: Any = {"verify_signature": False} if self._switches.forged_tokens_accepted else {}
        try:
            claims = jwt.decode(token, self._jwt_secret, ["HS256"], options, audience="authenticated")
        except jwt.InvalidTokenError:
            return None
        subject = claims.get("sub")
        return subject if isinstance(subject, str) else None

    async def _balance(self, request: Request) -> Response:
        return JSONResponse({"balance": await self._read_balance(request.state.user)})

    async def _read_balance(self, user: str) -> int:
        """Read the balance with the service key; like velro, take every failure for a new user with 100 credits."""
        if self._switches.wrong_balance:
            return FALLBACK_BALANCE
        async with open_client(self._supabase_url, headers=key_headers(self._service_key)) as client:
            try:
                params = {"id": f"eq.{user}", "select": "credits_balance"}
                answer = await exchange(
                    client, "GET", "/rest/v1/users", timeout_seconds=READ_SECONDS_AT_MOST, params=params
                )
                return int(answer.json()[0]["credits_balance"])
            except (TransientError, AnswerMalformed, LookupError, TypeError):
                return FALLBACK_BALANCE

    async def _generations(self, request: Request) -> Response:
        """List the user's newest generations; like velro, say 503 where they cannot be read."""
        async with open_client(self._supabase_url, headers=key_headers(self._service_key)) as client:
            try:
                params = {
                    "user_id": f"eq.{request.state.user}",
                    "select": "id,model_id,status,created_at",
                    "order": "created_at.desc",
                    "limit": str(GENERATIONS_LISTED),
                }
                answer = await exchange(
                    client, "GET", "/rest/v1/generations", timeout_seconds=READ_SECONDS_AT_MOST, params=params
                )
                rows = answer.json()
            except (TransientError, AnswerMalformed) as error:
                raise HTTPException(503, "Generation service temporarily unavailable") from error
        if answer.status != 200:
            raise HTTPException(503, "Generation service temporarily unavailable")
        return JSONResponse(rows)

    async def _create(self, request: Request) -> Response:
        async with request.form() as form:
            model_id, prompt = form.get("model_id"), form.get("prompt")
        missing = [name for name, value in (("model_id", model_id), ("prompt", prompt)) if not value]
        if missing:
            detail: JSON = [
                {"type": "missing", "loc": ["body", name], "msg": "Field required", "input": None} for name in missing
            ]
            return JSONResponse({"detail": detail}, status_code=422)
        price = {model["model_id"]: model["credits"] for model in supported_models()}.get(str(model_id))
        # velro raises 404 for the model and 402 for the credits, and then catches both and says 503.
        if not isinstance(price, int) or await self._read_balance(request.state.user) < price:
            raise HTTPException(503, "Generation service temporarily unavailable")
        generation = str(uuid.uuid4())
        try:
            await self._charge(request.state.user, generation, str(model_id), price)
        except (TransientError, AnswerMalformed, LookupError, TypeError) as error:
            raise HTTPException(503, "Generation service temporarily unavailable") from error
        return JSONResponse({"id": generation, "status": "pending"})

    async def _charge(self, user: str, generation: str, model_id: str, price: int) -> None:
        """Record a generation, and take its price, as velro does it: read, reckon, write back; then the ledger."""
        async with open_client(self._supabase_url, headers=key_headers(self._service_key)) as client:

            async def send(method: str, path: str, document: JSON = None) -> Answer:
                return await exchange(
                    client,
                    method,
                    f"/rest/v1/{path}",
                    timeout_seconds=READ_SECONDS_AT_MOST,
                    headers={"Content-Type": "application/json"},
                    content=None if document is None else json.dumps(document).encode(),
                )

            found = await send("GET", f"users?id=eq.{user}&select=credits_balance")
            left = int(found.json()[0]["credits_balance"]) - price
            common: dict[str, JSON] = {"user_id": user}
            made: dict[str, JSON] = {"id": generation, "model_id": model_id, "prompt": "-", "status": "completed"}
            await send("POST", "generations", {**common, **made, "credits_used": price})
            await send("PATCH", f"users?id=eq.{user}", {"credits_balance": left})
            moved: dict[str, JSON] = {"transaction_type": "usage", "amount": -price, "balance_after": left}
            await send("POST", "credit_transactions", {**common, **moved, "generation_id": generation})

    async def _openapi(self, _request: Request) -> Response:
        paths: dict[str, dict[str, JSON]] = {}
        for route in self.routes():
            paths.setdefault(route.path, {}).update({method.lower(): {} for method in sorted(route.methods or ())})
        return JSONResponse({"openapi": "3.1.0", "info": {"title": "velro sample", "version": "1"}, "paths": paths})


def _get(path: str, endpoint: Endpoint) -> list[Route]:
    """Route GET alone, with and without a trailing slash: FastAPI, unlike Starlette, adds no HEAD."""
    routes = [Route(path, endpoint, methods=["GET"]), Route(f"{path}/", endpoint, methods=["GET"])]
    for route in routes:
        route.methods = {"GET"}
    return routes


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "healthy", "timestamp": time.time()})


async def _models(_request: Request) -> Response:
    return JSONResponse({"models": supported_models()})


async def _ping(_request: Request) -> Response:
    return JSONResponse({"ok": True, "service": "credits"})


async def _fallback_ping(_request: Request) -> Response:
    return JSONResponse({"ok": True, "service": "credits", "fallback": True})


async def _no_generation(_request: Request) -> Response:
    raise HTTPException(404, "Generation not found")


async def _refuse(request: Request, error: Exception) -> Response:
    status, detail, headers = 500, "Internal server error", None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, error.headers
    return JSONResponse({"detail": detail, "request_id": request.state.request_id}, status_code=status, headers=headers)
