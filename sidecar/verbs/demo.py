"""The verb demo: the embedded stack with the incident's damaged rows in it, and Sidecar running on it."""

import asyncio
import contextlib
import functools
import json
import re
import shlex
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import TypeAlias

from sidecar.app import open_app
from sidecar.checks.kinds import KINDS
from sidecar.config.load import load
from sidecar.config.settings import Config
from sidecar.demo.backend import FRONTEND_ORIGIN
from sidecar.demo.credits import Credits, measure_credits
from sidecar.demo.faults import FAULTS, named_faults
from sidecar.demo.seed import CANARY_EMAIL, CANARY_PASSWORD, INCIDENT_USER
from sidecar.demo.shipped import shipped_files
from sidecar.demo.stack import Stack, StackSpec, stack, stack_only
from sidecar.domain.check import Observation
from sidecar.domain.dependence import parents_first
from sidecar.engine.cycle import Cycle
from sidecar.errors import UsageError
from sidecar.serving import listen
from sidecar.verbs.looking import look_line
from sidecar.verbs.progress import Progress
from sidecar.verbs.result import (
    Exit,
    Result,
    code_of_checks,
    code_of_repair,
    cycle_document,
    cycle_lines,
    deciding,
    observation_document,
)
from sidecar.verbs.runner import Stop, complain, guarded, print_result

Serve: TypeAlias = Callable[..., Awaitable[int]]  # sidecar.daemon.serve, which stands above the verbs
DEMO_PORT = 9877  # where the shipped configuration listens
PERCENT_PLACES = Decimal("0.001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    users: int
    orphans: int
    seed: int
    data: Path | None
    faults: tuple[str, ...]
    shipped_guards: bool
    direct: bool


def guards(word: str) -> bool:
    """Say whether the shipped guards are meant. Raises: UsageError for another word than demo or shipped."""
    if word not in ("demo", "shipped"):
        complain(f"--guards must be demo or shipped, not {word!r}")
        sys.exit(Exit.USAGE)
    return word == "shipped"


def list_faults() -> int:
    """Print every fault with its one line."""
    width = max(map(len, FAULTS))
    sys.stdout.write("".join(f"{name:<{width}}  {fault.summary}\n" for name, fault in FAULTS.items()))
    return Exit.CLEAN


def serve_stack(options: Options, sql: Path | None) -> int:
    """Serve PostgreSQL and the Supabase stand-in until stopped; one JSON line on stdout says where."""

    async def do() -> int:
        stop = Stop()
        with stop.on_signals():
            async with stack_only(sql=sql, data_dir=options.data) as served:
                sys.stdout.write(json.dumps(served.document()) + "\n")
                sys.stdout.flush()
                await stop.event.wait()
        return Exit.CLEAN

    return guarded(do)


def run_once(options: Options, *, as_json: bool) -> int:
    """Check, detect, repair and verify once."""

    async def do() -> int:
        started = time.monotonic()
        stop = Stop()
        with stop.on_signals():
            async with _prepared(options) as (served, config):
                seen, cycles = await _look_and_repair(config, stop)
                credits_ = await measure_credits(served.database_url, [c.plan.id for c in cycles if c.plan])
        result = _result(served, seen, cycles, credits_, time.monotonic() - started)
        print_result(result, as_json=as_json)
        return result.code

    return guarded(do)


def run_daemon(options: Options, serve: Serve) -> int:
    """Run the daemon against the stack until stopped."""

    async def do() -> int:
        stop = Stop()
        with stop.on_signals():
            async with _prepared(options) as (served, config):
                load_again = functools.partial(_read, served, options)
                announce = functools.partial(_announce, options, served)
                return await serve(config, stop, announce=announce, load=load_again)

    return guarded(do)


def _announce(options: Options, served: Stack, url: str) -> None:
    caps = (
        "the shipped guards"
        if options.shipped_guards
        else f"mode auto, every 10s, caps sized to {options.orphans + 1} rows"
    )
    complain(
        f"watching {served.seeded.users} users, {served.seeded.repairable} of them to be repaired",
        f"status page   {url}/",
        f"metrics       {url}/metrics",
        f"backend       {served.backend_url}/health",
        f"rules         a copy of the shipped ones with {caps}",
        f"look closer   . {served.data_dir}/sidecar/env && .venv/bin/sidecar explain {INCIDENT_USER}",
        "stop with Ctrl-C",
    )


@contextlib.asynccontextmanager
async def _prepared(options: Options) -> AsyncIterator[tuple[Stack, Config]]:
    """Start the stack, and write a configuration for it into its data directory."""
    named_faults(options.faults)
    spec = StackSpec(
        users=options.users,
        orphans=options.orphans,
        seed=options.seed,
        faults=options.faults,
        data_dir=options.data,
    )
    complain(f"starting PostgreSQL, a Supabase stand-in and a backend with {options.users} users")
    async with stack(spec) as served:
        yield served, await asyncio.to_thread(_configure, options, served)


def _configure(options: Options, served: Stack) -> Config:
    folder = served.data_dir / "sidecar"
    folder.mkdir(exist_ok=True, mode=0o700)
    (folder / "rules").mkdir(exist_ok=True, mode=0o700)
    main, rules = shipped_files()
    folder.joinpath("sidecar.yaml").write_text(_demo_config(main, options), encoding="utf-8")
    for name, text in rules.items():
        (folder / "rules" / name).write_text(_demo_rule(text, options), encoding="utf-8")
    _write_environment(folder, _environment(served, folder, options))
    return _read(served, options)


def _read(served: Stack, options: Options) -> Config:
    folder = served.data_dir / "sidecar"
    environment = _environment(served, folder, options)
    return load(folder / "sidecar.yaml", {name: kind.model for name, kind in KINDS.items()}, environment)


def _write_environment(folder: Path, environment: Mapping[str, str]) -> None:
    """Let another shell use the same configuration; the file holds keys, so only its owner may read it."""
    exported = {**environment, "SIDECAR_CONFIG": str(folder / "sidecar.yaml")}
    path = folder / "env"
    path.touch(mode=0o600)
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in exported.items()))


