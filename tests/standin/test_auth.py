"""Sign-in and admin reading as GoTrue answers, over tables with few of its columns and with all that matter."""

import time

import httpx
import pytest

from sidecar.demo.standin import sign
from tests.standin.conftest import Project
from tests.standin.recorded import ALICE, SECRET

DEMO = "22cb3917-57f6-49c6-ac96-ec266570081b"
BOB = "00000000-0000-4000-8000-000000000002"
PASSWORD = "correct horse"
COLUMNS = """
alter table auth.users add encrypted_password text, add raw_app_meta_data jsonb, add banned_until timestamptz,
  add is_anonymous boolean not null default false, add updated_at timestamptz;
update auth.users set encrypted_password = 'sha256$salt$' || encode(sha256('saltcorrect horse'), 'hex')
"""


async def call(
    project: Project, method: str, path: str, *, key: str | None = None, token: str | None = None, json: object = None
) -> httpx.Response:
    """Ask the sign-in service through the gateway, with the secret key unless another is named."""
    headers = {"apikey": key or project.keys.secret}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with httpx.AsyncClient(base_url=f"{project.served.supabase_url}/auth/v1") as client:
        return await client.request(method, path, headers=headers, json=json)


async def sign_in(project: Project, email: str = "alice@example.com", password: str = PASSWORD) -> httpx.Response:
    credentials = {"email": email, "password": password}
    return await call(project, "POST", "/token?grant_type=password", key=project.keys.publishable, json=credentials)


async def test_the_service_says_that_it_is_alive(project: Project) -> None:
    answered = await call(project, "GET", "/health")

    assert (answered.status_code, answered.json()["name"]) == (200, "GoTrue")


async def test_pages_of_users_hold_every_user_once_and_count_them_truly(project: Project) -> None:
    await project.sql("insert into auth.users (id) select gen_random_uuid() from generate_series(1, 8)")
    pages = [await call(project, "GET", f"/admin/users?page={page}&per_page=5") for page in (1, 2, 3, 4)]

    assert [len(page.json()["users"]) for page in pages] == [5, 5, 2, 0]
    assert {page.headers["x-total-count"] for page in pages} == {"12"}
    assert len({user["id"] for page in pages for user in page.json()["users"]}) == 12
    assert 'page=2>; rel="next"' in pages[0].headers["link"]
    assert 'rel="next"' not in pages[2].headers["link"]


async def test_a_user_looks_as_gotrue_shows_one(project: Project) -> None:
    shown = (await call(project, "GET", f"/admin/users/{DEMO}")).json()

    assert shown == {
        "id": DEMO,
        "aud": "authenticated",
        "role": "authenticated",
        "email": "demo@velro.app",
        "phone": "",
        "app_metadata": {},
        "user_metadata": {"full_name": "Demo"},
        "identities": [],
        "is_anonymous": False,
        "created_at": "2025-08-01T00:00:00+00:00",
        "updated_at": "2025-08-01T00:00:00+00:00",
    }


async def test_deleted_and_banned_users_are_shown_with_the_time(project: Project) -> None:
    await project.sql(COLUMNS)
    await project.sql("update auth.users set deleted_at = '2026-01-01Z' where id = %s", DEMO)
    await project.sql("update auth.users set banned_until = '2126-01-01Z', is_anonymous = true where id = %s", BOB)

    deleted = (await call(project, "GET", f"/admin/users/{DEMO}")).json()
    banned = (await call(project, "GET", f"/admin/users/{BOB}")).json()

    assert deleted["deleted_at"] == "2026-01-01T00:00:00+00:00"
    assert (banned["banned_until"], banned["is_anonymous"]) == ("2126-01-01T00:00:00+00:00", True)
    assert "banned_until" not in deleted
    assert "encrypted_password" not in banned


