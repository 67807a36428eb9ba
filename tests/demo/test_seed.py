"""What is seeded is what is said to be seeded, and Sidecar's own rules agree about every kind."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from sidecar.demo.postgres import PostgresServer
from sidecar.demo.seed import CANARY_PASSWORD, INCIDENT_USER, Seeded, SeedSpec, seed
from sidecar.domain.credits import Balance, LedgerRow, NoBalance, prove_balance
from sidecar.domain.finding import FindingClass
from sidecar.domain.rule import Origin
from sidecar.errors import UsageError
from tests.demo.conftest import SPEC, make_empty

CANDIDATES = """
select l.user_id::text as key, array_agg(l.id::text) as ids, array_agg(l.created_at) as times,
  array_agg(l.amount) as amounts, array_agg(l.balance_after) as balances,
  bool_or(a.id is not null) as known, bool_or(a.deleted_at is not null) as deleted,
  bool_or(a.banned_until > now()) as banned, bool_or(a.is_anonymous) as anonymous,
  min(a.created_at) as subject_created_at, max(a.email) as email,
  exists (select from public.users taker where taker.email = max(a.email)) as taken
from public.credit_transactions l left join auth.users a on a.id = l.user_id
where not exists (select from public.users u where u.id = l.user_id)
group by l.user_id
"""


async def candidates(connection: psycopg.AsyncConnection) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(CANDIDATES)
        return await cursor.fetchall()


def proven(row: dict[str, Any]) -> Balance | NoBalance:
    ledger = [
        LedgerRow(order=(created_at, key), created_at=created_at, amount=amount, balance_after=balance)
        for key, created_at, amount, balance in zip(
            row["ids"], row["times"], row["amounts"], row["balances"], strict=True
        )
    ]
    return prove_balance([Origin.LEDGER], (), ledger, margin=timedelta(minutes=15))


def judged(row: dict[str, Any]) -> FindingClass:
    """Judge in the order of `sidecar.domain.finding`, from SQL facts instead of Supabase's answers."""
    horizon = datetime.now(UTC) - timedelta(minutes=15)
    barred = [
        (not row["known"], FindingClass.SUBJECT_GONE),
        (row["deleted"], FindingClass.SUBJECT_DELETED),
        (row["banned"], FindingClass.SUBJECT_BANNED),
        (row["anonymous"], FindingClass.SUBJECT_ANONYMOUS),
        (row["known"] and max(row["subject_created_at"], min(row["times"])) > horizon, FindingClass.TOO_YOUNG),
        (row["taken"], FindingClass.EMAIL_TAKEN),
    ]
    for holds, kind in barred:
        if holds:
            return kind
    balance = proven(row)
    return FindingClass(balance.value) if isinstance(balance, NoBalance) else FindingClass.REPAIRABLE


async def test_every_kind_is_judged_as_what_it_was_seeded_for(
    connection: psycopg.AsyncConnection, seeded_template: tuple[str, Seeded]
) -> None:
    _, seeded = seeded_template
    kinds = Counter(judged(row).value for row in await candidates(connection))
    assert kinds == {"repairable": seeded.repairable, **seeded.unrepairable}


async def test_every_kind_that_must_not_be_repaired_is_there(seeded_template: tuple[str, Seeded]) -> None:
    _, seeded = seeded_template
    subjects = {"subject_deleted", "subject_gone", "subject_banned", "subject_anonymous", "email_taken", "too_young"}
    ledgers = {"no_evidence", "chain_broken", "chain_ambiguous", "opening_unexplained", "balance_negative"}
    assert set(seeded.unrepairable) == subjects | ledgers
    assert min(seeded.unrepairable.values()) >= 1


async def test_the_expected_credits_are_the_sum_of_what_is_proven(
    connection: psycopg.AsyncConnection, seeded_template: tuple[str, Seeded]
) -> None:
    repairable = [proven(row) for row in await candidates(connection) if judged(row) is FindingClass.REPAIRABLE]
    amounts = [found.amount for found in repairable if isinstance(found, Balance)]
    assert sum(amounts) == seeded_template[1].expected_credits
    assert len(set(amounts)) > SPEC.orphans // 2, "a constant would hide a default that was invented"


