"""The sample backend keeps velro's contract over real HTTP, and each switch breaks what it names."""

import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import jwt
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sidecar.demo.backend import FRONTEND_ORIGIN, Switches, backend_app
from sidecar.demo.layers import Manner
from sidecar.serving import listen, serving

SECRET = "a-secret-of-the-project-that-is-long-enough"
SERVICE_KEY = "sb_secret_of_the_backend"
RICH, POOR, UNKNOWN = "rich", "poor", "unknown"
EVIL = "https://evil.example"


def token(user: str = RICH, *, secret: str = SECRET, audience: str = "authenticated") -> str:
    return jwt.encode({"sub": user, "aud": audience, "exp": int(time.time()) + 600}, secret, "HS256")


def bearer(user: str = RICH, **changes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user, **changes)}"}


async def profiles(request: Request) -> Response:
    """A Supabase that knows two profiles, and shows them to the service key only."""
    if request.headers.get("apikey") != SERVICE_KEY:
        return JSONResponse({"message": "Invalid API key"}, status_code=401)
    balances = {f"eq.{RICH}": 1200, f"eq.{POOR}": 10}
    asked = request.query_params["id"]
    return JSONResponse([{"credits_balance": balances[asked]}] if asked in balances else [])


async def generations(request: Request) -> Response:
    """One generation, of the rich user's."""
    if request.headers.get("apikey") != SERVICE_KEY:
        return JSONResponse({"message": "Invalid API key"}, status_code=401)
    mine = request.method == "GET" and request.query_params["user_id"] == f"eq.{RICH}"
    return JSONResponse([{"id": "g", "status": "completed"}] if mine else [])


@contextlib.asynccontextmanager
async def backend(switches: Switches | None = None, key: str = SERVICE_KEY) -> AsyncIterator[httpx.AsyncClient]:
    supabase = Starlette(routes=[Route("/rest/v1/users", profiles), Route("/rest/v1/generations", generations)])
    async with serving(supabase, listen("127.0.0.1", 0)) as supabase_url:
        app = backend_app(supabase_url, key, SECRET, switches or Switches())
        async with (
            serving(app, listen("127.0.0.1", 0)) as url,
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
        ):
            yield client


async def test_health_needs_no_token_and_knows_no_head() -> None:
    async with backend() as client:
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
        assert {"x-request-id", "x-response-time", "server-timing"} <= set(answer.headers)
        assert (await client.head("/health")).status_code == 405


@pytest.mark.parametrize("slash", ["", "/"])
async def test_models_are_a_dictionary_of_seven(slash: str) -> None:
    async with backend() as client:
        answer = await client.get(f"/api/v1/generations/models/supported{slash}")
    assert (answer.status_code, list(answer.json()), len(answer.json()["models"])) == (200, ["models"], 7)


async def test_paths_that_do_not_exist_are_401_without_a_token_and_404_with_one() -> None:
    async with backend() as client:
        answer = await client.get("/api/v1/nonexistent")
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
        assert (await client.get("/api/v1/nonexistent", headers=bearer())).status_code == 404


@pytest.mark.parametrize(("user", "balance"), [(RICH, 1200), (POOR, 10), (UNKNOWN, 100)])
async def test_the_balance_is_the_profiles_and_100_where_there_is_none(user: str, balance: int) -> None:
    async with backend() as client:
        answer = await client.get("/api/v1/credits/balance", headers=bearer(user))
    assert (answer.status_code, answer.json()) == (200, {"balance": balance})


async def test_a_backend_whose_key_is_refused_says_100_to_everybody() -> None:
    async with backend(key="sb_secret_revoked") as client:
        assert (await client.get("/api/v1/credits/balance", headers=bearer())).json() == {"balance": 100}


async def test_the_balance_needs_a_token() -> None:
    async with backend() as client:
        answer = await client.get("/api/v1/credits/balance/")
    assert answer.status_code == 401
    assert answer.json()["detail"] == "Missing authentication token"


@pytest.mark.parametrize("changes", [{"secret": "another-project's-secret-that-is-long"}, {"audience": "anon"}])
async def test_tokens_that_are_not_the_projects_are_refused(changes: dict[str, str]) -> None:
    async with backend() as client:
        assert (await client.get("/api/v1/credits/balance", headers=bearer(**changes))).status_code == 401


