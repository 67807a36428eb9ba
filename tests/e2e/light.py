"""A daemon beside nothing but a scripted backend: for what needs neither PostgreSQL nor Supabase."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from typer.testing import CliRunner

from sidecar.cli import cli
from sidecar.demo.shipped import shipped_files
from tests.e2e.cast import RULE, SECONDS_AT_MOST, Ended, Running, command
from tests.scripted import unused_port

TOKEN = "0123456789abcdef0123456789abcdef"  # of these tests
HEAD = """\
supabase: {url: "http://127.0.0.1:%(nobody)d", service_key: sb_secret_thisIsNotShown, anon_key: sb_publishable_x}
backend: {url: "%(backend)s"}
rules: {path: rules}
state: {url: "sqlite:///%(folder)s/var/sidecar.db"}
server:
  listen: 127.0.0.1:0
  drain: 5s
  tokens: [{name: olga, scopes: [read, operate], file: olga.token}, {name: anna, scopes: [read], file: anna.token}]
telemetry: {log_level: debug}
checks:
  - {name: service-key, kind: service_key, every: 1h, tables: [public.users], canary: {nonce: x}}
"""


@dataclass(slots=True)
class Light:
    """A configured Sidecar. `checks` is the YAML of its checks, and what stands after them."""

    folder: Path
    backend: str
    nobody: int = field(default_factory=unused_port)
    started: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "rules").mkdir()
        (self.folder / "rules" / f"{RULE}.yaml").write_text(shipped_files()[1][f"{RULE}.yaml"])
        for name, value in (("olga", TOKEN), ("anna", TOKEN[::-1])):
            (self.folder / f"{name}.token").write_text(value)
            (self.folder / f"{name}.token").chmod(0o600)

    @property
    def config(self) -> Path:
        return self.folder / "sidecar.yaml"

    def write(self, checks: str, pieces: Mapping[str, str] | None = None) -> None:
        text = HEAD % {"nobody": self.nobody, "backend": self.backend, "folder": self.folder} + checks
        for piece, by in (pieces or {}).items():
            assert piece in text, piece
            text = text.replace(piece, by)
        self.config.write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "SIDECAR_TOKEN": TOKEN}

    def run(self, *words: str) -> Ended:
        """Run a verb to its end."""
        done = subprocess.run(
            [*command(words), "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=SECONDS_AT_MOST,
            check=False,
            cwd=self.folder,
            env=self.environment,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def ask(self, *words: str) -> Ended:
        """Run a verb as `run` does, but in this process, which saves the second that a start takes."""
        done = CliRunner(env=self.environment).invoke(cli, [*words, "--config", str(self.config)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ended(done.exit_code, done.stdout, done.stderr)

    def start(self) -> Running:
        number = len(self.started)
        out, err = self.folder / f"out{number}", self.folder / f"err{number}"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*command(("run",)), "--config", str(self.config)],
                stdout=stdout,
                stderr=stderr,
                cwd=self.folder,
                env=self.environment,
            )
        self.started.append(Running(process, out, err))
        return self.started[-1]

    def close(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()


def get(daemon: Running, path: str) -> httpx.Response:
    return daemon.get(path, Authorization=f"Bearer {TOKEN}")


def post(daemon: Running, path: str, token: str | None = TOKEN) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{daemon.url}{path}", headers=headers, timeout=20, trust_env=False)


def value(daemon: Running, series: str) -> float | None:
    """Return a series of /metrics, None when it is absent."""
    for line in get(daemon, "/metrics").text.splitlines():
        name, _, number = line.rpartition(" ")
        if name == series:
            return float(number)
    return None
