"""With a REST root of its own given, the stand-in keeps gateway and sign-in and passes rows through."""

import httpx

from sidecar.demo.standin import standin
from sidecar.serving import listen
from tests.standin.conftest import Project
from tests.standin.recorded import SECRET


async def test_rows_come_from_the_given_rest_root_through_our_gateway(project: Project) -> None:
    async with (
        standin(project.database_url, jwt_secret=SECRET, keys=project.keys, rest_url=project.served.rest_url) as front,
        httpx.AsyncClient(base_url=front.supabase_url, headers={"apikey": project.keys.secret}) as client,
    ):
        read = await client.get(
            '/rest/v1/credit_transactions?select=id&description=in.("a \\"quoted\\", note")&limit=1',
            headers={"Prefer": "count=exact"},
        )
        written = await client.post("/rest/v1/ai_models", json={"id": "ü/x", "name": "%"})
        refused = await client.get("/rest/v1/users", headers={"apikey": "sb_secret_none"})
        gone = await client.delete("/rest/v1/ai_models?id=eq.%C3%BC%2Fx", headers={"Prefer": "return=representation"})
        healthy = await client.get("/auth/v1/health")

    assert front.rest_url == project.served.rest_url
    assert (read.json(), read.headers["content-range"]) == ([{"id": 3}], "0-0/1")
    assert written.status_code == 201
    assert (refused.status_code, refused.json()["message"]) == (401, "Unregistered API key")
    assert gone.json() == [{"id": "ü/x", "name": "%", "is_active": True}]
    assert healthy.status_code == 200


async def test_a_rest_root_that_is_down_is_a_bad_gateway(project: Project) -> None:
    with listen("127.0.0.1", 0) as unused:
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with (
            standin(project.database_url, jwt_secret=SECRET, keys=project.keys, rest_url=nowhere) as front,
            httpx.AsyncClient(base_url=front.supabase_url, headers={"apikey": project.keys.secret}) as client,
        ):
            answered = await client.get("/rest/v1/users")

    assert answered.status_code == 502
