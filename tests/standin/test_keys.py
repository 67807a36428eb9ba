"""Keys of both families, and what becomes of them when one family is disabled."""

from datetime import UTC, datetime

import httpx

from sidecar.demo.standin import make_keys, standin
from tests.standin.recorded import SECRET


async def test_disabled_legacy_keys_are_refused_and_opaque_ones_still_serve(recorded_url: str) -> None:
    keys = make_keys(SECRET, "demo", now=datetime.now(UTC))
    disabled = datetime(2026, 11, 1, tzinfo=UTC)
    async with (
        standin(recorded_url, jwt_secret=SECRET, keys=keys, legacy_disabled_at=disabled) as served,
        httpx.AsyncClient(base_url=served.supabase_url) as client,
    ):
        legacy = await client.get("/rest/v1/users", headers={"apikey": keys.service})
        opaque = await client.get("/rest/v1/users?select=id", headers={"apikey": keys.secret})
        as_bearer = await client.get(
            "/rest/v1/users?select=id",
            headers={"apikey": keys.publishable, "Authorization": f"Bearer {keys.service}"},
        )

    assert (legacy.status_code, legacy.json()["message"]) == (401, "Legacy API keys are disabled")
    assert "2026-11-01" in legacy.json()["hint"]
    assert (opaque.status_code, len(opaque.json())) == (200, 2)
    assert (as_bearer.status_code, len(as_bearer.json())) == (200, 2)


def test_opaque_keys_last_as_long_as_the_secret() -> None:
    first, second = (make_keys(SECRET, "demo", now=datetime(year, 1, 1, tzinfo=UTC)) for year in (2026, 2027))

    assert (first.secret, first.publishable) == (second.secret, second.publishable)
    assert first.secret != make_keys(SECRET, "other", now=datetime(2026, 1, 1, tzinfo=UTC)).secret
