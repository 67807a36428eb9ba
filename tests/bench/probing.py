"""What the figures of checks are measured with: nginx as the target, blackbox_exporter as the peer, and our daemon.

Each is a process of its own on a free port of the loopback, pinned to a core, and ended by its id. Linux only.
"""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.scripted import unused_port

MEASURED_CORE, OTHER_CORE = 0, 1  # whoever is measured, and whoever asks and answers
BODY = '{"status":"healthy","models":7}'
PATTERN = '"status":\\s*"healthy"'
READY_SECONDS = 20.0

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{body}'; }}
  }}
}}
"""
PEER = """
modules:
  body:
    prober: http
    timeout: 5s
    http: {{preferred_ip_protocol: ip4, fail_if_body_not_matches_regexp: ['{pattern}']}}
"""
SIDECAR = """
supabase: {{url: "http://127.0.0.1:9", service_key: x, anon_key: x}}
backend: {{url: "http://127.0.0.1:{port}"}}
rules: {{path: rules}}
state: {{url: "sqlite:///{folder}/sidecar.db"}}
server: {{listen: "127.0.0.1:{own_port}"}}
telemetry: {{log_level: {level}}}
notifications: []
checks:{checks}
"""
CHECK = """
  - name: check-{number}
    kind: http
    every: {every}
    timeout: {timeout}
    severity: info
    url: /
    expect: ['{expect}']"""


@dataclass(frozen=True, slots=True)
class Running:
    """A process under measurement."""

    pid: int
    port: int
    log: Path

    def cpu_seconds(self) -> float:
        """Return what all its threads have used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Return its resident memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def get(self, path: str) -> str:
        """Ask it over HTTP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def sum_of(self, sample: str) -> float:
        """Return the sum over all series of one sample of its exposition."""
        lines = self.get("/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0] == sample)


def missing() -> str | None:
    """Say in one sentence what has to be installed, None when nothing has."""
    absent = [name for name in ("nginx", "prometheus-blackbox-exporter", "taskset") if _found(name) is None]
    if not absent:
        return None
    return (
        f"{', '.join(absent)} missing; on Debian: apt-get install -y --no-install-recommends nginx-light "
        "prometheus-blackbox-exporter util-linux"
    )


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextlib.contextmanager
def target(folder: Path) -> Iterator[int]:
    """Serve the target, and return its port."""
    port = unused_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, body=BODY))
    with _process(folder, "nginx", [_named("nginx"), "-c", str(config)], port, OTHER_CORE):
        yield port


@contextlib.contextmanager
def peer(folder: Path) -> Iterator[Running]:
    """Run blackbox_exporter."""
    port = unused_port()
    config = folder / "blackbox.yml"
    config.write_text(PEER.format(pattern=PATTERN))
    command = [
        _named("prometheus-blackbox-exporter"),
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with _process(folder, "blackbox", command, port, MEASURED_CORE) as running:
        yield running


@contextlib.contextmanager
def daemon(
    folder: Path, target_port: int, *, checks: int, every: str, level: str = "info", core: int | None = MEASURED_CORE
) -> Iterator[Running]:
    """Run the daemon with so many checks of the target; where time is measured, on whichever core is free (None)."""
    config, port = configure(folder, target_port, checks=checks, every=every, level=level)
    command = [sys.executable, "-m", "sidecar", "run", "--config", str(config)]
    with _process(config.parent, "sidecar", command, port, core) as running:
        yield running


def configure(folder: Path, target_port: int, *, checks: int, every: str, level: str = "info") -> tuple[Path, int]:
    """Write the daemon's configuration, and return where, and the port it will listen on."""
    port = unused_port()
    home = folder / f"sidecar-{checks}-{every}-{level}"
    (home / "rules").mkdir(parents=True)
    expect = f"status == 200 && text.matches({_cel(PATTERN)})".replace("'", "''")
    timeout = "900ms" if every == "1s" else "5s"
    lines = "".join(CHECK.format(number=n, every=every, timeout=timeout, expect=expect) for n in range(checks))
    text = SIDECAR.format(folder=home, port=target_port, own_port=port, level=level, checks=lines)
    (home / "sidecar.yaml").write_text(text)
    return home / "sidecar.yaml", port


def looks_per_second(config: Path, seconds: float) -> float:
    """Let a child look as often as one core lets it."""
    command = [_named("taskset"), "-c", str(MEASURED_CORE), sys.executable, "-m", "tests.bench.saturated", str(config)]
    done = subprocess.run([*command, f"{seconds}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return float(done.stdout)


def _cel(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _named(name: str) -> str:
    found = _found(name)
    if found is None:
        raise FileNotFoundError(name)
    return found


@contextlib.contextmanager
def _process(folder: Path, name: str, command: Sequence[str], port: int, core: int | None) -> Iterator[Running]:
    log = folder / f"{name}.log"
    with log.open("wb") as stream:
        pinned = [] if core is None else [_named("taskset"), "-c", str(core % (os.cpu_count() or 1))]
        child = subprocess.Popen([*pinned, *command], stdout=stream, stderr=stream)
        try:
            _wait_until_open(port, child, log)
            yield Running(child.pid, port, log)
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _wait_until_open(port: int, child: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if child.poll() is not None:
            message = f"ended with {child.returncode}: {log.read_text()[-2000:]}"
            raise RuntimeError(message)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    message = f"nothing listens on port {port}"
    raise RuntimeError(message)
