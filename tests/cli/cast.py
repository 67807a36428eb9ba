"""An app over the engine's stage: real memory and real verbs, and fakes of the world."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from sidecar.app import App
from sidecar.checks.kinds import KINDS
from sidecar.config.load import load
from sidecar.config.settings import Config
from sidecar.domain.rule import Rule
from tests.engine.cast import Stage, approve

SCOPES = {"anna": "plan, approve", "ben": "approve", "carl": "operate", "dora": "plan, approve, operate"}
MAIN = """\
supabase: {url: 'http://127.0.0.1:1', service_key: k, anon_key: a}
checks:
  - name: up
    kind: http
    every: 30s
    timeout: 1s
    severity: warning
    url: http://127.0.0.1:1/
    expect: [status == 200]
rules: {path: rules}
server:
  tokens:
"""


def a_config(folder: Path, rules: Sequence[Rule]) -> Config:
    """Load a configuration with four tokens, and give it these rules."""
    (folder / "rules").mkdir(exist_ok=True)
    lines = ""
    for name, scopes in SCOPES.items():
        file = folder / f"{name}.token"
        file.write_text(f"{name}-has-a-token-of-hers-or-his")
        file.chmod(0o600)
        lines += f"    - {{name: {name}, scopes: [{scopes}], file: {file}}}\n"
    path = folder / "sidecar.yaml"
    path.write_text(MAIN + lines)
    loaded = load(path, {name: kind.model for name, kind in KINDS.items()}, {})
    return replace(loaded, rules=tuple(rules), freeze_file=folder / "FREEZE")


def an_app(stage: Stage, folder: Path, rules: Sequence[Rule] | None = None) -> App:
    """Join the stage to an app, as `open_app` joins the adapters."""
    used = {
        "config": a_config(folder, [approve()] if rules is None else rules),
        "holder": stage.holder,
        "clock": stage.clock,
        "state": stage.state,
        "data": stage.data,
        "watch": stage.watch,
        "looker": stage.looker,
        "repair": stage.repair,
        "steering": stage.steering,
        "reporter": stage.reporter,
        "stopping": stage.is_stopping,
    }
    unused = {part.name: None for part in fields(App) if part.name not in used}
    return App(**used, **unused)  # type: ignore[arg-type]  # no test of these reaches the other parts


def token_of(folder: Path, name: str) -> str:
    """Return what SIDECAR_TOKEN must hold for a name."""
    return (folder / f"{name}.token").read_text()
