"""Contexts of TLS from files, made when the configuration is read: whom to trust, and what to show."""

import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx

CONTEXTS_AT_MOST = 64  # that are remembered; checks with the same files share one


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """The certificate that we show and its key; without a key of its own the certificate's file holds it."""

    certificate: str
    key: str | None = None


def tls_context(*, verify: bool, ca_file: str | None = None, client: ClientFiles | None = None) -> ssl.SSLContext:
    """Return a context. The same files with the same content give the same one.

    Raises: ValueError that says which key is wrong, and nothing of what the files hold.
    """
    files = [ca_file, client.certificate if client else None, client.key if client else None]
    try:
        contents = tuple(None if file is None else Path(file).read_bytes() for file in files)
    except OSError as error:
        message = f"a file cannot be read: {error.strerror}"
        raise ValueError(message) from None
    return _context(verify, ca_file, client, contents)


@lru_cache(maxsize=CONTEXTS_AT_MOST)
def _context(
    verify: bool,  # noqa: FBT001  # a key of the cache
    ca_file: str | None,
    client: ClientFiles | None,
    _contents: tuple[bytes | None, ...],
) -> ssl.SSLContext:
    context = _trusting(ca_file) if verify else _believing()
    if client is not None:
        try:
            # A password would be asked for on the terminal.
            context.load_cert_chain(client.certificate, client.key, password=lambda: "")
        except (ssl.SSLError, ValueError, OSError):
            place = "client_key_file" if client.key else "client_certificate_file"
            message = f"{place} holds no unencrypted key of that certificate"
            raise ValueError(message) from None
    return context


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca_file)
    except (ssl.SSLError, OSError):
        raise ValueError("the file holds no certificate in PEM form") from None
    return context


def _believing() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
