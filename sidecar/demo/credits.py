"""What was restored, asked of PostgreSQL itself: independent of everything that Sidecar believes."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg


@dataclass(frozen=True, slots=True, kw_only=True)
class Credits:
    """Credits of the users that some plans restored. `expected_sum` sums their ledgers, `restored_sum` their rows."""

    expected_sum: int
    restored_sum: int
    drift: int


async def measure_credits(database_url: str, plan_ids: Sequence[str]) -> Credits:
    """Compare the restored balances with the ledger, as superuser and in SQL."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        found = await connection.execute(
            """
            with restored as (select id, credits_balance from public.users where metadata ->> 'plan' = any(%s))
            select
              (select coalesce(sum(credits_balance), 0) from restored),
              (select coalesce(sum(amount), 0)
                 from public.credit_transactions where user_id in (select id from restored))
            """,
            (list(plan_ids),),
        )
        row = await found.fetchone()
    restored, expected = (int(row[0]), int(row[1])) if row else (0, 0)
    return Credits(expected_sum=expected, restored_sum=restored, drift=restored - expected)
