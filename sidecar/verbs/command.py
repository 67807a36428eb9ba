"""Make a command of a verb. What every command takes (--config, --json, --as) stands here, and nowhere else."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from sidecar.config.settings import Scope
from sidecar.verbs import runner
from sidecar.verbs.result import Result

ConfigPath = Annotated[
    Path, typer.Option("--config", envvar="SIDECAR_CONFIG", help="Configuration file.", show_default=True)
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Actor = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Act under this name; see tokens.")]
DEFAULT_CONFIG = Path("sidecar.yaml")

Verb = TypeVar("Verb", bound=Callable[..., Awaitable[Result]])
Needs: TypeAlias = Scope | Callable[[Mapping[str, object]], Scope | None]


def verb(group: typer.Typer, example: str, *, scope: Needs | None = None) -> Callable[[Verb], Verb]:
    """Add `async (app, who, its own options) -> Result` to `group` as a command of the same name.

    `scope` is what a token must allow, or a function from the given options to it; None for a verb that only looks.
    """

    def register(work: Verb) -> Verb:
        def command(*, config: Path, as_json: bool, actor: str | None = None, **given: object) -> None:
            needed = scope(given) if callable(scope) else scope
            runner.perform(config, lambda app, who: work(app, who, **given), as_json=as_json, actor=actor, scope=needed)

        # Typer reads a command's options from its signature.
        signature = _signature(work, changes=scope is not None)
        command.__name__, command.__doc__ = work.__name__, work.__doc__
        command.__dict__["__signature__"] = signature
        command.__annotations__ = {name: param.annotation for name, param in signature.parameters.items()}
        group.command(epilog=f"Example: sidecar {example}")(command)
        return work

    return register


def _signature(work: Callable[..., object], *, changes: bool) -> inspect.Signature:
    """Return the verb's own parameters, without `app` and `who`, and then the shared ones."""
    own = list(inspect.signature(work, eval_str=True).parameters.values())[2:]
    shared: list[tuple[str, object, object]] = [("config", ConfigPath, DEFAULT_CONFIG), ("as_json", AsJSON, False)]
    if changes:
        shared.append(("actor", Actor, None))
    only = inspect.Parameter.KEYWORD_ONLY
    more = [inspect.Parameter(name, only, default=default, annotation=kind) for name, kind, default in shared]
    return inspect.Signature([*(param.replace(kind=only) for param in own), *more])
