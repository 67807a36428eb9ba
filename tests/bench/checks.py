"""What a check costs and how true its figures are, beside blackbox_exporter in the same run.

Both sides open a fresh connection for every look, and both hold the same pattern against the body. Ours has everything
on: memory, metrics, histogram, log, and a span that is made and dropped by sampling.
"""

import asyncio
import contextlib
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.probing import Running, configure, daemon, looks_per_second, missing, peer, target
from tests.bench.rest_detect import say
from tests.bench.result import Measured

PEER = "blackbox_exporter"
ROUNDS = 3  # medians are quoted
RATE = 200  # checks a second, each every second
WARM_SECONDS = 13.0  # every check has its first look within ten
MEASURED_SECONDS = 10.0
SCRAPE_SECONDS = 10
TIMER = """
import json, sys, time
seconds, rate = float(sys.argv[1]), float(sys.argv[2])
started, late = time.monotonic(), []
for number in range(1, round(seconds * rate)):
    due = started + number / rate
    time.sleep(max(0.0, due - time.monotonic()))
    late.append(time.monotonic() - due)
print(json.dumps(late))
"""


async def cpu_per_check(scale: float) -> list[Measured]:
    """CPU of the whole daemon for each look, beside blackbox_exporter's for each probe, at the same rate."""
    return await asyncio.to_thread(_cpu_per_check, scale)


def _cpu_per_check(scale: float) -> list[Measured]:
    ours, theirs = [], []
    with _target() as (folder, port):
        for number in range(ROUNDS):
            home = folder / str(number)
            home.mkdir()
            with peer(home) as running:
                theirs.append(_cpu_of_probes(running, port, MEASURED_SECONDS * scale))
            with daemon(home, port, checks=RATE, every="1s") as running:
                time.sleep(WARM_SECONDS)
                ours.append(_cpu_of_looks(running, MEASURED_SECONDS * scale))
    say(f"cpu_per_check: sidecar {ours} ms, {PEER} {theirs} ms")
    return [_beside("cpu_per_check", statistics.median(ours), statistics.median(theirs), "ms", "at most 1.0")]


def _cpu_of_looks(running: Running, seconds: float) -> float:
    looks = running.sum_of("sidecar_check_runs_total")
    time.sleep(0.5)  # for what the scrape itself cost
    cpu, started = running.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    cpu, took = running.cpu_seconds() - cpu, time.monotonic() - started
    looks = running.sum_of("sidecar_check_runs_total") - looks
    _demand_all_healthy(running)
    return round(cpu * 1000 / (looks * took / (took + 0.5)), 4)


def _cpu_of_probes(running: Running, port: int, seconds: float) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", running.port)
    for _ in range(100):
        _probe(connection, port)
    cpu, probes, started = running.cpu_seconds(), 0, time.monotonic()
    while (now := time.monotonic()) < started + seconds:
        _probe(connection, port)
        probes += 1
        time.sleep(max(0.0, started + probes / RATE - now))
    connection.close()
    return round((running.cpu_seconds() - cpu) * 1000 / probes, 4)


def _probe(connection: http.client.HTTPConnection, port: int) -> None:
    connection.request("GET", f"/probe?target=http://127.0.0.1:{port}/&module=body")
    if b"\nprobe_success 1" not in connection.getresponse().read():
        raise RuntimeError(f"{PEER} did not succeed")


def _demand_all_healthy(running: Running) -> None:
    failures = running.sum_of("sidecar_check_failures_total")
    if failures:
        message = f"{failures} looks were not healthy"
        raise RuntimeError(message)


async def checks_per_second(scale: float) -> list[Measured]:
    """Looks and probes a second on one core, eight at once, each as soon as one is over; for ours without the clock.

    A second is one of the core's time: other work runs on the machine, and whoever waits for it does not look.
    """
    return await asyncio.to_thread(_checks_per_second, scale)


def _checks_per_second(scale: float) -> list[Measured]:
    ours, theirs = [], []
    with _target() as (folder, port):
        for number in range(ROUNDS):
            home = folder / str(number)
            home.mkdir()
            with peer(home) as running:
                theirs.append(_probes_per_second(running, port, MEASURED_SECONDS * scale))
            config, _ = configure(home, port, checks=RATE, every="1s")
            ours.append(round(looks_per_second(config, MEASURED_SECONDS * scale), 1))
    say(f"checks_per_second: sidecar {ours}, {PEER} {theirs}")
    return [_beside("checks_per_second", statistics.median(ours), statistics.median(theirs), "1/s", "at least 1.0")]


def _probes_per_second(running: Running, port: int, seconds: float) -> float:
    counts, until = [0] * 8, time.monotonic() + seconds

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running.port)
        while time.monotonic() < until:
            _probe(connection, port)
            counts[number] += 1
        connection.close()

    cpu = running.cpu_seconds()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return round(sum(counts) / (running.cpu_seconds() - cpu), 1)


async def schedule_lag_p99(scale: float) -> list[Measured]:
    """How late ticks are at 200 checks a second, without a scrape and with one every ten seconds; no tick is missed."""
    return await asyncio.to_thread(_schedule_lag, scale)


