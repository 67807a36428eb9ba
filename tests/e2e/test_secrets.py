"""One whole repair with every output kept: no secret and nobody's name or e-mail is in any of it."""

import base64
import gzip
import json
import signal
import stat
from collections.abc import Iterator
from urllib.parse import quote

import jwt
import pytest
from anyio.from_thread import BlockingPortal
from psycopg.conninfo import conninfo_to_dict

from tests.e2e.cast import INCIDENT, RULE, Project, entered, until
from tests.scripted import Scripted, reply, scripted
from tests.telemetry.receiver import Receiver, a_receiver

HOOK = "/services/T0123/B4567/webhook-path-secret-aXbY"


@pytest.fixture
def webhook(portal: BlockingPortal) -> Iterator[Scripted]:
    """A server that takes notifications under a secret path, and keeps them."""
    with entered(portal, scripted(lambda _: reply(200))) as server:
        yield server


@pytest.fixture
def receiver(portal: BlockingPortal) -> Iterator[Receiver]:
    """A server that takes traces, and keeps them."""
    with entered(portal, a_receiver()) as server:
        yield server


def secrets_of(project: Project) -> dict[str, str]:
    """Return everything that must not be shown, by what it is."""
    served = project.served
    secrets = {
        "service key": served.service_key,
        "anon key": served.anon_key,
        "signature of the service key": served.service_key.rpartition(".")[2],
        "claims of the service key": served.service_key.split(".")[1],
        "JWT secret": served.jwt_secret,
        "canary nonce": served.canary_nonce,
        "canary token": served.canary_token,
        "database password": str(conninfo_to_dict(served.database_url)["password"]),
        "webhook path": HOOK,
        "webhook path's last part": HOOK.rpartition("/")[2],
        "a token": "anna-has-a-token-of-her-own",
    }
    for email, name in project.sql("select email, raw_user_meta_data ->> 'full_name' from auth.users"):
        secrets |= {f"e-mail {email}": email} if email else {}
        secrets |= {f"name {name}": name} if name else {}
    return secrets


def spelled(secret: str) -> set[bytes]:
    """Return a secret as itself, in a URL, in JSON's ASCII, and in base64."""
    plain = secret.encode()
    encoded = base64.b64encode(plain).rstrip(b"=")
    return {plain, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), encoded}


def shown(secrets: dict[str, str], said: dict[str, bytes]) -> list[str]:
    """Return what was shown, and where."""
    forms = {what: spelled(secret) for what, secret in secrets.items()}
    return [
        f"{what} in {where}"
        for where, content in said.items()
        for what, spellings in forms.items()
        if any(form in content for form in spellings)
    ]


def test_a_whole_repair_shows_no_secret_and_nobodys_name(
    project: Project, webhook: Scripted, receiver: Receiver
) -> None:
    token = project.folder / "anna.token"
    token.write_text("anna-has-a-token-of-her-own")
    token.chmod(0o600)
    project.write(
        main={
            "notifications: []": f"notifications: [{{url: '{webhook.url}{HOOK}'}}]",
            "  drain: 15s": f"  drain: 15s\n  tokens: [{{name: anna, scopes: [read, plan, operate], file: {token}}}]",
            "    url: /health\n": (
                "    url: /api/v1/credits/balance\n    headers: {Authorization: 'Bearer ${DEMO_TOKEN}'}\n"
            ),
        },
        rule={"mode: approve": "mode: auto"},
    )
    anna = {"SIDECAR_TOKEN": "anna-has-a-token-of-her-own", "DEMO_TOKEN": project.served.canary_token}
    said: dict[str, bytes] = {}

    daemon = project.start(environment={"OTLP": receiver.url, **anna})
    daemon.hear("cycle.finished", outcome="repaired")
    assert daemon.get("/").status_code == 401, "the page asks for the token"
    for path in ("/", "/metrics", "/-/ready", "/-/healthy", "/nowhere"):
        for kind in ("text/html", "application/openmetrics-text"):
            answer = daemon.get(path, Authorization=f"Bearer {anna['SIDECAR_TOKEN']}", Accept=kind)
            said[f"{path} as {kind}"] = answer.content + str(answer.headers).encode()
    assert b"repaired" in said["/ as text/html"]
    until(lambda: len(webhook.asked), lambda: "no notification came")
    daemon.signal(signal.SIGTERM)
    assert daemon.end() == 0
    said |= {"log": daemon.stderr.encode(), "stdout": daemon.stdout.encode()}
    said["webhook"] = b"".join(asked.body + str(asked.headers).encode() for asked in webhook.asked)
    said["traces"] = b"".join(_unzipped(body) for body in receiver.bodies)
    assert b"batch" in said["traces"]

    project.sql("delete from public.users where id = %s", INCIDENT)
    for words in (
        ("check", "--json"),
        ("check",),
        ("detect", "--json"),
        ("plan", RULE, "--out", str(project.folder / "plan.json"), "--as", "anna"),
        ("plan", RULE, "--json", "--as", "anna"),
        ("runs", "--json"),
        ("quarantine",),
        ("quarantine", "--json"),
        ("attest", INCIDENT, "--credits", "5", "--reason", "because", "--as", "anna"),
        ("backfill", RULE, "--dry-run"),
        ("backfill", RULE, "--json", "--as", "anna"),
        ("validate", "--json"),
    ):
        ended = project.ask(*words, environment=anna)
        said[" ".join(words)] = (ended.stdout + ended.stderr).encode()
    run_id = json.loads(said["runs --json"])["runs"][0]["id"]
    said["runs RUN"] = project.ask("runs", run_id, environment=anna).stdout.encode()

    assert shown(secrets_of(project), said) == []
    in_plan = shown(secrets_of(project), {"plan": (project.folder / "plan.json").read_bytes()})
    assert in_plan == ["e-mail demo@velro.app in plan", "name Demo User in plan"], "the looking itself works"
    _private(project)


