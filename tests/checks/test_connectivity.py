"""Whether we have a network, asked of real sockets."""

import asyncio
import socket

from sidecar.clock import SystemClock
from sidecar.connectivity import FRESH_SECONDS, TcpConnectivity
from tests.fakes import FakeClock
from tests.scripted import reply, scripted, silent, unused_port


async def test_one_target_that_takes_a_connection_is_enough_and_nothing_is_left_open() -> None:
    async with scripted(lambda _: reply(200)) as server:
        targets = [("127.0.0.1", unused_port()), ("127.0.0.1", server.port)]
        assert await TcpConnectivity(targets, timeout_seconds=2, clock=SystemClock()).connected()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "connectivity"] == []


async def test_without_any_there_is_none() -> None:
    targets = [("127.0.0.1", unused_port()), ("nobody.invalid", 443)]
    assert not await TcpConnectivity(targets, timeout_seconds=2, clock=SystemClock()).connected()


async def test_a_target_that_never_answers_is_not_waited_for_beyond_the_timeout() -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(3)]
    for queued in waiting:  # a full backlog: the next connection is neither taken nor refused
        queued.settimeout(0)
        queued.connect_ex(full.getsockname())
    try:
        asked = TcpConnectivity([full.getsockname()], timeout_seconds=0.2, clock=SystemClock())
        async with asyncio.timeout(10):
            assert not await asked.connected()
    finally:
        for opened in (*waiting, full):
            opened.close()


async def test_many_that_ask_at_once_share_one_answer_until_it_is_old() -> None:
    clock = FakeClock()
    async with scripted(lambda _: silent()) as server:
        asked = TcpConnectivity([("127.0.0.1", server.port)], timeout_seconds=2, clock=clock)
        assert await asyncio.gather(*(asked.connected() for _ in range(20))) == [True] * 20
    assert await asked.connected(), "nobody listens any more, and the answer is fresh"
    clock.advance(FRESH_SECONDS)
    assert not await asked.connected()
