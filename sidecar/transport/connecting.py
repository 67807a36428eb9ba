"""From addresses to a connected socket: few addresses, staggered, and the first that answers."""

import asyncio
import errno
import itertools
import os
import socket
from collections.abc import Mapping, Sequence

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.resolving import Address

ADDRESSES_AT_MOST = 4  # of a name with 50 addresses, who tries all of them tests something else than the name
STAGGER_SECONDS = 0.25  # before the next address is tried beside the one that is silent; RFC 8305, section 5

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN, errno.EINTR})

BY_ERRNO: Mapping[int, Unreached] = {
    errno.EMFILE: Unreached.LOCAL_FAULT,
    errno.ENFILE: Unreached.LOCAL_FAULT,
    errno.ENOBUFS: Unreached.LOCAL_FAULT,
    errno.EADDRNOTAVAIL: Unreached.LOCAL_FAULT,
    errno.ENETUNREACH: Unreached.NETWORK_UNREACHABLE,
    errno.ENETDOWN: Unreached.NETWORK_UNREACHABLE,
}


async def connect(addresses: Sequence[Address]) -> tuple[socket.socket, Address]:
    """Return a connected socket, which the caller closes, and the address it is connected to.

    Raises: TargetUnreachable, which names what the target did rather than what kept us from asking it.
    """
    chosen = _interleaved(addresses)[:ADDRESSES_AT_MOST]
    if len(chosen) == 1:
        return await _connect(chosen[0]), chosen[0]
    return await _race(chosen)


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Let the families take turns, beginning with the resolver's first choice. RFC 8305, section 4."""
    first = [address for address in addresses if address.family == addresses[0].family]
    other = [address for address in addresses if address.family != addresses[0].family]
    pairs = itertools.zip_longest(first, other)
    return [address for pair in pairs for address in pair if address is not None]


async def _race(addresses: Sequence[Address]) -> tuple[socket.socket, Address]:
    waiting, failures = list(addresses), list[TargetUnreachable]()
    running: dict[asyncio.Task[socket.socket], Address] = {}
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop(0)
                running[asyncio.ensure_future(_connect(address))] = address
            done, _ = await asyncio.wait(
                running, timeout=STAGGER_SECONDS if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                address = running.pop(task)
                try:
                    return task.result(), address
                except TargetUnreachable as error:
                    failures.append(error)
    finally:
        await _give_up(list(running))
    telling = [failure for failure in failures if failure.cause is Unreached.CONNECT_FAILED]
    raise (telling or failures)[-1]


async def _give_up(tasks: Sequence[asyncio.Task[socket.socket]]) -> None:
    """End what has lost the race; one that connected in this very moment leaves a socket to close."""
    for task in tasks:
        task.add_done_callback(_close)
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _close(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(address: Address) -> socket.socket:
    try:
        connection = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        raise failed(error) from error
    try:
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await _reach(connection, address)
    except OSError as error:
        connection.close()
        raise failed(error) from error
    except BaseException:
        connection.close()
        raise
    return connection


async def _reach(connection: socket.socket, address: Address) -> None:
    code = connection.connect_ex(address.sockaddr)
    if code == errno.EINPROGRESS:
        code = connection.connect_ex(address.sockaddr)  # a target on this machine has answered by now
    if code in _UNDER_WAY:
        await asyncio.get_running_loop().sock_connect(connection, address.sockaddr)
    elif code not in (0, errno.EISCONN):
        raise OSError(code, os.strerror(code))


def failed(error: OSError) -> TargetUnreachable:
    """Say why there is no connection."""
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return TargetUnreachable(BY_ERRNO.get(error.errno or 0, Unreached.CONNECT_FAILED), name)
