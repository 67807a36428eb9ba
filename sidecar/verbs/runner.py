"""Run a verb: load the configuration, open the app, print the result, and leave with the contract's exit code."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, TypeAlias

from sidecar.app import App, open_app
from sidecar.checks.kinds import KINDS
from sidecar.config.check_remarks import check_remarks
from sidecar.config.json_schema import json_schema
from sidecar.config.load import load, load_rule_folder, load_rules
from sidecar.config.rule_remarks import remarks
from sidecar.config.settings import Config, Scope
from sidecar.errors import AccessDenied, ConfigError, PlanInvalid, SidecarError, UsageError
from sidecar.verbs.actor import actor_of
from sidecar.verbs.evidence_case import evidence_cases
from sidecar.verbs.progress import Progress
from sidecar.verbs.result import Exit, Result

Work: TypeAlias = Callable[[App, str], Awaitable[Result]]


def leave(code: int) -> NoReturn:
    """End the process with an exit code."""
    sys.stdout.flush()
    sys.exit(int(code))


def load_config(path: Path) -> Config:
    """Load a configuration with the process's environment. Raises: ConfigError."""
    return load(path, {name: kind.model for name, kind in KINDS.items()}, os.environ)


def perform(
    config_path: Path, work: Work, *, as_json: bool, actor: str | None = None, scope: Scope | None = None
) -> NoReturn:
    """Open the app and do `work` with it; `scope` names what a token must allow where something changes."""

    async def do() -> int:
        config = load_config(config_path)
        who = "reader" if scope is None else actor_of(actor, scope, config.server.tokens, os.environ)
        stop = Stop()
        with stop.on_signals(), Progress() as progress:
            async with open_app(config, progress, stopping=stop.asked) as app:
                result = await work(app, who)
        print_result(result, as_json=as_json)
        return Exit.INTERRUPTED if stop.asked() else result.code

    leave(guarded(do))


def guarded(do: Callable[[], Awaitable[int]]) -> int:
    """Run to the end, turning our errors into one line on stderr and an exit code."""

    async def awaited() -> int:
        try:
            return await do()
        except BaseExceptionGroup as group:
            raise _bare(group) from None

    try:
        return asyncio.run(awaited())
    except ConfigError as error:
        complain("configuration refused:", *map(str, error.problems))
        return Exit.USAGE
    except (UsageError, PlanInvalid) as error:
        complain(str(error))
        return Exit.USAGE
    except AccessDenied as error:
        complain(str(error))
        return Exit.REFUSED
    except SidecarError as error:
        complain(f"{type(error).__name__}: {error}")
        return Exit.UNKNOWN
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED


def _bare(error: BaseException) -> BaseException:
    """Take a lone error out of the task groups that it came through on its way."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    return error


class Stop:
    """A wish to stop: the first signal asks for a checkpoint, the second ends the process at once."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        """Nothing is asked yet. `tell` is told that the first signal was heard; stderr when it is left out."""
        self.event = asyncio.Event()
        self._tell = tell or complain

    def asked(self) -> bool:
        """Say whether somebody asked to stop."""
        return self.event.is_set()

    def on_signals(self) -> "_Handlers":
        """Listen to SIGINT and SIGTERM for the time of a block."""
        return _Handlers(self._heard)

    def _heard(self) -> None:
        if self.event.is_set():
            os._exit(Exit.INTERRUPTED)
        self._tell("stopping after this batch; once more to stop at once")
        self.event.set()


class _Handlers:
    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._heard)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)


def print_result(result: Result, *, as_json: bool) -> None:
    """Print the document or the lines on stdout."""
    text = json.dumps(result.document, indent=1, default=str) if as_json else "\n".join(result.lines)
    sys.stdout.write(text + "\n")


def complain(*lines: str) -> None:
    """Say something on stderr."""
    sys.stderr.write("".join(f"sidecar: {line}\n" if n == 0 else f"  {line}\n" for n, line in enumerate(lines)))
    sys.stderr.flush()


def validate(config_path: Path, *, as_json: bool) -> int:
    """Say whether the configuration can be used."""
    try:
        config = load_config(config_path)
    except ConfigError as error:
        problems = [
            {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message, "hint": p.hint}
            for p in error.problems
        ]
        lines = [str(problem) for problem in error.problems]
        print_result(Result(document={"problems": problems}, lines=lines, code=Exit.USAGE), as_json=as_json)
        return Exit.USAGE
    checks = [check.name for check in config.checks]
    rules = [*(rule.name for rule in config.rules), *(survey.name for survey in config.surveys)]
    notes = [*check_remarks(config, datetime.now(UTC)), *remarks(config), *asyncio.run(evidence_cases(config))]
    lines = [f"{config_path}: {len(checks)} checks, {len(rules)} rules, nothing wrong", *notes]
    document = {"problems": [], "checks": checks, "rules": rules, "remarks": notes}
    print_result(Result(document=document, lines=lines, code=Exit.CLEAN), as_json=as_json)
    return Exit.CLEAN


def schema(config_path: Path, *, fixture: bool) -> int:
    """Print the JSON Schema of the configuration, or the SQL of the fixture, with a nonce of its own, and of the roles.

    The roles may do what the rules of the configuration need, or the shipped ones where there is no such file.
    """

    async def do() -> int:
        sys.stdout.write(await asyncio.to_thread(_fixture, config_path) if fixture else _schema())
        return Exit.CLEAN

    return guarded(do)


def _schema() -> str:
    document = json_schema({name: kind.model for name, kind in KINDS.items()})
    return json.dumps(document, indent=1) + "\n"


def _fixture(config_path: Path) -> str:
    import secrets  # noqa: PLC0415  # only here

    from sidecar.demo.shipped import shipped_files  # noqa: PLC0415  # likewise
    from sidecar.fixture import fixture_sql  # noqa: PLC0415  # likewise
    from sidecar.roles import roles_sql  # noqa: PLC0415  # likewise: it loads the database's driver

    rules = load_rule_folder(config_path) if config_path.exists() else load_rules(shipped_files()[1])
    return fixture_sql(secrets.token_hex(16)) + "\n" + roles_sql(rules)
