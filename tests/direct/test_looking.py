"""What a look over SQL sees: keys of other types, the horizon, the canary, Supabase Auth as the evidence, standbys."""

from dataclasses import replace

import pytest

from sidecar.data.canary import Canary
from sidecar.data.postgres import PostgresData
from sidecar.domain.look import Facts, ProofFailure, Sighting, Unproven
from sidecar.domain.rule import AuthSource, LedgerSource, Rule, Table
from sidecar.errors import AccessDenied, AnswerMalformed, SchemaMismatch
from tests.direct.cast import INCIDENT, Book, Project


async def sighted(data: PostgresData, rule: Rule) -> Sighting:
    seen = await data.sight(rule, Book(), 1)
    assert isinstance(seen, Sighting), seen
    return seen


def ledger_of(rule: Rule) -> LedgerSource:
    assert isinstance(rule.detect.ledger, LedgerSource)
    return rule.detect.ledger


async def test_evidence_without_an_instant_is_old_and_evidence_beyond_the_horizon_is_young(
    project: Project, rule: Rule
) -> None:
    await project.sql("alter table public.credit_transactions alter created_at drop not null")
    await project.sql(
        "insert into public.credit_transactions (user_id, transaction_type, amount, created_at) values"
        " ('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'bonus', 1, now() - interval '16 minutes'),"
        " ('bbbbbbbb-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'bonus', 1, now() - interval '14 minutes'),"
        " ('cccccccc-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'bonus', 1, null)"
    )
    async with project.data() as data:
        seen = await sighted(data, rule)
    assert {key[0] for key in seen.candidates if key.endswith("-aaaa-4aaa-8aaa-aaaaaaaaaaaa")} == {"a", "c"}
    assert {key[0] for key in seen.young if key.endswith("-aaaa-4aaa-8aaa-aaaaaaaaaaaa")} == {"b"}


async def test_a_candidate_is_a_key_with_any_old_evidence_however_much_of_it_is_young(
    project: Project, rule: Rule
) -> None:
    await project.sql(
        "insert into public.credit_transactions (user_id, transaction_type, amount) values (%s, 'bonus', 1)", INCIDENT
    )
    async with project.data() as data:
        seen = await sighted(data, rule)
    assert INCIDENT in seen.candidates
    assert INCIDENT not in seen.young


async def test_a_user_of_supabase_auth_without_profile_is_evidence_unless_a_ledger_has_them(
    project: Project, rule: Rule
) -> None:
    await project.sql(
        "insert into auth.users (id, email, created_at) values"
        " ('bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb', 'b@example.org', now() - interval '1 day'),"
        " ('cccccccc-cccc-4ccc-8ccc-cccccccccccc', 'c@example.org', now())"
    )
    users = replace(rule, detect=replace(rule.detect, ledger=AuthSource(without=ledger_of(rule))))
    async with project.data() as data:
        seen = await sighted(data, users)
        alone = await sighted(data, replace(rule, detect=replace(rule.detect, ledger=AuthSource())))
    assert list(seen.candidates) == ["bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"]
    assert list(seen.young) == ["cccccccc-cccc-4ccc-8ccc-cccccccccccc"]
    assert seen.proof.counts.ledger_rows == seen.proof.counts.subjects
    assert INCIDENT in alone.candidates