async def test_a_token_that_nobody_signed_is_refused() -> None:
    claims = {"sub": RICH, "aud": "authenticated", "exp": int(time.time()) + 600}
    unsigned = {"Authorization": f"Bearer {jwt.encode(claims, '', 'none')}"}
    async with backend() as client:
        assert (await client.get("/api/v1/credits/balance", headers=unsigned)).status_code == 401
    async with backend(Switches(forged_tokens_accepted=True)) as client:
        assert (await client.get("/api/v1/credits/balance", headers=unsigned)).status_code == 200


async def test_forged_tokens_are_accepted_where_that_is_switched_on() -> None:
    async with backend(Switches(forged_tokens_accepted=True)) as client:
        forged = bearer(secret="another-project's-secret-that-is-long")
        assert (await client.get("/api/v1/credits/balance", headers=forged)).json() == {"balance": 1200}


async def test_wrong_balance_says_100_while_the_database_says_1200() -> None:
    async with backend(Switches(wrong_balance=True)) as client:
        assert (await client.get("/api/v1/credits/balance", headers=bearer())).json() == {"balance": 100}


async def test_posting_to_create_is_405_with_allow_get() -> None:
    async with backend() as client:
        answer = await client.post("/api/v1/generations/create", headers=bearer(), json={})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
        assert (await client.post("/api/v1/generations/create", json={})).status_code == 401


@pytest.mark.parametrize("slash", ["", "/"])
async def test_creating_takes_a_form(slash: str) -> None:
    path = f"/api/v1/generations{slash}"
    async with backend() as client:
        empty = await client.post(path, headers=bearer(), files={"nothing": b""})
        assert (empty.status_code, empty.json()["detail"][0]["loc"]) == (422, ["body", "model_id"])
        assert (await client.post(path, headers=bearer(), json={"model_id": "x", "prompt": "y"})).status_code == 422
        form = {"model_id": (None, "fal-ai/veo3"), "prompt": (None, "a lighthouse")}
        assert (await client.post(path, headers=bearer(RICH), files=form)).status_code == 200


@pytest.mark.parametrize("slash", ["", "/"])
async def test_generations_are_listed_to_whom_they_belong(slash: str) -> None:
    path = f"/api/v1/generations{slash}"
    async with backend() as client:
        assert (await client.get(path)).status_code == 401
        answer = await client.get(path, headers=bearer())
        assert (answer.status_code, answer.json()) == (200, [{"id": "g", "status": "completed"}])
        assert (await client.get(path, headers=bearer(POOR))).json() == []
    async with backend(key="sb_secret_revoked") as client:
        assert (await client.get(path, headers=bearer())).status_code == 503


@pytest.mark.parametrize(("user", "model"), [(POOR, "fal-ai/veo3"), (RICH, "no/such/model")])
async def test_payment_required_and_unknown_models_are_flattened_to_503(user: str, model: str) -> None:
    async with backend() as client:
        form = {"model_id": (None, model), "prompt": (None, "a lighthouse")}
        assert (await client.post("/api/v1/generations", headers=bearer(user), files=form)).status_code == 503


METHODS = {"GET", "POST", "PUT", "DELETE"}
PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
ROUTES = ["/health", "/api/v1/credits/balance", "/api/v1/generations"]


@pytest.mark.parametrize("url", ROUTES)
async def test_a_preflight_of_the_frontend_is_let_in_with_credentials_for_a_day(url: str) -> None:
    async with backend() as client:
        answer = await client.options(url, headers={"Origin": FRONTEND_ORIGIN, **PREFLIGHT})
    assert (answer.status_code, answer.text) == (200, "OK")
    assert answer.headers["access-control-allow-origin"] == FRONTEND_ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-max-age"] == "86400"
    assert set(answer.headers["access-control-allow-methods"].split(", ")) == METHODS
    assert "Authorization" in answer.headers["access-control-allow-headers"].split(", ")


