"""The system's resolver: shared, bounded, and gone when nothing is left to ask."""

import asyncio
import socket
import threading

import pytest

from sidecar.errors import TargetUnreachable, Unreached
from sidecar.transport.resolving import THREADS_AT_MOST, Address, Found, SystemResolver
from sidecar.transport.route import Family

HERE = Address(socket.AF_INET, ("127.0.0.1", 80))


class Library:
    """A C library whose resolver answers when it is told to."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.asked: list[str] = []
        self.threads: set[threading.Thread] = set()

    def look_up(self, host: str, port: int, family: Family) -> Found:
        del port, family
        self.asked.append(host)
        self.threads.add(threading.current_thread())
        assert self.release.wait(20)
        return [HERE]


async def test_lookups_that_hang_take_few_threads_and_all_of_them_end() -> None:
    library = Library()
    resolver = SystemResolver(library.look_up)
    waiting = [asyncio.ensure_future(resolver.resolve(f"h{n}.test", 80, Family.ANY)) for n in range(40)]
    same = [asyncio.ensure_future(resolver.resolve("h0.test", 80, Family.ANY)) for _ in range(5)]
    await asyncio.sleep(0)
    for gone in (*waiting[1:], *same[1:]):
        gone.cancel()  # as a deadline does
    library.release.set()
    assert await waiting[0] == await same[0] == [HERE]
    await asyncio.gather(*waiting, *same, return_exceptions=True)
    for thread in library.threads:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    assert len(library.threads) <= THREADS_AT_MOST
    assert library.asked.count("h0.test") == 1


@pytest.mark.parametrize(
    ("host", "family", "cause"),
    [
        ("nobody.invalid", Family.ANY, {Unreached.RESOLVE_FAILED, Unreached.RESOLVER_FAILED}),
        ("x" * 64 + ".test", Family.ANY, {Unreached.RESOLVE_FAILED}),
        ("127.0.0.1", Family.IPV6, {Unreached.RESOLVE_FAILED}),
        ("::1", Family.IPV4, {Unreached.RESOLVE_FAILED}),
    ],
)
async def test_a_name_without_an_address_says_so(host: str, family: Family, cause: set[Unreached]) -> None:
    with pytest.raises(TargetUnreachable) as caught:
        await SystemResolver().resolve(host, 80, family)
    assert caught.value.cause in cause


async def test_a_name_of_this_machine_and_numbers_are_found() -> None:
    found = await SystemResolver().resolve("localhost", 80, Family.IPV4)
    assert [address.host for address in found][:1] == ["127.0.0.1"]
    assert [address.host for address in await SystemResolver().resolve("::1", 80, Family.ANY)] == ["::1"]
