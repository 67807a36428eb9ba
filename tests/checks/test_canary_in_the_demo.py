"""The how-to's checks on the demo: a real database, the sample backend, and the incident's faults."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.app import App, open_app
from sidecar.checks.journey_steps import JourneySpec
from sidecar.checks.kinds import KINDS
from sidecar.config.load import load_text
from sidecar.config.settings import Config
from sidecar.demo.seed import CANARY_EMAIL, CANARY_PASSWORD, INCIDENT_USER
from sidecar.demo.stack import Stack, StackSpec, stack
from sidecar.domain.check import Observation
from sidecar.errors import ConfigError, UsageError
from tests.fakes import RecordingReporter

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "watch-a-users-journey.md"
PLACE = "PLACE"
HEAD = """
supabase: {url: "${SUPABASE_URL}", service_key: "${SUPABASE_SERVICE_ROLE_KEY}", anon_key: "${SUPABASE_ANON_KEY}"}
backend: {url: "${BACKEND_URL}"}
state: {url: "${STATE_URL}"}
"""
MORE = f"""
  - {{name: health, kind: http, url: /health}}
  - name: orphan
    kind: canary_user
    user_id: {INCIDENT_USER}
    credits: {{expected: 1200}}
  - name: paid
    kind: journey
    user: {{email: "${{SIDECAR_CANARY_EMAIL:-}}", password: "${{SIDECAR_CANARY_PASSWORD:-}}"}}
    required: false
    session: fresh
    budget: 60
    steps:
      - {{name: sign-in, sign_in: true}}
      - name: stored
        read_database: {{table: public.users, columns: [credits_balance]}}
        capture: {{stored: row.credits_balance}}
      - name: generate
        request:
          url: /api/v1/generations
          method: POST
          as_user: true
          form: {{model_id: fal-ai/ideogram/v3, prompt: a cat}}
        costs: 40
        capture: {{generation: body.id}}
      - name: deduction
        read_database:
          table: public.credit_transactions
          key: generation_id
          value: "{{{{generation}}}}"
          columns: [user_id, amount, balance_after]
        patience: 5s
        expect: [count == 1, row.amount == -40, row.balance_after == captured.stored - 40]
        fails_as: ledger_differs
    cleanup:
      - {{name: sign-out, sign_out: true}}
"""


def config(environ: Mapping[str, str]) -> Config:
    """The first YAML of the page, with a check that is always there, and two more."""
    found = re.search(r"```yaml\n(checks:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return load_text(f"{HEAD}{found[1]}{MORE}", {}, {name: kind.model for name, kind in KINDS.items()}, environ)


@asynccontextmanager
async def opened(served: Stack, folder: Path, **more: str) -> AsyncIterator[App]:
    environ = {
        "SUPABASE_URL": served.supabase_url,
        "SUPABASE_SERVICE_ROLE_KEY": served.service_key,
        "SUPABASE_ANON_KEY": served.anon_key,
        "BACKEND_URL": served.backend_url,
        "STATE_URL": f"sqlite:///{folder / 'state.db'}",
        **more,
    }
    async with open_app(config(environ), RecordingReporter(), stopping=lambda: False) as app:
        yield app


def canary(served: Stack, **more: str) -> dict[str, str]:
    login = {"SIDECAR_CANARY_EMAIL": CANARY_EMAIL, "SIDECAR_CANARY_PASSWORD": CANARY_PASSWORD}
    return {**login, "SIDECAR_CANARY_CREDITS": str(served.canary_credits), **more}


async def look(app: App, name: str) -> Observation:
    return await app.watch.look(app.check(name))


@pytest.mark.parametrize(
    ("faults", "of_journey", "of_user", "of_orphan"),
    [
        (("wrong_balance",), "balance_differs", "api_differs", "profile_missing"),
        pytest.param(("no_bypass",), "row_unseen", "profile_unseen", "profile_unseen", marks=pytest.mark.soak),
    ],
    ids=str,
)
async def test_each_fault_is_seen_for_what_it_is(
    faults: tuple[str, ...], of_journey: str, of_user: str, of_orphan: str, tmp_path: Path
) -> None:
    spec = StackSpec(users=20, orphans=2, seed=7, faults=faults)
    async with stack(spec) as served, opened(served, tmp_path, **canary(served)) as app:
        seen = [(await look(app, name)).reason for name in ("credits-journey", "canary-user", "orphan")]
    assert seen == [of_journey, of_user, of_orphan]


async def test_the_page_works_and_a_budget_outlives_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "backend.log"
    log.touch()
    async with stack(StackSpec(users=20, orphans=2, seed=7)) as served:
        async with opened(served, tmp_path) as app:
            assert [check.name for check in app.config.checks] == ["health", "orphan"]
            assert list(app.config.left_out) == [
                "credits-journey",
                "canary-user",
                "backend-log",
                "paid",
            ]
            with pytest.raises(UsageError, match="check canary-user: left out; it needs a user's id"):
                app.check("canary-user")
        known = canary(served, SIDECAR_BACKEND_LOG=str(log))
        async with opened(served, tmp_path, **known) as app:
            for name in ("credits-journey", "canary-user", "backend-log", "paid", "credits-journey"):
                seen = await look(app, name)
                assert seen.reason == "ok", seen
            assert CANARY_PASSWORD not in json.dumps([str(event) for event in reporter_of(app).events], default=str)
        log.write_text("Credit processing failed: Profile lookup error\n")
        async with opened(served, tmp_path, **known) as app:
            assert (await look(app, "backend-log")).reason == "signature_seen"
            assert (await look(app, "paid")).reason == "budget_spent"
            assert (await look(app, "canary-user")).reason == "credits_differ"  # the journey has paid


def test_a_password_may_come_from_a_file_and_is_told_by_nobody(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a-password-nobody-may-see\n")
    text = f"""{HEAD}checks:
  - name: journey
    kind: journey
    user: {{email: a@b.example, password: file:password}}
    steps:
      - {{name: sign-in, sign_in: true}}
      - {{name: asked, request: {{url: "/{PLACE}"}}}}
"""
    kinds = {name: kind.model for name, kind in KINDS.items()}
    environ = {
        "SUPABASE_URL": "http://127.0.0.1:1",
        "SUPABASE_SERVICE_ROLE_KEY": "",
        "SUPABASE_ANON_KEY": "",
        "BACKEND_URL": "http://127.0.0.1:1",
        "STATE_URL": "sqlite:///x.db",
    }
    spec = load_text(text.replace(PLACE, "a"), {}, kinds, environ, folder=tmp_path).checks[0].spec
    assert isinstance(spec, JourneySpec)
    assert spec.login.password == "a-password-nobody-may-see"
    assert "nobody-may-see" not in repr(spec)
    with pytest.raises(ConfigError) as refused:
        load_text(text.replace(PLACE, "a/{{nothing}}"), {}, kinds, environ, folder=tmp_path)
    assert "has the step asked, which needs nothing; no earlier step captures that" in str(refused.value)
    assert "nobody-may-see" not in str(refused.value)


def reporter_of(app: App) -> RecordingReporter:
    assert isinstance(app.reporter, RecordingReporter)
    return app.reporter
