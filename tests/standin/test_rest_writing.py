"""Writing beside the recorded samples: nothing half written, nothing overwritten by surprise."""

import pytest

from tests.standin.conftest import Project

CAROL = "00000000-0000-4000-8000-000000000003"
DEMO = "22cb3917-57f6-49c6-ac96-ec266570081b"
NOBODY = "00000000-0000-4000-8000-00000000dddd"
IGNORE = "resolution=ignore-duplicates,return=representation"


def profile(user_id: str, email: str, credits_balance: int = 7) -> dict[str, object]:
    return {"id": user_id, "email": email, "credits_balance": credits_balance}


async def profiles(project: Project) -> dict[str, int]:
    return dict(await project.sql("select id::text, credits_balance from users"))


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (profile(NOBODY, "nobody@example.com"), "23503"),
        (profile(DEMO, "alice@example.com"), "23505"),
        (profile(DEMO, "demo@velro.app", -1), "23514"),
        (profile(DEMO, "demo@velro.app", 2**40), "22003"),
    ],
)
async def test_a_batch_with_one_bad_row_writes_nothing(project: Project, bad: dict[str, object], code: str) -> None:
    before = await profiles(project)

    batch = [profile(CAROL, "carol@example.com"), bad]
    refused = await project.ask("POST", "/users?on_conflict=id", json=batch, Prefer=IGNORE)

    assert refused.json()["code"] == code
    assert await profiles(project) == before


async def test_ignored_duplicates_keep_their_balance_and_are_not_returned(project: Project) -> None:
    alice = "00000000-0000-4000-8000-000000000001"
    batch = [profile(alice, "new@example.com", 1), profile(CAROL, "carol@example.com", 33)]

    written = await project.ask("POST", "/users?on_conflict=id&select=id,credits_balance", json=batch, Prefer=IGNORE)

    assert written.status_code == 201
    assert written.json() == [{"id": CAROL, "credits_balance": 33}]
    assert (await profiles(project))[alice] == 950


async def test_merging_duplicates_overwrites_and_tells_insert_from_update(project: Project) -> None:
    prefer = "resolution=merge-duplicates,return=minimal"
    inserted = await project.ask("POST", "/users", json=profile(CAROL, "carol@example.com"), Prefer=prefer)
    updated = await project.ask("POST", "/users", json=profile(CAROL, "carol@example.com", 8), Prefer=prefer)

    assert (inserted.status_code, updated.status_code) == (201, 200)
    assert (await profiles(project))[CAROL] == 8


async def test_an_absent_key_becomes_null_unless_defaults_are_asked_for(project: Project) -> None:
    path = "/users?columns=id,email,credits_balance&select=credits_balance"
    rows = [{"id": CAROL, "email": "carol@example.com"}]

    as_null = await project.ask("POST", path, json=rows, Prefer="return=representation")
    as_default = await project.ask("POST", path, json=rows, Prefer="return=representation,missing=default")

    assert as_null.json()["code"] == "23502"
    assert as_default.json() == [{"credits_balance": 1000}]


async def test_defaults_fill_a_single_object_and_an_identity_too(project: Project) -> None:
    row = {"user_id": CAROL, "transaction_type": "bonus", "amount": 1, "balance_after": 1}

    written = await project.ask(
        "POST",
        "/credit_transactions?columns=id,user_id,transaction_type,amount,balance_after&select=id",
        json=row,
        Prefer="return=representation, missing=default",
    )

    assert written.json() == [{"id": 101}]
    assert written.headers["preference-applied"] == "missing=default, return=representation"


async def test_empty_objects_insert_rows_of_defaults(project: Project) -> None:
    await project.sql("create table plain (id int generated always as identity, note text default 'x')")
    await project.sql("grant all on plain to service_role")

    one = await project.ask("POST", "/plain", json={}, Prefer="return=representation")
    two = await project.ask("POST", "/plain", json=[{}, {}], Prefer="return=representation")
    none = await project.ask("POST", "/plain", json=[], Prefer="return=representation")

    assert one.json() == [{"id": 1, "note": "x"}]
    assert two.json() == [{"id": 2, "note": "x"}, {"id": 3, "note": "x"}]
    assert (none.status_code, none.json()) == (201, [])


