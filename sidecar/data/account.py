"""A user's account as Supabase's own client tells it: what explains a user, and decides nothing.

Decisions read Supabase Auth byte by byte (`sidecar.data.auth`); see docs/decisions/0005.
"""

from dataclasses import dataclass
from datetime import datetime

import httpx

from sidecar.errors import AccessDenied, AnswerMalformed, TransientError
from sidecar.wire import USER_AGENT, open_client

SECONDS_AT_MOST = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How a user signs in, and when it last happened."""

    providers: tuple[str, ...]
    confirmed_at: datetime | None
    last_sign_in_at: datetime | None


async def read_account(url: str, service_key: str, user_id: str) -> Account | None:
    """Return the account, None when there is no such user.

    Raises: AccessDenied, TransientError, AnswerMalformed.
    """
    # The client is 100 ms and 30 MB of imports, and only `explain` needs it.
    from supabase import (  # noqa: PLC0415
        AsyncClientOptions,
        AuthApiError,
        AuthError,
        AuthRetryableError,
        create_async_client,
    )

    async with open_client() as http:
        http.timeout = SECONDS_AT_MOST  # the library knows no deadline; ours is httpx's
        options = AsyncClientOptions(
            auto_refresh_token=False, persist_session=False, httpx_client=http, headers={"User-Agent": USER_AGENT}
        )
        try:
            client = await create_async_client(url, service_key, options)
            user = (await client.auth.admin.get_user_by_id(user_id)).user
        except AuthApiError as error:
            if error.status == 404:
                return None
            raise AccessDenied(f"Supabase Auth: status {error.status} {error.code}") from error
        except AuthRetryableError as error:
            raise TransientError(f"Supabase Auth: status {error.status}") from error
        except httpx.HTTPError as error:
            raise TransientError(f"Supabase Auth: {type(error).__name__}") from error
        except AuthError as error:
            raise AnswerMalformed(f"Supabase Auth: {type(error).__name__}") from error
    return Account(
        providers=tuple(sorted({identity.provider for identity in user.identities or ()})),
        confirmed_at=user.confirmed_at,
        last_sign_in_at=user.last_sign_in_at,
    )