async def test_keys_may_be_of_any_type_that_spells_them_in_one_way(project: Project, rule: Rule) -> None:
    for kind, spelled in (("bigint", "generate_series(1, 30)"), ("text", "'key-' || generate_series(1, 30)")):
        await project.sql(f"create schema in_{kind}; grant usage on schema in_{kind} to sidecar_detector")
        instant = "now() - interval '1 day' created_at"
        await project.sql(
            f"create table in_{kind}.ledger as"
            f" select {spelled}::{kind} user_id, gen_random_uuid() id, 5 amount, 5 balance_after, {instant}"
        )
        keys = f"select user_id from in_{kind}.ledger"  # noqa: S608  # nothing from outside
        await project.sql(f"create view in_{kind}.ledger_keys as {keys}")
        await project.sql(
            f"create table in_{kind}.users (id {kind}, email text, full_name text, credits_balance integer,"
            " metadata jsonb, created_at timestamptz)"
        )
        await project.sql(f"insert into in_{kind}.users (id) table in_{kind}.ledger_keys limit 20")
        await project.sql(f"grant select on all tables in schema in_{kind} to sidecar_detector")
        of_kind = replace(
            rule,
            detect=replace(
                rule.detect,
                ledger=replace(ledger_of(rule), table=Table(f"in_{kind}", "ledger")),
                expects=replace(rule.detect.expects, table=Table(f"in_{kind}", "users")),
            ),
        )
        async with project.data() as data:
            seen = await sighted(data, of_kind)
            facts = await data.facts(of_kind, seen.candidates)
            rows = await data.read_rows(of_kind, ["20" if kind == "bigint" else "key-20"])
        assert len(seen.candidates) == 10
        assert [(len(f.ledger), f.subject, f.expected_row) for f in facts] == [(1, None, None)] * 10
        assert len(rows) == 1


async def test_a_canary_that_is_not_there_means_that_nothing_is_believed(project: Project, rule: Rule) -> None:
    await project.sql("delete from public.sidecar_canary")
    async with project.data() as data:
        seen = await data.sight(rule, Book(), 1)
    assert isinstance(seen, Unproven)
    assert seen.failure is ProofFailure.CANARY_UNSEEN


async def test_a_witness_is_found_by_its_key_and_a_value_that_its_column_cannot_hold_is_no_sight(
    project: Project, rule: Rule
) -> None:
    [(witness,)] = await project.sql("select id::text from public.users limit 1")
    users = Table("public", "users")
    async with project.data(canary=Canary(table=users, key="id", value=witness.upper())) as data:
        assert (await sighted(data, rule)).candidates
    async with project.data(canary=Canary(table=users, key="id", value="not a uuid")) as data:
        with pytest.raises(AnswerMalformed, match="22P02"):
            await data.sight(rule, Book(), 1)


async def test_a_database_that_may_not_be_told_from_others_is_refused(project: Project, rule: Rule) -> None:
    await project.sql("revoke execute on function pg_control_system() from public")
    async with project.data() as data:
        with pytest.raises(AccessDenied, match="pg_control_system"):
            await data.sight(rule, Book(), 1)


async def test_one_user_whose_record_makes_no_sense_is_unreadable_and_hides_nobody_else(
    project: Project, rule: Rule
) -> None:
    await project.sql("alter table auth.users alter created_at drop not null")
    await project.sql("update auth.users set created_at = null where id = %s", INCIDENT)
    async with project.data() as data:
        seen = await sighted(data, rule)
        facts = {found.key: found for found in await data.facts(rule, seen.candidates)}
    assert facts[INCIDENT].unreadable
    assert facts[INCIDENT].subject is None
    assert [key for key, found in facts.items() if found.unreadable] == [INCIDENT]


async def test_users_are_asked_for_by_the_columns_that_this_version_of_supabase_auth_has(
    project: Project, rule: Rule
) -> None:
    await project.sql("alter table auth.users drop column is_anonymous, drop column banned_until")
    async with project.data() as data:
        [found] = await data.facts(rule, [INCIDENT])
    assert isinstance(found, Facts)
    assert found.subject is not None
    assert (found.subject.banned, found.subject.anonymous) == (False, False)
    assert found.subject.fields["email"] == "demo@velro.app"


async def test_instants_without_a_zone_are_refused_before_anything_is_compared_with_them(
    project: Project, rule: Rule
) -> None:
    await project.sql("alter table public.credit_transactions alter created_at type timestamp")
    async with project.data() as data:
        with pytest.raises(SchemaMismatch, match="must be timestamptz"):
            await data.sight(rule, Book(), 1)
