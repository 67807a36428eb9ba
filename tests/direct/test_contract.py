"""Both paths say the same about the same database."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sidecar.data.postgres import PostgresData
from sidecar.data.supabase import SupabaseData
from sidecar.domain.finding import classify, evidence_digest
from sidecar.domain.look import Sighting
from sidecar.domain.rule import FromBalance, Origin, Rule
from sidecar.ports import Data
from tests.direct.broken import over_rest
from tests.direct.cast import Book, Project


@pytest.fixture
async def paths(project: Project) -> AsyncIterator[tuple[SupabaseData, PostgresData]]:
    async with over_rest(project) as rest, project.data() as direct:
        yield rest, direct


async def sighted(data: Data, rule: Rule, book: Book | None = None) -> Sighting:
    seen = await data.sight(rule, book or Book(), 1)
    assert isinstance(seen, Sighting), seen
    return seen


async def test_both_paths_see_the_same_candidates_and_the_same_young_users(
    paths: tuple[SupabaseData, PostgresData], rule: Rule
) -> None:
    rest, direct = [await sighted(path, rule) for path in paths]
    assert len(direct.candidates) == 28
    assert list(direct.candidates) == list(rest.candidates)
    assert len(direct.young) == 2
    assert sorted(direct.young) == sorted(rest.young)
    assert direct.proof.counts.subjects == rest.proof.counts.subjects


async def test_both_paths_read_one_catalogue_with_one_fingerprint_and_know_one_database(
    paths: tuple[SupabaseData, PostgresData], rule: Rule
) -> None:
    rest, direct = [await path.catalogue(rule) for path in paths]
    assert direct == rest
    assert direct.fingerprint
    assert direct.database


async def test_facts_digests_and_findings_are_equal_on_both_paths(
    paths: tuple[SupabaseData, PostgresData], rule: Rule
) -> None:
    seen = await sighted(paths[1], rule)
    keys = [*seen.candidates, *seen.young]
    rest, direct = [await path.facts(rule, keys) for path in paths]
    assert {bool(facts.version) for facts in rest} == {False}
    assert {bool(facts.version) for facts in direct if facts.subject} == {True}
    direct = [replace(facts, version="") for facts in direct]  # REST shows no versions of rows
    assert direct == rest
    assert [evidence_digest(facts) for facts in direct] == [evidence_digest(facts) for facts in rest]

    def judged(of: list) -> list:  # type: ignore[type-arg]  # facts in, findings out
        return [
            classify(rule, facts, ledger_forgeable=False, plan_id="p", horizon_at=seen.proof.horizon_at) for facts in of
        ]

    assert judged(direct) == judged(rest)
    assert len({finding.kind for finding in judged(direct)}) == 12


async def test_rows_and_ledgers_are_equal_value_by_value(
    project: Project, paths: tuple[SupabaseData, PostgresData], rule: Rule
) -> None:
    await project.sql("alter table public.users alter credits_balance type numeric(12, 2)")
    await project.sql('update public.users set credits_balance = 12.50, metadata = \'{"n": 1.10, "u": "é"}\'')
    await project.sql("alter table public.credit_transactions alter amount type numeric")
    await project.sql("notify pgrst, 'reload schema'")
    columns = {**rule.repair.values, "created_at": rule.repair.values["email"], "is_active": rule.repair.values["id"]}
    wide = replace(rule, repair=replace(rule.repair, values=columns))
    keys = [key for (key,) in await project.sql("select id::text from public.users order by id limit 250")]
    rest, direct = [(await path.read_rows(wide, keys), await path.ledger(wide, keys)) for path in paths]
    assert direct == rest
    assert len(direct[0]) == len(keys)
    types = [[type(value) for value in row.values()] for rows, _ in (rest, direct) for _, row in sorted(rows.items())]
    assert types[: len(keys)] == types[len(keys) :]
    amounts = [[type(row.amount) for row in ledger[key]] for _, ledger in (rest, direct) for key in sorted(ledger)]
    assert amounts[: len(amounts) // 2] == amounts[len(amounts) // 2 :]


async def test_balances_are_noted_alike_and_only_where_a_snapshot_may_restore_them(
    paths: tuple[SupabaseData, PostgresData], rule: Rule
) -> None:
    rest, direct = Book(), Book()
    await sighted(paths[0], rule, rest)
    await sighted(paths[1], rule, direct)
    assert direct.noted == rest.noted
    assert len(direct.noted) > 290
    known = Book(sorted(direct.noted.items()))
    await sighted(paths[1], rule, known)
    assert known.noted == {}
    unneeded = Book()
    money = {rule.balance_column: FromBalance(order=(Origin.ATTESTED, Origin.LEDGER))}
    await sighted(
        paths[1], replace(rule, repair=replace(rule.repair, values={**rule.repair.values, **money})), unneeded
    )
    assert unneeded.noted == {}
