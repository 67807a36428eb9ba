"""Work keeps the app that it began with open, and nothing else does."""

import asyncio
import contextlib
from typing import cast

from sidecar.app import App
from sidecar.live import Live


def an_app() -> App:
    return cast("App", object())


def tracked(closed: list[str], name: str) -> contextlib.AsyncExitStack:
    opened = contextlib.AsyncExitStack()
    opened.callback(closed.append, name)
    return opened


async def test_an_app_that_is_replaced_stays_open_until_its_work_is_over() -> None:
    closed: list[str] = []
    first, second, third = an_app(), an_app(), an_app()
    live = Live(first, tracked(closed, "first"))
    begun, release = asyncio.Event(), asyncio.Event()

    async def work() -> App:
        async with live.using() as app:
            begun.set()
            await release.wait()
            return app

    task = asyncio.create_task(work())
    await begun.wait()
    await live.put(second, tracked(closed, "second"))()
    assert (live.app is second, closed) == (True, [])
    await live.put(third, tracked(closed, "third"))()
    assert closed == ["second"], "nobody worked with it"
    release.set()
    assert await task is first
    assert closed == ["second", "first"]
    await live.close()
    assert closed == ["second", "first", "third"]
