"""Commands that documents tell people to type exist: the verb, each option of it, and the target of make."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.docs.cli_page import options_by_verb
from tests.docs.pages import pages

_BEFORE = re.compile(r"^\s*(?:[$#]\s+)?(?:[A-Z_]+=\S*\s+)*(?:\S*/)?")
_OPEN = ("<", "…", "[", "VERB")  # stands for something that the reader fills in


def problems(root: Path) -> Iterator[str]:
    """Yield one line for each command that cannot be typed."""
    targets = _targets(root)
    options = options_by_verb()
    for page in pages(root):
        for number, code in page.code():
            for words in _commands(code):
                if (wrong := _wrong(words, options, targets)) is not None:
                    yield f"{page.name}:{number}: {wrong}"


def _targets(root: Path) -> set[str]:
    makefile = root / "Makefile"
    text = makefile.read_text(encoding="utf-8") if makefile.is_file() else ""
    return set(re.findall(r"^([a-z]+):", text, flags=re.MULTILINE))


def _commands(code: str) -> Iterator[Sequence[str]]:
    """Yield the words of each command of a line of shell."""
    for part in re.split(r"\|\|?|&&|;|\$\(", code):
        plain = _BEFORE.sub("", part, count=1)
        if re.match(r"(sidecar|make|python3? -m sidecar)\s", plain):
            try:
                words = shlex.split(plain, comments=True)
            except ValueError:  # an apostrophe of prose
                words = plain.split()
            yield ["sidecar", *words[3:]] if words[0].startswith("python") else words


def _wrong(words: Sequence[str], options: dict[str, set[str]], targets: set[str]) -> str | None:
    said = " ".join(words)
    if words[0] == "make":
        unknown = [word for word in words[1:] if word[0].isalpha() and "=" not in word and word not in targets]
        return f"{said}: the Makefile has no target {unknown[0]}" if unknown else None
    verb = words[1] if len(words) > 1 else ""
    if not verb or verb.startswith(_OPEN):
        return None
    if verb.startswith("-"):
        verb, words = "", ["", *words]
    if f"{verb} {' '.join(words[2:3])}" in options:
        verb, words = f"{verb} {words[2]}", words[1:]
    if verb not in options:
        return f"{said}: there is no verb {verb}"
    for word in words[2:]:
        option = word.partition("=")[0]
        if option.startswith("-") and option not in options[verb]:
            return f"{said}: {verb or 'sidecar'} has no option {option}"
    return None