def _environment(served: Stack, folder: Path, options: Options) -> Mapping[str, str]:
    if options.direct and not served.login_url:
        raise UsageError("the kept database is older than the direct path: name another directory")
    return {
        **({"SIDECAR_DATABASE_URL": served.login_url} if options.direct else {}),
        "SUPABASE_URL": served.supabase_url,
        "SUPABASE_SERVICE_ROLE_KEY": served.service_key,
        "SUPABASE_ANON_KEY": served.anon_key,
        "BACKEND_URL": served.backend_url,
        "FRONTEND_ORIGIN": FRONTEND_ORIGIN,
        "SIDECAR_CANARY_NONCE": served.canary_nonce,
        "SIDECAR_CANARY_EMAIL": CANARY_EMAIL,
        "SIDECAR_CANARY_PASSWORD": CANARY_PASSWORD,
        "SIDECAR_CANARY_CREDITS": str(served.canary_credits),
        "DEMO_CANARY_TOKEN": served.canary_token,
        "DEMO_CANARY_CREDITS": str(served.canary_credits),
        "DEMO_STATE_URL": f"sqlite:///{folder / 'sidecar.db'}",
    }


_VALUE_CHECK = """
  - name: credits-value                       # of the demo: the API's balance of a user whose balance is known
    kind: http
    every: 30s
    severity: critical
    url: /api/v1/credits/balance
    headers:
      Authorization: Bearer ${DEMO_CANARY_TOKEN}
    expect:
      - status == 200
      - string(body.balance) == "${DEMO_CANARY_CREDITS}"

rules:
"""


_STATE = """
state:
  url: ${DEMO_STATE_URL}
"""


def _demo_config(text: str, options: Options) -> str:
    """Add a check with a known balance to the shipped file, and keep the state beside the data."""
    text = _replaced(text, r"\nrules:\n", _VALUE_CHECK)
    if not _is_free(DEMO_PORT):  # a second demo, or a Sidecar that is at work here
        text = _replaced(text, f"listen: 127.0.0.1:{DEMO_PORT}", "listen: 127.0.0.1:0")
    return text if options.direct else text + _STATE


def _is_free(port: int) -> bool:
    try:
        listen("127.0.0.1", port).close()
    except OSError:
        return False
    return True


def _demo_rule(text: str, options: Options) -> str:
    """Let a rule look often; one that repairs does it by itself."""
    often = _replaced(text, r"(?m)^every: \w+", "every: 10s")
    if re.search(r"(?m)^mode: observe\b", text):
        return often
    ours = often if options.shipped_guards else _demo_guards(often, options)
    return _replaced(ours, r"(?m)^mode: \w+", "mode: auto")


def _demo_guards(text: str, options: Options) -> str:
    """Size the caps to the seeded orphans and the incident's user, and no further."""
    rows = options.orphans + 1
    percent = min(Decimal(100), (Decimal(100 * rows) / options.users).quantize(PERCENT_PLACES, rounding=ROUND_UP))
    text = _replaced(text, r"max_rows: \d+", f"max_rows: {rows}")
    text = _replaced(text, r"max_percent: [\d.]+", f"max_percent: {percent}")
    return _replaced(text, r"max_rows_per_day: \d+", f"max_rows_per_day: {max(rows, 5000)}")


def _replaced(text: str, pattern: str, by: str) -> str:
    changed, count = re.subn(pattern, lambda _: by, text, count=1)
    if count != 1:
        message = f"the shipped files changed: {pattern!r} is not in them"
        raise ValueError(message)
    return changed


async def _look_and_repair(config: Config, stop: Stop) -> tuple[list[Observation], list[Cycle]]:
    async with open_app(config, Progress(), stopping=stop.asked) as app:
        seen = [await app.watch.look(check) for check in parents_first(config.checks)]
        cycles = [await app.repair.once(rule, "demo") for rule in config.rules]
        cycles += [await app.surveyor.look(survey) for survey in config.surveys]
    return seen, cycles


def _result(
    served: Stack, seen: Sequence[Observation], cycles: Sequence[Cycle], credits_: Credits, elapsed_seconds: float
) -> Result:
    codes = [code_of_checks(seen), *(code_of_repair(cycle) for cycle in deciding(cycles))]
    seeded = served.seeded
    document = {
        "seeded": {
            "users": seeded.users,
            "repairable": seeded.repairable,
            "unrepairable": dict(seeded.unrepairable),
        },
        "checks": [observation_document(look) for look in seen],
        "rules": [cycle_document(cycle) for cycle in cycles],
        "credits": asdict(credits_),
        "elapsed_seconds": round(elapsed_seconds, 3),
    }
    barred = sum(seeded.unrepairable.values())
    lines = [
        f"seeded  {seeded.users} users, {seeded.repairable} to be repaired, {barred} that must not be",
        "",
        *map(look_line, seen),
        "",
        *(line for cycle in cycles for line in cycle_lines(cycle)),
        "",
        f"credits {credits_.restored_sum} restored of {credits_.expected_sum} expected, drift {credits_.drift}",
        f"took    {elapsed_seconds:.1f} s",
    ]
    return Result(document=document, lines=lines, code=max(codes))