@pytest.mark.parametrize("reflected", [False, True])
@pytest.mark.parametrize("url", ROUTES)
async def test_a_preflight_of_a_foreign_page_is_refused_and_opens_nothing(url: str, reflected: bool) -> None:  # noqa: FBT001 - a parametrized value
    async with backend(Switches(foreign_origin_reflected=reflected)) as client:
        answer = await client.options(url, headers={"Origin": EVIL, **PREFLIGHT})
    assert (answer.status_code, answer.text) == (400, "Disallowed CORS origin")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("url", ROUTES)
async def test_options_without_an_origin_is_405(url: str) -> None:
    async with backend() as client:
        answer = await client.options(url)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("reflected", [False, True])
async def test_foreign_origins_are_reflected_on_errors_only_where_that_is_switched_on(reflected: bool) -> None:  # noqa: FBT001 - a parametrized value
    async with backend(Switches(foreign_origin_reflected=reflected)) as client:
        foreign = {"Origin": EVIL}
        unknown = await client.get("/api/v1/nonexistent", headers={**foreign, **bearer()})
        not_allowed = await client.post("/api/v1/generations/create", headers={**foreign, **bearer()})
        errors = [await client.get("/api/v1/credits/balance", headers=foreign), unknown, not_allowed]
        assert [answer.status_code for answer in errors] == [401, 404, 405]
        for answer in errors:
            assert answer.headers.get_list("access-control-allow-origin") == ([EVIL] if reflected else [])
            assert answer.headers.get("access-control-allow-credentials") == "true"  # alone it opens nothing
        fine = await client.get("/health", headers=foreign)
        assert "access-control-allow-origin" not in fine.headers
        own = await client.get("/api/v1/credits/balance", headers={"Origin": FRONTEND_ORIGIN})
        assert own.headers.get_list("access-control-allow-origin") == [FRONTEND_ORIGIN]


@pytest.mark.parametrize(
    "url", ["/debug/debug/request-info", "/debug/debug/health-detailed", "/debug/debug/echo", "/docs", "/redoc"]
)
async def test_debug_endpoints_are_not_there(url: str) -> None:
    async with backend() as client:
        assert (await client.get(url)).status_code == 401
        assert (await client.get(url, headers=bearer())).status_code == 404


async def test_no_answer_carries_a_header_that_velro_is_not_known_to_send() -> None:
    ours = {"content-type", "content-length", "date", "server", "vary"}
    known = ours | {"x-request-id", "x-response-time", "server-timing"}
    async with backend() as client:
        for url in ("/health", "/api/v1/credits/balance"):
            assert set((await client.get(url)).headers) <= known


async def test_a_missing_router_leaves_a_fallback_ping_and_no_balance() -> None:
    async with backend() as client:
        assert "fallback" not in (await client.get("/api/v1/credits/_ping", headers=bearer())).json()
    async with backend(Switches(credits_router_missing=True)) as client:
        assert (await client.get("/api/v1/credits/_ping", headers=bearer())).json()["fallback"] is True
        assert (await client.get("/api/v1/credits/balance", headers=bearer())).status_code == 404
        assert "/api/v1/credits/balance" not in (await client.get("/openapi.json")).json()["paths"]


async def test_openapi_lists_the_routes() -> None:
    async with backend() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert paths["/api/v1/credits/balance"] == {"get": {}}
    assert paths["/api/v1/generations"] == paths["/api/v1/generations/"] == {"get": {}, "post": {}}


async def test_a_dead_backend_is_answered_for_by_its_host() -> None:
    async with backend(Switches(manner=Manner.DEAD)) as client:
        answer = await client.get("/health")
    assert (answer.status_code, answer.json()["message"]) == (502, "Application failed to respond")


async def test_a_flapping_backend_answers_well_and_badly_by_threes() -> None:
    async with backend(Switches(manner=Manner.FLAPPING)) as client:
        statuses = [(await client.get("/health")).status_code for _ in range(7)]
    assert statuses == [200, 200, 200, 502, 502, 502, 200]


async def test_a_slow_backend_outlasts_patience() -> None:
    async with backend(Switches(manner=Manner.SLOW, slow_seconds=0.5)) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/health", timeout=0.1)
        assert (await client.get("/health")).status_code == 200
