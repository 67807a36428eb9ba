"""The daemon walks a journey, takes what a log drain sends, and tells of both without a word of either."""

import httpx

from sidecar.demo.seed import CANARY_EMAIL, CANARY_PASSWORD
from tests.e2e.cast import Project, Running, until

TOKEN = "0123456789abcdef0123456789abcdef"
LINE = "Credit processing failed: Profile lookup error for alice@shop.example"
CHECKS = (
    """rules:
  path: rules
""",
    f"""  - name: journey
    kind: journey
    every: 1s
    timeout: 900ms
    fail_after: 1
    user: {{email: {CANARY_EMAIL}, password: {CANARY_PASSWORD}}}
    steps:
      - {{name: sign-in, sign_in: true}}
      - name: balance
        request: {{url: /api/v1/credits/balance, as_user: true}}
        capture: {{balance: body.balance}}
  - name: drained
    kind: log_signature
    every: 1s
    timeout: 900ms
    fail_after: 1
    drain: true
    signatures:
      - {{name: profile-lookup, contains: Profile lookup error}}
rules:
  path: rules
""",
)
SERVER = (
    "  listen: 127.0.0.1:0\n",
    "  listen: 127.0.0.1:0\n  tokens:\n    - {name: drain, scopes: [ingest, read], file: token}\n",
)
AS_DRAIN = {"Authorization": f"Bearer {TOKEN}"}


def metric(daemon: Running, sample: str) -> bool:
    return f"{sample}\n" in daemon.get("/metrics", **AS_DRAIN).text


def test_a_daemon_walks_and_counts_and_tells_no_word_of_it(project: Project) -> None:
    token = project.folder / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    project.write(main={CHECKS[0]: CHECKS[1], SERVER[0]: SERVER[1]})
    daemon = project.start()
    counted = 'sidecar_log_signatures_total{check="drained",signature="profile-lookup"}'
    assert metric(daemon, f"{counted} 0.0")
    sent = httpx.post(f"{daemon.url}/api/v1/logs", json=[{"m": LINE}], headers=AS_DRAIN, timeout=20, trust_env=False)
    assert (sent.status_code, sent.json()) == (202, {"records": 1, "matches": 1})
    until(lambda: metric(daemon, f"{counted} 1.0"), lambda: daemon.stderr[-2000:])
    until(
        lambda: metric(daemon, 'sidecar_check_up{check="journey",kind="journey",severity="warning"} 1.0'),
        lambda: daemon.stderr[-2000:],
    )
    until(
        lambda: metric(daemon, 'sidecar_check_up{check="drained",kind="log_signature",severity="warning"} 0.0'),
        lambda: daemon.stderr[-2000:],
    )
    daemon.process.terminate()
    assert daemon.end() == 0
    told = daemon.stderr + (project.folder / "var" / "sidecar.db").read_bytes().decode("latin-1")
    for secret in (CANARY_PASSWORD, CANARY_EMAIL, "alice", "Credit processing"):
        assert secret not in told
