"""The decision table as a function: total, and healthy for one kind of evidence only."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.domain.check import Verdict
from sidecar.domain.key_evidence import Bypass, Evidence, Step, TableSight, UserSight, WriteSight
from sidecar.domain.key_lint import KeyFamily, KeyLint, lint, project_ref
from sidecar.domain.key_proof import proven
from sidecar.domain.reasons import ServiceKeyReason
from sidecar.domain.rule import Table
from sidecar.domain.service_key import judge
from sidecar.errors import Unreached

STATUSES = [200, 201, 204, 206, 300, 302, 400, 401, 402, 403, 404, 406, 416, 429, 500, 502, 503, 504, 520, 540, 544]
CODES = ["", "42501", "42703", "42P01", "57014", "22023", "not_admin", "bad_jwt", "PGRST000", "PGRST002", "PGRST003"]
CODES += ["PGRST100", "PGRST106", "PGRST116", "PGRST202", "PGRST204", "PGRST205", "PGRST301", "PGRST303", "x"]
MESSAGES = ["", "No API key found in request", "Invalid API key", "Legacy API keys are disabled", "JWT expired"]
MESSAGES += ["permission denied for table users", "permission denied for schema public", "Expected 3 parts", "other"]
MESSAGES += ["Forbidden use of secret API key in browser", "overdue_payment", "No suitable key or wrong key type"]


MESSAGES += ["Unauthorized"]
HEADERS: list[dict[str, str]] = [{}, {"sb-error-code": "x"}, {"sb-project-ref": "a" * 20}, {"sb-project-ref": "b" * 20}]
COUNTS = st.sampled_from([None, 0, 1, 2, 5])
ATTRIBUTES: Mapping[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from([None, *STATUSES]),
    "cause": st.sampled_from([None, *Unreached]),
    "code": st.sampled_from(CODES),
    "message": st.sampled_from(MESSAGES),
    "hint": st.sampled_from(["", "Only the `service_role` API key can be used for this endpoint."]),
    "headers": st.sampled_from(HEADERS),
    "media": st.sampled_from(["application/json", "text/plain", "application/openapi+json"]),
    "is_html": st.booleans(),
    "rows": COUNTS,
    "total": COUNTS,
    "matches": st.booleans(),
}

KNOWN = KeyLint(
    fault=None, detail="", family=KeyFamily.LEGACY, digest="0" * 8, expires_at=None, ref="a" * 20, anon_fault=""
)
REFUSED = Step(name="S1", status=401, message="No API key found in request")
ROW = Step(name="S3", status=200, rows=1, matches=True)
NO_ROW = Step(name="S2", status=200, rows=0)
DENIED = Step(name="S2", status=401, code="42501")
KEY_SET = Step(name="S1 key set", status=200, matches=True)
ADMIN = Step(name="S4", status=200, total=3)
SOME = Step(name="S5", status=206, rows=1, total=3)
NONE = Step(name="S5", status=200, rows=0, total=0)
FUNCTION = Step(name="S6", status=200)
ABSENT = Step(name="S6", status=404, code="PGRST202")
AGREES = Bypass(user="service_role", bypass=True, active={"public.users": False})
USERS, MODELS = Table(schema="public", name="users"), Table(schema="public", name="ai_models")


@st.composite
def near(draw: st.DrawFn, *usual: Step) -> Step:
    """A step as usual, or with a few attributes turned to anything."""
    changed = draw(st.sets(st.sampled_from(sorted(ATTRIBUTES)), max_size=3))
    return replace(draw(st.sampled_from(usual)), **{name: draw(ATTRIBUTES[name]) for name in sorted(changed)})


def maybe(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[Step | None]:
    return st.one_of(steps, steps, steps, st.none())


SIGHTS = st.lists(
    st.builds(
        TableSight,
        table=st.sampled_from([USERS, MODELS]),
        is_public=st.booleans(),
        service=near(SOME),
        anon=maybe(near(NONE, SOME, DENIED)),
    ),
    max_size=3,
)
PARTS: Mapping[str, st.SearchStrategy[Any]] = {
    "lint": st.builds(
        KeyLint,
        fault=st.sampled_from([None, None, *ServiceKeyReason]),
        detail=st.just(""),
        family=st.sampled_from(KeyFamily),
        digest=st.just(""),
        expires_at=st.none(),
        ref=st.sampled_from([None, "a" * 20]),
        anon_fault=st.sampled_from(["", "no anon key is configured"]),
        is_expiring=st.booleans(),
    ),
    "wire": maybe(near(REFUSED)),
    "anon_canary": maybe(near(NO_ROW, DENIED)),
    "service_canary": maybe(near(ROW)),
    "admin": maybe(near(ADMIN)),
    "root": maybe(near(ADMIN)),
    "anon_root": maybe(near(REFUSED)),
    "key_set": maybe(near(KEY_SET)),
    "user": st.one_of(
        st.none(),
        st.builds(
            UserSight,
            sign_in=maybe(near(ADMIN)),
            own=maybe(near(ROW)),
            others=st.lists(near(NO_ROW, DENIED), max_size=2).map(tuple),
            control=maybe(near(NO_ROW)),
            control_own=maybe(near(ROW)),
        ),
    ),
    "write": st.one_of(
        st.none(),
        st.builds(WriteSight, written=near(ROW), by_anon=maybe(near(NO_ROW, DENIED)), read_back=maybe(near(ROW))),
    ),
    "tables": SIGHTS.map(tuple),
    "by_witness": st.booleans(),
    "rpc": maybe(near(FUNCTION, ABSENT)),
    "bypass": st.one_of(
        st.none(),
        st.builds(
            Bypass,
            user=st.sampled_from(["service_role", "anon"]),
            bypass=st.booleans(),
            active=st.dictionaries(st.just("public.users"), st.booleans()),
        ),
    ),
}
HEALTHY = Evidence(
    lint=KNOWN,
    wire=REFUSED,
    anon_canary=NO_ROW,
    service_canary=ROW,
    admin=ADMIN,
    tables=(
        TableSight(table=USERS, is_public=False, service=SOME, anon=NONE),
        TableSight(table=MODELS, is_public=True, service=SOME, anon=SOME),
    ),
    rpc=FUNCTION,
    bypass=AGREES,
    profiles=USERS,
)


BOUND = UserSight(own=ROW, others=(NO_ROW, DENIED), control=NO_ROW, control_own=ROW)
LANDED = WriteSight(written=ROW, by_anon=NO_ROW, read_back=ROW)


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    """Anything at all, and often something that is nearly healthy."""
    changed = draw(st.sets(st.sampled_from(sorted(PARTS))))
    return replace(HEALTHY, **{name: draw(PARTS[name]) for name in sorted(changed)})


def answered(step: Step | None) -> bool:
    return step is not None and step.status in (200, 206) and step.rows is not None


def shut(step: Step) -> bool:
    return (step.status, step.code) == (401, "42501") or (answered(step) and not step.rows and not step.total)


def one(step: Step | None) -> bool:
    return answered(step) and step is not None and step.rows == 1 and step.matches


def bound(user: UserSight) -> bool:
    """S7 in words of its own."""
    seen = (*user.others, user.control)
    denied = [step is not None and (shut(step) or (step.status, step.code) == (403, "42501")) for step in seen]
    return one(user.own) and one(user.control_own) and len(denied) > 1 and all(denied)


def landed(write: WriteSight) -> bool:
    """S8 in words of its own."""
    return one(write.written) and write.by_anon is not None and shut(write.by_anon) and one(write.read_back)


def row_31(seen: Evidence) -> bool:
    """Row 31 in words of its own: S3 row and nonce, S4 200, S5 service >= anon, S6 agrees, anon hidden.

    S6 may be absent, but only beside a canary.
    """
    s1, s2, s3, s6, says = seen.wire, seen.anon_canary, seen.service_canary, seen.rpc, seen.bypass
    if s1 is None or s2 is None or s3 is None:
        return False
    anon = [s2, *(sight.anon for sight in seen.tables)]
    tables = all(
        sight.anon is not None
        and answered(sight.service)
        and sight.service.total is not None
        and (not answered(sight.anon) or sight.service.total >= max(sight.anon.rows or 0, sight.anon.total or 0))
        and (shut(sight.anon) or (sight.is_public and answered(sight.anon)))
        for sight in seen.tables
    )
    absent = s6 is None or (s6.status, s6.code) == (404, "PGRST202")
    agrees = says is not None and (says.user, says.bypass, any(says.active.values())) == ("service_role", True, False)
    claims = [
        seen.lint.fault is None and not seen.lint.anon_fault,
        (s1.status == 401 and not s1.is_html) or (seen.key_set is not None and seen.key_set.matches),
        answered(s3) and s3.rows == 1 and s3.matches,
        (seen.admin is not None and seen.admin.status == 200)
        or (seen.root is not None and seen.root.status == 200 and seen.anon_root is not None),
        seen.user is None or bound(seen.user),
        seen.write is None or landed(seen.write),
        bool(seen.tables) and tables,
        shut(s2) and any(answered(step) for step in anon),
        (absent and says is None and not seen.by_witness) or (s6 is not None and s6.status == 200 and agrees),
    ]
    return all(claims)


@settings(max_examples=1500, deadline=None)
@given(evidence())
def test_nothing_but_row_31_is_healthy_and_judging_never_fails(seen: Evidence) -> None:
    judgement = judge(seen)
    assert isinstance(judgement.reason, ServiceKeyReason)
    if judgement.reason.verdict is Verdict.HEALTHY:
        assert judgement.reason is ServiceKeyReason.OK
        assert row_31(seen)


def test_the_generator_does_reach_row_31() -> None:
    """Without this the property above could hold for want of healthy evidence."""
    found: list[ServiceKeyReason] = []

    @settings(max_examples=600, deadline=None, database=None)
    @given(evidence())
    def collect(seen: Evidence) -> None:
        found.append(judge(seen).reason)

    collect()
    assert found.count(ServiceKeyReason.OK) > 5
    assert len(set(found)) > 8


@pytest.mark.parametrize("status", sorted(set(range(100, 600)) - {200, 206, 401}))
def test_no_read_with_an_unlisted_status_is_healthy(status: int) -> None:
    odd = Step(name="a step", status=status, rows=0, message="?")
    first, second = HEALTHY.tables
    for changed in (
        {"wire": odd},
        {"anon_canary": odd},
        {"service_canary": replace(odd, rows=1, matches=True)},
        {"tables": (replace(first, anon=odd), second)},
        {"tables": (replace(first, service=odd), second)},
        {"admin": odd},
        {"rpc": odd},
    ):
        assert judge(replace(HEALTHY, **changed)).reason.verdict is not Verdict.HEALTHY, changed


@pytest.mark.parametrize(
    "changed",
    [
        {"lint": replace(KNOWN, fault=ServiceKeyReason.KEY_EXPIRED)},
        {"lint": replace(KNOWN, anon_fault="no anon key is configured")},
        {"wire": None},
        {"wire": replace(REFUSED, message="")},
        {"anon_canary": None},
        {"anon_canary": replace(NO_ROW, rows=1)},
        {"anon_canary": DENIED, "tables": (replace(HEALTHY.tables[0], anon=DENIED),)},
        {"service_canary": None},
        {"service_canary": replace(ROW, rows=0)},
        {"service_canary": replace(ROW, rows=2)},
        {"service_canary": replace(ROW, matches=False)},
        {"admin": None},
        {"tables": ()},
        {"bypass": None},
        {"bypass": replace(AGREES, bypass=False)},
        {"admin": None, "root": ADMIN},
        {"admin": None, "root": ADMIN, "anon_root": ADMIN},
        {"user": UserSight()},
        {"user": replace(BOUND, own=None)},
        {"user": replace(BOUND, others=())},
        {"user": replace(BOUND, others=(NO_ROW, SOME))},
        {"user": replace(BOUND, control=None)},
        {"user": replace(BOUND, control=SOME)},
        {"user": replace(BOUND, control_own=replace(ROW, matches=False))},
        {"write": replace(LANDED, written=replace(ROW, rows=0))},
        {"write": replace(LANDED, by_anon=None)},
        {"write": replace(LANDED, by_anon=SOME)},
        {"write": replace(LANDED, read_back=None)},
        {"write": replace(LANDED, read_back=replace(ROW, matches=False))},
        {"by_witness": True, "rpc": ABSENT, "bypass": None},
        {"by_witness": True, "rpc": None, "bypass": None},
        {"by_witness": True, "bypass": replace(AGREES, active={"public.users": True})},
    ],
)
def test_row_31_needs_every_claim_although_earlier_rows_already_catch_most(changed: dict[str, Any]) -> None:
    assert proven(HEALTHY) is not None
    assert proven(replace(HEALTHY, user=BOUND, write=LANDED)) is not None
    assert proven(replace(HEALTHY, admin=None, root=ADMIN, anon_root=REFUSED)) is not None
    assert proven(replace(HEALTHY, **changed)) is None


@pytest.mark.parametrize("rpc", [ABSENT, None])
def test_a_witness_alone_proves_no_bypass_and_the_detail_says_what_would(rpc: Step | None) -> None:
    alone = replace(HEALTHY, by_witness=True, rpc=rpc, bypass=None)
    assert judge(alone).reason is ServiceKeyReason.UNKNOWN
    assert "install the fixture" in judge(alone).detail
    assert judge(replace(alone, by_witness=False)).reason is ServiceKeyReason.OK
    assert judge(replace(HEALTHY, by_witness=True)).reason is ServiceKeyReason.OK


def test_the_healthy_evidence_is_healthy() -> None:
    assert row_31(HEALTHY)
    assert judge(HEALTHY).reason is ServiceKeyReason.OK


def test_verdicts_follow_the_sentence_above_the_table() -> None:
    healthy = [reason for reason in ServiceKeyReason if reason.verdict is Verdict.HEALTHY]
    unknown = {reason.value for reason in ServiceKeyReason if reason.verdict is Verdict.UNKNOWN}
    assert healthy == [ServiceKeyReason.OK]
    assert unknown == {
        *("network_down", "project_ref_wrong_or_deleted", "project_paused", "project_restricted", "gateway_down"),
        *("wrong_endpoint", "db_down", "schema_cache_loading", "pool_exhausted", "statement_timeout", "rate_limited"),
        *("key_rejected_unknown", "anon_probe_dead", "checker_broken", "inconsistent", "unknown"),
    }


@pytest.mark.parametrize(
    "wire",
    [
        Step(name="S1", status=401, media="text/plain", message="Unauthorized"),
        Step(name="S1", status=200, media="application/openapi+json"),
    ],
)
def test_a_hosted_name_is_never_answered_for_by_a_gateway_of_ones_own(wire: Step) -> None:
    at_home = replace(HEALTHY, wire=wire, key_set=KEY_SET, lint=replace(KNOWN, ref=None))
    assert judge(at_home).reason is ServiceKeyReason.OK
    assert judge(replace(at_home, lint=KNOWN)).reason is ServiceKeyReason.WRONG_ENDPOINT
    assert judge(replace(at_home, key_set=None)).reason is ServiceKeyReason.WRONG_ENDPOINT


def test_an_answer_of_another_project_is_the_wrong_endpoint() -> None:
    known = KeyLint(
        fault=None, detail="", family=KeyFamily.LEGACY, digest="", expires_at=None, ref="a" * 20, anon_fault=""
    )
    wire = Step(name="S1", status=401, message="No API key found in request", headers={"sb-project-ref": "b" * 20})
    assert judge(Evidence(lint=known, wire=wire)).reason is ServiceKeyReason.WRONG_ENDPOINT


def test_a_name_that_does_not_exist_is_told_from_a_network_that_is_down() -> None:
    known = KeyLint(fault=None, detail="", family=KeyFamily.LEGACY, digest="", expires_at=None, ref=None, anon_fault="")
    reasons = {
        cause: judge(Evidence(lint=known, wire=Step(name="S1", cause=cause))).reason.value for cause in Unreached
    }
    assert reasons.pop(Unreached.RESOLVE_FAILED) == "project_ref_wrong_or_deleted"
    assert {reasons.pop(Unreached.PROTOCOL_BROKEN), reasons.pop(Unreached.BODY_TOO_LARGE)} == {"wrong_endpoint"}
    assert set(reasons.values()) == {"network_down"}


@given(st.text(), st.text(), st.text())
def test_linting_never_fails_on_any_text(service_key: str, anon_key: str, supabase_url: str) -> None:
    found = lint(
        service_key=service_key,
        anon_key=anon_key,
        supabase_url=supabase_url,
        now=datetime(2026, 11, 22, tzinfo=UTC),
        expiring_days=30,
    )
    assert found.fault is not None  # random text is no key


def test_only_hosted_urls_name_a_project() -> None:
    assert project_ref("https://abcdefghijklmnopqrst.supabase.co/") == "abcdefghijklmnopqrst"
    assert project_ref("https://abcdefghijklmnopqrst.supabase.in") == "abcdefghijklmnopqrst"
    assert project_ref("https://abcdefghijklmnopqrst.supabase.co.evil.example") is None
    assert project_ref("http://127.0.0.1:54321") is None