def _schedule_lag(scale: float) -> list[Measured]:
    found = []
    with _target() as (folder, port):
        for name, scraped in (("schedule_lag_p99", False), ("schedule_lag_p99_scraped", True)):
            home = folder / name
            home.mkdir()
            with daemon(home, port, checks=RATE, every="1s", level="debug", core=None) as running:
                time.sleep(WARM_SECONDS)
                lines = running.log.stat().st_size
                seconds = round(2 * MEASURED_SECONDS * scale)
                with _bare_timer(seconds) as bare:
                    for second in range(seconds):
                        if scraped and second % SCRAPE_SECONDS == SCRAPE_SECONDS // 2:
                            running.get("/metrics")
                        time.sleep(1)
                told = running.log.read_bytes()[lines:].splitlines()
            events = [json.loads(line) for line in told if line.endswith(b"}") and line.startswith(b"{")]
            lags = [event["lag_seconds"] for event in events if event["event"] == "tick.started"]
            missed = sum(event["event"] == "tick.missed" for event in events)
            say(f"{name}: {len(lags)} ticks, {missed} missed, p50 {statistics.median(lags) * 1000:.2f} ms")
            aim = f"p99 under 20 ms, no tick missed ({missed} were)"
            found.append(_beside(name, _p99(lags) * 1000, _p99(bare) * 1000, "ms", aim, "a bare timer meanwhile"))
    return found


@contextlib.contextmanager
def _bare_timer(seconds: float) -> Iterator[list[float]]:
    """Let a process of its own sleep to as many instants, and tell how late it woke, as anyone would here."""
    with subprocess.Popen([sys.executable, "-c", TIMER, f"{seconds}", f"{RATE}"], stdout=subprocess.PIPE) as child:
        late = list[float]()
        yield late
        late.extend(json.loads(child.communicate()[0]))


async def added_latency_p99(scale: float) -> list[Measured]:
    """The p99 of the duration that checks report at 50 a second, less that of a raw socket client meanwhile."""
    return await asyncio.to_thread(_added_latency, scale)


def _added_latency(scale: float) -> list[Measured]:
    rate = 50
    with (
        _target() as (folder, port),
        daemon(folder, port, checks=rate, every="1s", level="debug", core=None) as running,
    ):
        time.sleep(WARM_SECONDS)
        lines, raw = running.log.stat().st_size, []
        started = time.monotonic()
        while (now := time.monotonic()) < started + 2 * MEASURED_SECONDS * scale:
            raw.append(_ask_raw(port))
            time.sleep(max(0.0, started + len(raw) / rate - now))
        told = running.log.read_bytes()[lines:].splitlines()
    events = [json.loads(line) for line in told if line.endswith(b"}") and line.startswith(b"{")]
    ours = [event["duration_seconds"] for event in events if event["event"].startswith("check.")]
    added = (_p99(ours) - _p99(raw)) * 1000
    say(f"added_latency: p50 {statistics.median(ours) * 1000:.2f} ms against {statistics.median(raw) * 1000:.2f} ms")
    return [_limit("added_latency_p99", added, 3, "ms", "under 3 ms")]


def _ask_raw(port: int) -> float:
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        while connection.recv(65_536):
            pass
    return time.monotonic() - started


async def rss_1000_checks(scale: float) -> list[Measured]:
    """Resident memory with a thousand checks, above the idle daemon's, and that one's beside blackbox_exporter's."""
    return await asyncio.to_thread(_rss, round(1000 * scale))


def _rss(checks: int) -> list[Measured]:
    with _target() as (folder, port):
        with peer(folder) as running:
            _cpu_of_probes(running, port, 2)
            peer_mb = running.resident_mb()
        with daemon(folder, port, checks=1, every="1h") as running:  # without any it does not start
            time.sleep(WARM_SECONDS)
            running.get("/metrics")
            idle_mb = running.resident_mb()
        with daemon(folder, port, checks=checks, every="30s") as running:
            time.sleep(WARM_SECONDS + 30)
            running.get("/metrics")
            full_mb = running.resident_mb()
            _demand_all_healthy(running)
    say(f"rss: {PEER} {peer_mb:.1f} MB, idle {idle_mb:.1f} MB, with {checks} checks {full_mb:.1f} MB")
    return [
        _limit("rss_1000_checks", full_mb - idle_mb, 30, "MB", "at most 30 MB above the idle daemon, scraped once"),
        _beside("rss_idle", idle_mb, peer_mb, "MB", "none"),
    ]


async def start_100_checks(scale: float) -> list[Measured]:
    """From the start of the process to the first look, with a hundred checks."""
    return await asyncio.to_thread(_start, scale)


def _start(scale: float) -> list[Measured]:
    took = []
    with _target() as (folder, port):
        for number in range(round(5 * scale) or 1):
            home = folder / str(number)
            home.mkdir()
            started = time.monotonic()
            with daemon(home, port, checks=100, every="30s") as running:
                while b'"check.' not in running.log.read_bytes():
                    time.sleep(0.005)
                took.append(time.monotonic() - started)
    say(f"start_100_checks: {sorted(took)}")
    return [_limit("start_100_checks", statistics.median(took), 2, "s", "under 2 s")]


@contextlib.contextmanager
def _target() -> Iterator[tuple[Path, int]]:
    absent = missing()
    if absent is not None:
        raise SystemExit(f"bench: {absent}")
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name, target(Path(name)) as port:
        yield Path(name), port


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _beside(name: str, value: float, peer_value: float, unit: str, aim: str, beside: str = PEER) -> Measured:
    return Measured(
        name=name,
        value=round(value, 3),
        unit=unit,
        peer=beside,
        peer_value=round(peer_value, 3),
        ratio=round(value / peer_value, 2),
        target=aim,
    )


def _limit(name: str, value: float, limit: float, unit: str, aim: str) -> Measured:
    return Measured(
        name=name,
        value=round(value, 3),
        unit=unit,
        peer="the limit",
        peer_value=limit,
        ratio=round(value / limit, 2),
        target=aim,
    )
