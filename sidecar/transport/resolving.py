"""From a name to addresses: the system's own resolver, in few threads, none of which outlives its work."""

import asyncio
import concurrent.futures
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeAlias

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.route import Family

THREADS_AT_MOST = 16

_FAMILIES = {Family.ANY: socket.AF_UNSPEC, Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_ABSENT = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket can connect to. `sockaddr` is what the operating system wants to be given."""

    family: socket.AddressFamily
    sockaddr: tuple[str | int | bytes, ...]

    @property
    def host(self) -> str:
        """The numeric address."""
        return str(self.sockaddr[0])


class Resolver(Protocol):
    """Turns names into addresses. Cancelled when the deadline passes; what it started must then end by itself."""

    async def resolve(self, host: str, port: int, family: Family) -> Sequence[Address]:
        """Return at least one address, best first.

        Raises: TargetUnreachable (RESOLVE_FAILED: there is none; RESOLVER_FAILED: nobody could say).
        """
        ...

    def __hash__(self) -> int:
        """Tell resolvers apart: clients are kept by route and resolver."""
        ...


_Question: TypeAlias = tuple[str, int, Family]
Found: TypeAlias = list[Address] | tuple[Unreached, str]
_Reply: TypeAlias = "concurrent.futures.Future[Found]"


class SystemResolver:
    """Asks the C library, as every other program of this machine does: `/etc/hosts` and search domains count.

    Nobody can interrupt a lookup. So equal questions share one, at most `THREADS_AT_MOST` are asked at once, others
    wait, and each thread ends when nothing is left to ask. They are daemon threads: no exit waits for a dead resolver.
    """

    def __init__(self, look_up: Callable[[str, int, Family], Found] | None = None) -> None:
        """Ask `look_up`, which may block its thread and must not raise."""
        self._look_up = look_up or ask_system
        self._lock = threading.Lock()
        self._replies: dict[_Question, _Reply] = {}
        self._waiting: deque[_Question] = deque()
        self._threads = 0

    async def resolve(self, host: str, port: int, family: Family) -> Sequence[Address]:
        """Look up; a numeric address needs nobody to be asked."""
        literal = _literal(host, port, family)
        if literal is not None:
            return [literal]
        found = await asyncio.wrap_future(self._ask((host, port, family)))
        if isinstance(found, tuple):
            raise TargetUnreachable(*found)
        return found

    def _ask(self, question: _Question) -> _Reply:
        with self._lock:
            reply = self._replies.get(question)
            if reply is None:
                reply = self._replies[question] = concurrent.futures.Future()
                reply.set_running_or_notify_cancel()  # whoever gives up must not take the reply from the others
                self._waiting.append(question)
                self._add_thread(question)
            return reply

    def _add_thread(self, question: _Question) -> None:
        """Let one more thread work where there may be more. Raises: TargetUnreachable when nobody is left to ask."""
        if self._threads == THREADS_AT_MOST:
            return
        try:
            threading.Thread(target=self._work, name="resolver", daemon=True).start()
        except RuntimeError as error:  # the machine has no thread left for us
            if self._threads == 0:
                del self._replies[question]
                self._waiting.remove(question)
                raise TargetUnreachable(Unreached.LOCAL_FAULT, "no thread left") from error
            return
        self._threads += 1

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                question = self._waiting.popleft()
            found = self._look_up(*question)
            with self._lock:
                reply = self._replies.pop(question)
            reply.set_result(found)


@lru_cache(maxsize=512)
def _literal(host: str, port: int, family: Family) -> Address | None:
    if not (":" in host or host[-1:].isdigit()) or "%" in host:
        return None
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return None
    found = socket.AF_INET if number.version == 4 else socket.AF_INET6
    if _FAMILIES[family] not in (found, socket.AF_UNSPEC):
        raise TargetUnreachable(Unreached.RESOLVE_FAILED, f"the address is not of the family {family}")
    return Address(found, (host, port) if number.version == 4 else (host, port, 0, 0))


def ask_system(host: str, port: int, family: Family) -> Found:
    """Return the addresses, or why there are none."""
    try:
        found = socket.getaddrinfo(host, port, _FAMILIES[family], socket.SOCK_STREAM)
    except socket.gaierror as error:
        cause = Unreached.RESOLVE_FAILED if error.errno in _ABSENT else Unreached.RESOLVER_FAILED
        return cause, str(error.strerror or "gaierror")
    except UnicodeError:
        return Unreached.RESOLVE_FAILED, "not a name that can exist"
    except Exception as error:  # noqa: BLE001  # the thread's boundary: whoever waits must be told
        return Unreached.RESOLVER_FAILED, type(error).__name__
    if not found:
        return Unreached.RESOLVE_FAILED, "no address"
    return [Address(socket.AddressFamily(kind), tuple(sockaddr)) for kind, _, _, _, sockaddr in found]
