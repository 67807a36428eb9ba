"""From the `server` section to where Sidecar listens, and who may do what there."""

import stat
from collections.abc import Mapping
from pathlib import Path as FilePath

from pydantic_core import PydanticCustomError

from sidecar.config.document import Document, Path
from sidecar.config.problems import Problems
from sidecar.config.schema import ServerSection, TLSSection, is_loopback, read_listen
from sidecar.config.settings import ServerConfig, TLSConfig, Token
from sidecar.config.variables import Secret, read_secret

TOKEN_CHARS_AT_LEAST = 16


def judge_server(document: Document, folder: FilePath, problems: Problems) -> Mapping[int, str]:
    """Note what would leave the server open to others; return the tokens by their position.

    Reads the document, so that a problem elsewhere in the section hides none of these.
    """
    tokens = document.list_at("server", "tokens")
    host = _host(document.at("server", "listen"))
    if not tokens and host is not None and not is_loopback(host):
        hint = "name tokens under server.tokens, or listen on 127.0.0.1"
        problems.add(
            document, ("server", "listen"), "can be reached from other machines, and there are no tokens", hint
        )
    found: dict[int, str] = {}
    names: set[str] = set()
    for position in range(len(tokens)):
        path = ("server", "tokens", position)
        file, name = document.at(*path, "file"), document.at(*path, "name")
        if isinstance(name, str) and name in names:
            problems.add(document, (*path, "name"), "is the name of another token")
        names |= {name} if isinstance(name, str) else set()
        value = _read_token(folder / file, document, (*path, "file"), problems) if isinstance(file, str) else None
        # The approver of a plan must be another token than its author, so no two may be the same.
        if value is not None and value in found.values():
            problems.add(document, (*path, "file"), "holds the same token as another file")
        if value is not None:
            found[position] = value
    return found


def read_server(
    section: ServerSection, tokens: Mapping[int, str], document: Document, folder: FilePath, problems: Problems
) -> ServerConfig:
    """Return where to listen, and which of the `tokens` opens what."""
    host, port = section.listen
    return ServerConfig(
        host=host,
        port=port,
        tokens=tuple(
            Token(name=entry.name, scopes=frozenset(entry.scopes), value=Secret(tokens.get(position, "")))
            for position, entry in enumerate(section.tokens)
        ),
        tls=_read_tls(section.tls, document, folder, problems),
    )


def _host(listen: object) -> str | None:
    try:
        return read_listen(listen)[0]
    except PydanticCustomError:
        return None


def _read_token(file: FilePath, document: Document, path: Path, problems: Problems) -> str | None:
    value = read_secret(document, path, file, problems)
    if value is None:
        return None
    problems.hide(value)
    if file.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        problems.add(document, path, "the file can be read or written by everybody", "chmod 600")
    elif len(value) < TOKEN_CHARS_AT_LEAST or not value.isascii() or not value.isprintable() or " " in value:
        hint = f"at least {TOKEN_CHARS_AT_LEAST} printable characters without spaces, like: openssl rand -hex 32"
        problems.add(document, path, "the file holds no usable token", hint)
    return value


def _read_tls(section: TLSSection | None, document: Document, folder: FilePath, problems: Problems) -> TLSConfig | None:
    if section is None:
        return None
    config = TLSConfig(certificate=folder / section.certificate, key=folder / section.key)
    for key, file in (("certificate", config.certificate), ("key", config.key)):
        if not _is_file(file):
            problems.add(document, ("server", "tls", key), "is no file that can be found")
    return config


def _is_file(file: FilePath) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False
