"""The canary user of the demo, on a real database and the sample backend: the incident's fault is seen."""

import json
from collections.abc import Mapping

import pytest

from sidecar.checks.canary_user import CanaryUserKeys, CanaryUserProbe
from sidecar.checks.context import ProbeContext
from sidecar.checks.journey import JourneyProbe
from sidecar.clock import SystemClock
from sidecar.demo.seed import CANARY_EMAIL, CANARY_PASSWORD, INCIDENT_USER
from sidecar.demo.stack import Stack, StackSpec, stack
from sidecar.domain.check import Observation
from tests.checks.cast import check
from tests.checks.journeys import SIGN_IN, SIGN_OUT, Purses, journey

LOGIN = {"email": CANARY_EMAIL, "password": CANARY_PASSWORD}
LEDGER = {"table": "public.credit_transactions", "key": "user_id", "order": "created_at.desc", "limit": 1}
STEPS: tuple[Mapping[str, object], ...] = (
    SIGN_IN,
    {
        "name": "stored",
        "read_database": {"table": "public.users", "columns": ["credits_balance"]},
        "capture": {"stored": "row.credits_balance"},
    },
    {
        "name": "balance",
        "request": {"url": "/api/v1/credits/balance", "as_user": True},
        "capture": {"balance": "body.balance"},
    },
    {"name": "same-balance", "compare": {"value": "balance", "among": ["stored"]}},
    {
        "name": "ledger",
        "read_database": {**LEDGER, "columns": ["id", "balance_after"]},
        "expect": ["row.balance_after == captured.stored"],
        "fails_as": "ledger_differs",
        "capture": {"movement": "row.id"},
    },
    {
        "name": "dry-generation",
        "request": {"url": "/api/v1/generations", "method": "POST", "form": {}, "as_user": True},
        "expect": ["status == 422"],
    },
    {
        "name": "nothing-was-charged",
        "read_database": {**LEDGER, "columns": ["id"]},
        "expect": ["row.id == captured.movement"],
        "fails_as": "ledger_differs",
    },
)


def around(served: Stack) -> ProbeContext:
    return ProbeContext(
        clock=SystemClock(),
        supabase_url=served.supabase_url,
        service_key=served.service_key,
        anon_key=served.anon_key,
        backend_url=served.backend_url,
        notebook=Purses(),
    )


async def walked(served: Stack) -> Observation:
    steps = journey(*STEPS, cleanup=[SIGN_OUT], session="fresh", user=LOGIN, timeout_seconds=20.0)
    return await JourneyProbe(around(served))(steps)


async def looked(served: Stack, **keys: object) -> Observation:
    spec = CanaryUserKeys.model_validate_json(json.dumps(keys), strict=True).to_spec()
    return await CanaryUserProbe(around(served))(check("canary_user", spec, 20.0))


@pytest.mark.parametrize(
    ("faults", "of_journey", "of_user", "of_orphan"),
    [
        ((), "ok", "ok", "profile_missing"),
        (("wrong_balance",), "balance_differs", "api_differs", "profile_missing"),
        (("no_bypass",), "row_unseen", "profile_unseen", "profile_unseen"),
        (("auth_down", "backend_down"), "sign_in_failed", "sign_in_failed", "profile_missing"),
    ],
    ids=str,
)
async def test_each_fault_is_seen_for_what_it_is(
    faults: tuple[str, ...], of_journey: str, of_user: str, of_orphan: str
) -> None:
    async with stack(StackSpec(users=20, orphans=2, seed=7, faults=faults)) as served:
        credits_ = {"expected": served.canary_credits}
        user = await looked(served, user=LOGIN, profile={"columns": ["email"]}, credits=credits_, api={})
        orphan = await looked(served, user_id=INCIDENT_USER, credits={"expected": 1200})
        assert ((await walked(served)).reason, user.reason, orphan.reason) == (of_journey, of_user, of_orphan)
