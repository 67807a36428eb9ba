"""Whether a ledger outlives its profile is told from the catalogue's foreign keys, or said not to be visible."""

from dataclasses import replace

import pytest

from sidecar.config.load import load_text
from sidecar.data.postgres import PostgresData
from sidecar.domain.look import Catalogue
from sidecar.domain.rule import AuthSource, Rule
from sidecar.sessions import Sessions
from sidecar.verbs.evidence_case import evidence_case, evidence_cases
from tests.config.kinds import ENVIRON, KINDS, MINIMAL
from tests.rules.cast import CANARY, RULES, Shop, read

NAME = "credits_without_profile"
TEXT = (RULES / f"{NAME}.yaml").read_text()
CASCADE = (
    "alter table public.credit_transactions"
    " add foreign key (user_id) references public.users (id) on delete {}"
)  # fmt: skip


@pytest.fixture
def rule() -> Rule:
    found = read(TEXT, NAME)
    assert isinstance(found, Rule)
    return found


async def cases(shop: Shop, rule: Rule) -> set[str]:
    """Ask over both paths."""
    await shop.admit(rule)
    sessions = Sessions(shop.login_url)
    try:
        direct = await PostgresData(sessions, canary=CANARY).catalogue(rule)
    finally:
        await sessions.close()
    return {evidence_case(rule, catalogue) for catalogue in (direct, await shop.data.catalogue(rule))}


async def test_both_paths_tell_a_ledger_that_outlives_the_row(shop: Shop, rule: Rule) -> None:
    outlives = "public.credit_transactions outlives a row of public.users: it can restore the row"
    assert await cases(shop, rule) == {outlives}
    await shop.sql(CASCADE.format("restrict"))
    assert await cases(shop, rule) == {outlives}


async def test_both_paths_tell_a_ledger_whose_evidence_dies_with_the_row(shop: Shop, rule: Rule) -> None:
    await shop.sql(CASCADE.format("cascade"))
    [told] = await cases(shop, rule)
    assert told == (
        "public.credit_transactions cascades from public.users: evidence dies with the row,"
        " so only a snapshot or a person can restore it"
    )


def test_what_is_not_visible_is_not_guessed(rule: Rule) -> None:
    for catalogue in (Catalogue(visible=False), Catalogue(visible=True)):
        assert "is not visible over REST" in evidence_case(rule, catalogue)
    bare = replace(rule, detect=replace(rule.detect, ledger=AuthSource()))
    assert "only a snapshot or a person" in evidence_case(bare, Catalogue(visible=True, ledger_cascades=False))


def test_a_rule_without_a_ledger_of_its_own_is_told_apart() -> None:
    found = read((RULES / "auth_user_without_profile.yaml").read_text(), "auth_user_without_profile")
    assert isinstance(found, Rule)
    told = evidence_case(found, Catalogue(visible=True, ledger_cascades=False))
    assert "whoever it names is another rule's case" in told
    assert "evidence dies with the row" in evidence_case(found, Catalogue(visible=True, ledger_cascades=True))


async def test_a_database_out_of_reach_keeps_nobody_from_validating() -> None:
    environ = {**ENVIRON, "SUPABASE_URL": "http://127.0.0.1:1"}
    [told] = await evidence_cases(load_text(MINIMAL, {f"{NAME}.yaml": TEXT}, KINDS, environ))
    assert told.startswith("which evidence outlives a missing row cannot be seen from here: ")
