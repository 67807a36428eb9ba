"""The TLS handshake, and what can still be learnt when it fails."""

import asyncio
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable

import httpx

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.certificates import certificate_of
from sidecar.transport.progress import Progress
from sidecar.transport.reading import Exchanged

SECOND_LOOK_SECONDS = 3.0  # at most, and never beyond the deadline of the exchange
_NEVER = 86_400.0  # asyncio's own bound of a handshake; the deadline of the exchange comes first


@functools.cache
def trust_public_authorities() -> ssl.SSLContext:
    """Return a context that trusts the public authorities; loading them takes a while, so once."""
    return httpx.create_ssl_context(trust_env=False)


@functools.cache
def trust_anybody() -> ssl.SSLContext:
    """Return a context that verifies nothing: for reading a certificate, and where somebody asked for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def wrap(connection: socket.socket, host: str, tls: ssl.SSLContext, protocol: Exchanged, told: Progress) -> None:
    """Shake hands as `host` on a connected socket, which the transport owns from then on.

    Raises: TargetUnreachable (TLS_FAILED).
    """
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: protocol, sock=connection, ssl=tls, server_hostname=host, ssl_handshake_timeout=_NEVER
        )
    except ssl.SSLError as error:
        raise TargetUnreachable(Unreached.TLS_FAILED, _told(error)) from error
    except (OSError, ValueError) as error:  # ValueError: a host that cannot be the name in a certificate
        raise TargetUnreachable(Unreached.TLS_FAILED, f"{type(error).__name__} amid the handshake") from error
    seen: ssl.SSLObject = transport.get_extra_info("ssl_object")
    cipher = seen.cipher()
    told.certificate = certificate_of(seen)
    told.tls_version, told.tls_cipher = seen.version(), cipher[0] if cipher else None


def _told(error: ssl.SSLError) -> str:
    """Say what is wrong in the TLS library's words; those of a verification name no secret, only the certificate."""
    message = getattr(error, "verify_message", "")
    return f"{error.reason or type(error).__name__}{': ' + message if message else ''}"


async def look_again(open_socket: Callable[[], Awaitable[socket.socket]], host: str, told: Progress) -> None:
    """Read the certificate that was not believed, over a second connection. Nothing is ever sent over it.

    Never raises but for cancellation: that nothing more can be learnt changes nothing about what failed.
    """
    try:
        async with asyncio.timeout(SECOND_LOOK_SECONDS):
            connection = await open_socket()
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol,
                sock=connection,
                ssl=trust_anybody(),
                server_hostname=host,
                ssl_handshake_timeout=_NEVER,
            )
            try:
                told.certificate = certificate_of(transport.get_extra_info("ssl_object"))
            finally:
                transport.abort()
    except (TargetUnreachable, OSError, ValueError):
        return
