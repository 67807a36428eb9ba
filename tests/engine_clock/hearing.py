"""A reporter that remembers, and lets a test wait for what it is waiting for."""

import asyncio
from contextlib import AbstractContextManager, nullcontext

from sidecar.domain.event import Event


class Hearing:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def span(self, name: str, **attributes: str | float | bool) -> AbstractContextManager[None]:
        del name, attributes
        return nullcontext()

    async def first(self, kind: type[Event], *, count: int = 1) -> list[Event]:
        """Wait until `count` events of a kind were heard, and return them."""
        while len(found := [event for event in self.events if isinstance(event, kind)]) < count:
            self._news.clear()
            async with asyncio.timeout(10):
                await self._news.wait()
        return found
