"""A user of Supabase Auth without profile and without ledger: repaired only from a number that somebody vouches for."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from sidecar.data.postgres import PostgresData
from sidecar.domain.finding import FindingClass, classify
from sidecar.domain.look import Facts, ProofFailure, Sighting, Unproven
from sidecar.domain.rule import Origin, Rule
from sidecar.sessions import Sessions
from tests.direct.cast import Book
from tests.domain.cast import HORIZON, LONG_AGO, anchor, chain, facts
from tests.rules.cast import CANARY, RULES, Shop, read

NAME = "auth_user_without_profile"
KEY = "a0000000-0000-4000-8000-{:012}"


@pytest.fixture
def rule() -> Rule:
    found = read((RULES / f"{NAME}.yaml").read_text(), NAME)
    assert isinstance(found, Rule)
    return found


def judged(rule: Rule, known: Facts) -> FindingClass | None:
    found = classify(rule, known, ledger_forgeable=True, plan_id="plan-1", horizon_at=HORIZON)
    return found.kind if found else None


def test_without_a_vouched_balance_the_user_is_listed_and_not_repaired(rule: Rule) -> None:
    assert judged(rule, facts(ledger=())) is FindingClass.NO_EVIDENCE


@pytest.mark.parametrize("origin", [Origin.ATTESTED, Origin.SNAPSHOT])
def test_an_attested_or_seen_balance_restores_the_user_though_the_ledger_is_forgeable(
    rule: Rule, origin: Origin
) -> None:
    known = facts(ledger=(), anchors=(anchor(origin, 1200, 1),))
    found = classify(rule, known, ledger_forgeable=True, plan_id="plan-1", horizon_at=HORIZON)
    assert found is not None
    assert (found.kind, found.values["credits_balance"], found.forgeable) == (FindingClass.REPAIRABLE, 1200, False)
    assert found.oldest_at == LONG_AGO, "the sign-up is the oldest that is known of this user"


def test_a_user_with_movements_belongs_to_the_other_rule_even_when_they_came_since_the_look(rule: Rule) -> None:
    known = facts(ledger=chain(1000, 200), anchors=(anchor(Origin.ATTESTED, 1200, 1),))
    assert judged(rule, known) is None


def test_a_young_sign_up_is_no_damage(rule: Rule) -> None:
    known = facts(ledger=())
    assert known.subject is not None
    young = replace(known, subject=replace(known.subject, created_at=HORIZON + timedelta(seconds=1)))
    assert judged(rule, young) is FindingClass.TOO_YOUNG


@pytest.fixture
async def sessions(shop: Shop) -> AsyncIterator[Sessions]:
    opened = Sessions(shop.login_url)
    yield opened
    await opened.close()


async def test_the_direct_path_finds_users_without_profile_and_without_ledger(
    shop: Shop, rule: Rule, sessions: Sessions
) -> None:
    await shop.admit(rule)
    for number, age in ((1, "2 days"), (2, "2 days"), (3, "2 days"), (4, "1 minute")):
        await shop.sql(
            "insert into auth.users (id, email, created_at) values (%s, %s, now() - cast(%s as interval))",
            KEY.format(number),
            f"user-{number}@example.org",
            age,
        )
    await shop.sql("insert into public.users (id, email) values (%s, 'user-2@example.org')", KEY.format(2))
    await shop.sql(
        "insert into public.credit_transactions (user_id, transaction_type, amount, balance_after)"
        " values (%s, 'bonus', 5, 5)",
        KEY.format(3),
    )
    data = PostgresData(sessions, canary=CANARY)
    seen = await data.sight(rule, Book(), 1)
    assert isinstance(seen, Sighting), seen
    assert (list(seen.candidates), list(seen.young)) == ([KEY.format(1)], [KEY.format(4)])
    [known, other] = await data.facts(rule, [KEY.format(1), KEY.format(3)])
    assert (known.ledger, len(other.ledger)) == ((), 1)


async def test_over_rest_it_is_unknown_and_says_what_it_needs(shop: Shop, rule: Rule) -> None:
    seen = await shop.data.sight(rule, Book(), 1)
    assert isinstance(seen, Unproven)
    assert seen.failure is ProofFailure.NEEDS_DATABASE
    assert "set database.url" in seen.detail
