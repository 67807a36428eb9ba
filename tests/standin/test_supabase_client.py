"""The real Supabase client works against the stand-in."""

import httpx
import pytest
from supabase import AsyncClientOptions, AuthApiError, PostgrestAPIError, create_async_client

from tests.standin.conftest import Project
from tests.standin.recorded import ALICE
from tests.standin.test_auth import COLUMNS, PASSWORD

DEMO = "22cb3917-57f6-49c6-ac96-ec266570081b"


@pytest.mark.parametrize("family", ["legacy", "opaque"])
async def test_the_supabase_client_signs_in_reads_refreshes_and_signs_out(project: Project, family: str) -> None:
    await project.sql(COLUMNS)
    low, high = (
        (project.keys.anon, project.keys.service)
        if family == "legacy"
        else (project.keys.publishable, project.keys.secret)
    )
    async with httpx.AsyncClient() as http:
        options = AsyncClientOptions(auto_refresh_token=False, persist_session=False, httpx_client=http)
        user = await create_async_client(project.served.supabase_url, low, options)
        service = await create_async_client(project.served.supabase_url, high, options)

        hidden = await user.table("users").select("id").execute()
        signed_in = await user.auth.sign_in_with_password({"email": "alice@example.com", "password": PASSWORD})
        own = await user.table("users").select("id").execute()
        seen = await user.auth.get_user()
        refreshed = await user.auth.refresh_session()
        await user.auth.sign_out()
        everyone = await service.table("users").select("id", count="exact").order("id").limit(1).execute()  # type: ignore[arg-type] # an enum of the same text
        shown = await service.auth.admin.get_user_by_id(DEMO)
        balance = await service.rpc("get_user_credits", {"p_user_id": ALICE}).execute()
        with pytest.raises(AuthApiError) as not_found:
            await service.auth.admin.get_user_by_id("00000000-0000-4000-8000-00000000ffff")
        with pytest.raises(PostgrestAPIError) as no_column:
            await service.table("users").select("zzz").execute()

    assert hidden.data == []
    assert signed_in.user is not None
    assert signed_in.user.id == ALICE
    assert own.data == [{"id": ALICE}]
    assert seen is not None
    assert seen.user.email == "alice@example.com"
    assert refreshed.session is not None
    assert (everyone.count, everyone.data) == (2, [{"id": ALICE}])
    assert shown.user.user_metadata == {"full_name": "Demo"}
    assert balance.data == 950
    assert not_found.value.code == "user_not_found"
    assert no_column.value.code == "42703"