async def test_the_user_of_the_incident_has_1200_proven_credits_and_no_profile(
    connection: psycopg.AsyncConnection,
) -> None:
    (row,) = [row for row in await candidates(connection) if row["key"] == INCIDENT_USER]
    assert row["email"] == "demo@velro.app"
    balance = proven(row)
    assert isinstance(balance, Balance)
    assert (balance.amount, balance.origin) == (1200, Origin.LEDGER)


async def test_profiles_agree_with_their_ledger(connection: psycopg.AsyncConnection) -> None:
    found = await connection.execute(
        "select count(*) filter (where u.credits_balance = l.total), count(*) from public.users u join"
        " (select user_id, sum(amount) as total from public.credit_transactions group by user_id) l on l.user_id = u.id"
    )
    agreeing, profiles = await found.fetchone() or (0, 0)
    assert agreeing == profiles == SPEC.users - SPEC.orphans + 1


async def test_no_profile_and_no_generation_points_nowhere(connection: psycopg.AsyncConnection) -> None:
    # Seeding runs with triggers off, so nothing else has checked the foreign keys.
    found = await connection.execute(
        "select (select count(*) from public.users u left join auth.users a using (id) where a.id is null),"
        " (select count(*) from public.generations g left join public.users u on u.id = g.user_id where u.id is null)"
    )
    assert await found.fetchone() == (0, 0)


async def test_the_same_seed_gives_the_same_users_and_another_seed_gives_others(
    postgres_server: PostgresServer, connection: psycopg.AsyncConnection
) -> None:
    async def digest(opened: psycopg.AsyncConnection) -> object:
        found = await opened.execute(
            "select md5(string_agg(concat_ws('|', a.id, a.email, l.id, l.amount), ',' order by a.id, l.id))"
            " from auth.users a join public.credit_transactions l on l.user_id = a.id"
        )
        return await found.fetchone()

    digests = [await digest(connection)]
    for number in (SPEC.seed, SPEC.seed + 1):
        url = await make_empty(postgres_server, f"again_{number}")
        await seed(url, SeedSpec(users=SPEC.users, orphans=SPEC.orphans, seed=number))
        async with await psycopg.AsyncConnection.connect(url) as opened:
            digests.append(await digest(opened))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(("users", "orphans"), [(1, 0), (1, 1), (3, 3), (10, 9)])
async def test_exactly_as_many_orphans_as_asked_for(postgres_server: PostgresServer, users: int, orphans: int) -> None:
    url = await make_empty(postgres_server, f"counted_{users}_{orphans}")
    seeded = await seed(url, SeedSpec(users=users, orphans=orphans, seed=1))
    assert seeded.repairable == orphans + 1
    async with await psycopg.AsyncConnection.connect(url) as opened:
        kinds = Counter(judged(row) for row in await candidates(opened))
    assert kinds[FindingClass.REPAIRABLE] == orphans + 1


@pytest.mark.parametrize(("users", "orphans"), [(5, 6), (0, 0), (5, -1)])
def test_nonsense_is_a_usage_error(users: int, orphans: int) -> None:
    with pytest.raises(UsageError):
        SeedSpec(users=users, orphans=orphans, seed=1)


async def test_the_canary_user_can_be_signed_in_with_the_known_password(connection: psycopg.AsyncConnection) -> None:
    found = await connection.execute(
        "select encrypted_password = 'sha256$' || salt || '$' ||"
        " encode(sha256(convert_to(salt || %s, 'UTF8')), 'hex') from auth.users,"
        " split_part(encrypted_password, '$', 2) salt where email = 'canary@velro.app' and salt <> ''",
        (CANARY_PASSWORD,),
    )
    assert await found.fetchone() == (True,)


async def test_there_are_seven_models(connection: psycopg.AsyncConnection) -> None:
    found = await connection.execute("select count(*) from public.ai_models where is_active")
    assert await found.fetchone() == (7,)