@pytest.mark.parametrize(
    ("method", "headers", "code"),
    [
        ("PATCH", {"Prefer": "handling=strict,max-affected=1"}, "PGRST124"),
        ("DELETE", {"Prefer": "handling=strict,max-affected=1"}, "PGRST124"),
        ("PATCH", {"Accept": "application/vnd.pgrst.object+json", "Prefer": "return=representation"}, "PGRST116"),
        ("DELETE", {"Accept": "application/vnd.pgrst.object+json", "Prefer": "return=representation"}, "PGRST116"),
    ],
)
async def test_a_change_of_too_many_rows_is_undone(
    project: Project, method: str, headers: dict[str, str], code: str
) -> None:
    before = await profiles(project)

    refused = await project.ask(
        method, "/users?credits_balance=gte.0", json={"credits_balance": 5} if method == "PATCH" else None, **headers
    )

    assert refused.json()["code"] == code
    assert await profiles(project) == before


async def test_max_affected_counts_only_when_strict(project: Project) -> None:
    answered = await project.ask("DELETE", "/open_table?id=gt.0", Prefer="max-affected=1,count=exact")

    assert (answered.status_code, answered.headers["content-range"]) == (204, "*/2")


async def test_an_update_reaches_exactly_what_its_filters_match(project: Project) -> None:
    answered = await project.ask(
        "PATCH",
        "/credit_transactions?or=(id.eq.1,and(amount.lt.0,id.gt.4))&select=id&order=id.desc",
        json={"description": "touched"},
        Prefer="return=representation",
    )

    assert answered.json() == [{"id": 5}, {"id": 1}]
    assert await project.sql("select id from credit_transactions where description = 'touched' order by id") == [
        (1,),
        (5,),
    ]


async def test_an_update_without_columns_touches_nothing(project: Project) -> None:
    answered = await project.ask("PATCH", "/users?id=not.is.null", json={}, Prefer="return=representation")

    assert (answered.status_code, answered.json()) == (200, [])


async def test_a_new_column_is_known_at_once(project: Project) -> None:
    await project.ask("PATCH", "/ai_models?id=eq.none", json={"name": "x"})
    await project.sql("alter table ai_models add column note text")

    answered = await project.ask("PATCH", "/ai_models?id=eq.fal-ai/old", json={"note": "x"})

    assert answered.status_code == 204


async def test_reading_cannot_write(project: Project) -> None:
    await project.sql(
        "create function sneak() returns int language sql as 'delete from open_table; select 1';"
        " create function sneak_stable() returns int language plpgsql stable as"
        " 'begin delete from open_table; return 1; end'"
    )

    by_get = await project.get("/rpc/sneak")
    by_stable = await project.ask("POST", "/rpc/sneak_stable", json={})

    assert (by_get.status_code, by_get.json()["code"]) == (405, "25006")
    assert by_stable.status_code >= 400
    assert await project.sql("select count(*) from open_table") == [(2,)]


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        ("", "application/json", "Empty or invalid json"),
        ('{"id": NaN}', "application/json", "Empty or invalid json"),
        ("[" * 100_000, "application/json", "Empty or invalid json"),
        ('[{"id": "a"}, 1]', "application/json", "All object keys must match"),
        ("id,name\n1,2", "text/csv", "Content-Type not acceptable: text/csv"),
    ],
)
async def test_a_body_that_is_no_rows_is_refused(project: Project, body: str, content_type: str, message: str) -> None:
    token = (await project.get("/users?limit=0")).request.headers["authorization"]
    answered = await project.http.post(
        "/ai_models", content=body, headers={"Content-Type": content_type, "Authorization": token}
    )

    assert (answered.status_code, answered.json()["code"], answered.json()["message"]) == (400, "PGRST102", message)


async def test_put_is_refused_rather_than_guessed(project: Project) -> None:
    answered = await project.ask("PUT", "/ai_models?id=eq.x", json={"id": "x", "name": "X"})

    assert (answered.status_code, answered.json()["code"]) == (400, "PGRST127")


async def test_a_role_s_time_limit_ends_its_statements(project: Project) -> None:
    database = project.database_url.rpartition("/")[2]
    await project.sql(f"alter role anon in database \"{database}\" set statement_timeout = '50ms'")
    await project.get("/nope", role=None)  # has the settings read again

    cut = await project.ask("POST", "/rpc/slow", role=None, json={"seconds": 5})
    whole = await project.ask("POST", "/rpc/slow", json={"seconds": 0.1})

    assert (cut.status_code, cut.json()["code"]) == (500, "57014")
    assert whole.status_code == 204


async def test_a_lost_connection_is_503_and_the_next_request_is_served(project: Project) -> None:
    await project.get("/users?limit=0")
    database = project.database_url.rpartition("/")[2]
    await project.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
        database,
    )

    statuses = [(await project.get("/users?limit=0")).status_code for _ in range(3)]

    assert set(statuses) <= {200, 503}
    assert statuses[-1] == 200