@pytest.mark.parametrize(
    ("path", "status", "error_code"),
    [
        ("/admin/users/00000000-0000-4000-8000-00000000ffff", 404, "user_not_found"),
        ("/admin/users/nobody", 404, "validation_failed"),
        ("/admin/users?page=x", 400, "validation_failed"),
    ],
)
async def test_a_user_who_is_not_there_is_not_found(project: Project, path: str, status: int, error_code: str) -> None:
    answered = await call(project, "GET", path)

    assert answered.status_code == status
    assert answered.json().keys() == {"code", "error_code", "msg"}
    assert (answered.json()["code"], answered.json()["error_code"]) == (status, error_code)


async def test_only_a_service_token_reads_users(project: Project) -> None:
    now = int(time.time())
    forged = sign({"role": "service_role", "exp": now + 60}, "another-secret-of-at-least-32-characters")
    expired = sign({"role": "service_role", "exp": now - 60}, SECRET)
    answers = [
        await call(project, "GET", "/admin/users", key=project.keys.service),
        await call(project, "GET", "/admin/users", token=forged),
        await call(project, "GET", "/admin/users", token=expired),
        await call(project, "GET", "/admin/users", key=project.keys.publishable),
        await call(project, "GET", "/admin/users", key=project.keys.anon, token=project.keys.anon),
    ]

    assert [(answer.status_code, answer.json()["error_code"]) for answer in answers] == [
        (401, "no_authorization"),
        (403, "bad_jwt"),
        (403, "bad_jwt"),
        (403, "not_admin"),
        (403, "not_admin"),
    ]
    assert answers[0].json()["msg"] == "This endpoint requires a valid Bearer token"
    assert answers[3].json()["msg"] == "User not allowed"


async def test_a_broken_users_table_is_an_error_of_the_service(project: Project) -> None:
    await project.sql("alter table auth.users rename to gone")

    answered = await call(project, "GET", "/admin/users")

    assert (answered.status_code, answered.json()["msg"]) == (500, "Database error finding users")


async def test_a_session_is_granted_refreshed_once_and_ended(project: Project) -> None:
    await project.sql(COLUMNS)
    granted = (await sign_in(project)).json()
    refresh = {"refresh_token": granted["refresh_token"]}

    first = await call(project, "POST", "/token?grant_type=refresh_token", json=refresh)
    again = await call(project, "POST", "/token?grant_type=refresh_token", json=refresh)
    token = first.json()["access_token"]
    seen = await call(project, "GET", "/user", token=token)
    rows = await project.http.get("/users?select=id", headers={"Authorization": f"Bearer {token}"})
    left = await call(project, "POST", "/logout", token=token)
    after = await call(project, "GET", "/user", token=token)

    assert granted["user"]["id"] == ALICE
    assert (first.status_code, again.status_code) == (200, 400)
    assert again.json()["error_code"] == "refresh_token_not_found"
    assert seen.json()["email"] == "alice@example.com"
    assert rows.json() == [{"id": ALICE}]
    assert (left.status_code, after.status_code, after.json()["error_code"]) == (204, 403, "session_not_found")


async def test_wrong_credentials_are_all_told_alike(project: Project) -> None:
    await project.sql(COLUMNS)
    await project.sql("update auth.users set encrypted_password = null where id = %s", BOB)
    await project.sql("update auth.users set deleted_at = now() where id = %s", DEMO)

    answers = [
        await sign_in(project, password="wrong"),
        await sign_in(project, email="nobody@example.com"),
        await sign_in(project, email="bob@example.com"),
        await sign_in(project, email="demo@velro.app"),
    ]

    assert {(answer.status_code, answer.text) for answer in answers} == {(400, answers[0].text)}
    assert answers[0].json()["error_code"] == "invalid_credentials"


async def test_a_banned_user_cannot_sign_in(project: Project) -> None:
    await project.sql(COLUMNS)
    await project.sql("update auth.users set banned_until = now() + '1 day' where id = %s", ALICE)

    answered = await sign_in(project)

    assert (answered.status_code, answered.json()["error_code"]) == (400, "user_banned")
