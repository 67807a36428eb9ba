"""The reference of the command line, made from the command line: `python -m tests.docs.cli_page` writes it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from sidecar.cli import cli

PAGE = "docs/reference/cli.md"
MADE_BY = "python -m tests.docs.cli_page"
_TYPES: Mapping[object, str] = {int: "N", Path: "PATH"}


def commands() -> dict[str, TyperCommand]:
    """Return each verb's command, in the order of the help; those of a group by both words."""
    return dict(_below(typer.main.get_command(cli), ""))


def _below(command: object, name: str) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for word, inner in command.commands.items():
            yield from _below(inner, f"{name} {word}".strip())
    elif isinstance(command, TyperCommand):
        yield name, command
    else:
        raise TypeError(type(command).__name__)


def verbs() -> list[str]:
    """Return every verb."""
    return list(commands())


def options_by_verb() -> dict[str, set[str]]:
    """Return what each verb takes; the empty name stands for `sidecar` itself."""
    found = {"": {"--help", "--install-completion", "--show-completion"}}
    for name, command in commands().items():
        found[name] = {"--help", *(opt for option in _options(command) for opt in option.opts)}
    return found


def page() -> str:
    """Return docs/reference/cli.md."""
    head = f"""# Command line

Made from `sidecar/cli.py` by `{MADE_BY}`; `make docs` holds the two together.

`sidecar` is also `python -m sidecar`.
{cli.info.epilog}
Where several of 0, 1, 3, 4 and 5 apply, the highest wins.
`apply`, `backfill` and `demo --once` do not raise the code for rows that are quarantined or deferred.
`plan` ends with 1 when a plan waits.
With `--json`, stdout holds one document; everything that is said meanwhile goes to stderr.
Where tokens are configured, `--as NAME` names one of them, and the variable `SIDECAR_TOKEN` holds its value.

## Verbs

| verb | what it does |
|---|---|
"""
    summary = "".join(f"| `{name}` | {_sentence(command)} |\n" for name, command in commands().items())
    return head + summary + "".join(_section(name, command) for name, command in commands().items())


def _section(name: str, command: TyperCommand) -> str:
    words = " ".join(["sidecar", name, *map(_argument, _arguments(command)), *map(_bracketed, _options(command))])
    parts = [f"\n## sidecar {name}\n\n{_sentence(command)}\n", f"```sh\n{words}\n```\n"]
    rows = [_row(_argument(argument), argument.help, _default(argument)) for argument in _arguments(command)]
    rows += [_row(_spelled(option), option.help, _default(option)) for option in _options(command)]
    if rows:
        parts.append("| | default | meaning |\n|---|---|---|\n" + "".join(rows))
    if command.epilog:
        parts.append(f"Example:\n\n```sh\n{command.epilog.removeprefix('Example: ')}\n```\n")
    return "\n".join(parts)


def _sentence(command: TyperCommand) -> str:
    return " ".join((command.help or "").split())


def _arguments(command: TyperCommand) -> Iterator[TyperArgument]:
    return (param for param in command.params if isinstance(param, TyperArgument))


def _options(command: TyperCommand) -> Iterator[TyperOption]:
    return (param for param in command.params if isinstance(param, TyperOption) and param.name != "help")


def _argument(argument: TyperArgument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _spelled(option: TyperOption) -> str:
    name = max(option.opts, key=len)
    if option.is_flag:
        return name
    kind = option.metavar or _TYPES.get(option.type_descriptor.annotation, "TEXT")
    return f"{name} {kind}"


def _bracketed(option: TyperOption) -> str:
    return _spelled(option) if option.required else f"[{_spelled(option)}]"


def _default(param: TyperArgument | TyperOption) -> str:
    if param.required:
        return "required"
    if param.default in (None, False, "", [], ()):
        return ""
    return f"`{param.default}`" + (f", or the variable `{param.envvar}`" if param.envvar else "")


def _row(name: str, meaning: str | None, default: str) -> str:
    return f"| `{name}` | {default} | {meaning or ''} |\n"


def main() -> None:
    """Write the page below the working directory."""
    Path(PAGE).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