def _unzipped(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def _private(project: Project) -> None:
    """Hold every file that has values of users in it to its owner alone."""
    kept = [*project.state.parent.iterdir(), project.folder / "plan.json"]
    assert {project.state, project.folder / "plan.json"} <= set(kept)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in kept} == {path.name: 0o600 for path in kept}
    assert stat.S_IMODE(project.state.parent.stat().st_mode) == 0o700


def _forged(project: Project) -> str:
    claims = jwt.decode(project.served.service_key, options={"verify_signature": False})
    return jwt.encode(claims, "somebody else's secret, long enough for it", algorithm="HS256")


@pytest.mark.parametrize("broken", ["forged", "anon", "new family", "spaced", "not ascii", "truncated"])
def test_a_key_that_fails_is_never_shown(project: Project, broken: str) -> None:
    served = project.served
    key = {
        "forged": _forged(project),
        "anon": served.anon_key,
        "new family": "sb_secret_" + "aVeryLongWrongKeyXYZ012345",
        "spaced": served.service_key[:40] + " " + served.service_key[40:],
        "not ascii": served.service_key + "é",
        "truncated": served.service_key[:-5],
    }[broken]
    said: dict[str, bytes] = {}
    for words in (("check", "service-key", "--json"), ("detect",), ("backfill", RULE)):
        ended = project.ask(*words, environment={"SUPABASE_SERVICE_ROLE_KEY": key})
        assert ended.code in (1, 3, 4), ended
        said[" ".join(words)] = (ended.stdout + ended.stderr).encode()
    parts = {f"part {number}": part for number, part in enumerate(key.split(".")) if len(part) > 8}
    assert shown({**secrets_of(project), "key": key, **parts}, said) == []
    assert project.restored() == 0


def test_a_configuration_that_is_refused_does_not_show_the_key_in_it(project: Project) -> None:
    key = project.served.service_key
    for text in (f"service_key: {{{key}: 1}}", f"service_key: [{key}]", f"service_kye: {key}"):
        project.write(main={"service_key: ${SUPABASE_SERVICE_ROLE_KEY}": text})
        for words in (("validate", "--json"), ("run",), ("detect",)):
            ended = project.ask(*words)
            assert ended.code == 2
            assert (
                shown({"key": key, "claims": key.split(".")[1]}, {"it": (ended.stdout + ended.stderr).encode()}) == []
            )


@pytest.mark.parametrize("code", ["P0001", "23514", "42501", "42P01"])
def test_what_a_trigger_says_about_a_row_is_not_repeated(project: Project, code: str) -> None:
    project.write(rule={"triggers_reviewed: []": "triggers_reviewed: [scream]"})
    project.sql(f"""
        create function public.scream() returns trigger language plpgsql as $$ begin
          raise exception '% (%) is not welcome', new.email, new.full_name
            using errcode = '{code}', detail = new.email, hint = new.full_name;
        end $$;
        create trigger scream before insert on public.users for each row execute function public.scream();
    """)
    try:
        ended = project.ask("backfill", RULE)
    finally:
        project.sql("drop trigger scream on public.users; drop function public.scream()")
    said = {"backfill": (ended.stdout + ended.stderr).encode(), "runs": project.ask("runs", "--json").stdout.encode()}
    assert code.encode() in said["backfill"] + project.ask("runs", _run_of(said["runs"])).stdout.encode()
    assert shown(secrets_of(project), said) == []
    assert project.restored() == 0


def _run_of(listed: bytes) -> str:
    [run] = json.loads(listed)["runs"]
    return str(run["id"])
