"""The gateway's own answers, and what it lets through as whom."""

import time

import httpx
import pytest

from sidecar.demo.standin import sign
from tests.standin.conftest import Project
from tests.standin.recorded import SECRET, bearer

OTHER_SECRET = "another-secret-of-at-least-32-characters"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0"

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(project: Project, path: str, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=project.served.supabase_url) as client:
        return await client.get(path, headers=sent)


def key_of(project: Project, name: str) -> str:
    now = int(time.time())
    match name:
        case "forged":
            return sign({"role": "service_role", "exp": now + 600}, OTHER_SECRET)
        case "signed by a user":
            return sign({"role": "authenticated", "exp": now + 600}, SECRET)
        case "unregistered":
            return "sb_secret_0123456789abcdef012345_01234567"
        case _:
            key: str = getattr(project.keys, name)
            return key


@pytest.mark.parametrize(
    ("key", "path", "code", "message", "hint"),
    [
        (
            "",
            "/rest/v1/users",
            "UNAUTHORIZED_MISSING_API_KEY",
            "No API key found in request",
            "No apikey request header",
        ),
        ("", "/auth/v1/health", "UNAUTHORIZED_MISSING_API_KEY", "No API key found in request", "No apikey request"),
        ("forged", "/rest/v1/users", "UNAUTHORIZED_INVALID_API_KEY", "Invalid API key", "Double check your Supabase"),
        ("signed by a user", "/rest/v1/users", "UNAUTHORIZED_INVALID_API_KEY", "Invalid API key", "Double check your"),
        (
            "unregistered",
            "/rest/v1/users",
            "UNAUTHORIZED_UNREGISTERED_API_KEY",
            "Unregistered API key",
            "not registered",
        ),
        ("anon", "/rest/v1/", "UNAUTHORIZED_INVALID_API_KEY", "Invalid API key", "Only the `service_role` API key"),
        ("publishable", "/rest/v1/", "UNAUTHORIZED_SECRET_API_KEY_REQUIRED", "Secret API key required", "Only secret"),
    ],
)
async def test_a_key_that_does_not_do_is_refused_without_a_code(
    readable: Project, key: str, path: str, code: str, message: str, hint: str
) -> None:
    answered = await ask(readable, path, **({"apikey": key_of(readable, key)} if key else {}))

    assert answered.status_code == 401
    assert answered.json().keys() == {"message", "hint"}
    assert answered.json()["message"] == message
    assert hint in answered.json()["hint"]
    assert answered.headers["sb-error-code"] == code
    assert answered.headers["sb-project-ref"] == "demo"
    assert answered.headers["sb-request-id"]


async def test_a_secret_key_in_a_browser_is_refused(readable: Project) -> None:
    answered = await ask(readable, "/rest/v1/users", apikey=readable.keys.secret, user_agent=BROWSER)

    assert (answered.status_code, answered.json()["message"]) == (401, "Forbidden use of secret API key in browser")


@pytest.mark.parametrize(
    ("key", "authorization", "rows"),
    [
        ("service", "service", 2),
        ("service", None, 0),  # the key opens the door; without a token the request runs as nobody
        ("anon", "anon", 0),
        ("anon", "service", 2),
        ("service", "anon", 0),
        ("service", "alice", 1),
        ("secret", None, 2),
        ("secret", "secret", 2),
        ("secret", "alice", 1),
        ("publishable", None, 0),
        ("publishable", "alice", 1),
    ],
)
async def test_rights_follow_the_token_and_not_the_key(
    readable: Project, key: str, authorization: str | None, rows: int
) -> None:
    headers = {"apikey": key_of(readable, key)}
    if authorization is not None:
        token = bearer("alice") if authorization == "alice" else key_of(readable, authorization)
        headers["Authorization"] = f"Bearer {token}"

    answered = await ask(readable, "/rest/v1/users?select=id", **headers)

    assert (answered.status_code, len(answered.json())) == (200, rows)


async def test_an_opaque_key_as_another_key_s_token_reaches_postgrest_and_is_no_token(readable: Project) -> None:
    answered = await ask(
        readable, "/rest/v1/users", apikey=readable.keys.service, Authorization=f"Bearer {readable.keys.secret}"
    )

    assert (answered.status_code, answered.json()["code"]) == (401, "PGRST301")
    assert answered.json()["message"] == "Expected 3 parts in JWT; got 1"


async def test_an_expired_key_of_this_project_is_told_so_by_postgrest(readable: Project) -> None:
    expired = sign({"role": "service_role", "ref": "demo", "exp": int(time.time()) - 600}, SECRET)

    answered = await ask(readable, "/rest/v1/users", apikey=expired, Authorization=f"Bearer {expired}")

    assert (answered.status_code, answered.json()["code"]) == (401, "PGRST303")
    assert answered.headers["sb-project-ref"] == "demo"


async def test_a_key_in_the_query_serves_and_is_no_filter(readable: Project) -> None:
    answered = await ask(readable, f"/rest/v1/users?select=id&apikey={readable.keys.secret}&limit=1")

    assert (answered.status_code, len(answered.json())) == (200, 1)


async def test_the_service_key_may_read_the_description(readable: Project) -> None:
    key = readable.keys.service

    answered = await ask(readable, "/rest/v1/", apikey=key, Authorization=f"Bearer {key}")

    assert answered.status_code == 200
    assert "/users" in answered.json()["paths"]


async def test_another_path_leads_nowhere(readable: Project) -> None:
    for path in ("/", "/rest/v2/users", "/rest/v10/users", "/storage/v1/object"):
        answered = await ask(readable, path, apikey=readable.keys.secret)
        assert (answered.status_code, answered.json()) == (404, {"message": "no Route matched with those values"})


async def test_keys_do_not_show_their_values(readable: Project) -> None:
    assert readable.keys.secret not in repr(readable.keys)
