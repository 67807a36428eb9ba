"""The app in force, and those before it whose work is not over: each is closed once nobody works with it any more."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from sidecar.app import App


@dataclass(slots=True)
class _Generation:
    app: App
    opened: contextlib.AsyncExitStack
    users: int = 0


class Live:
    """Hands out the app in force. Work keeps the one that it began with to its end."""

    def __init__(self, app: App, opened: contextlib.AsyncExitStack) -> None:
        """`opened` closes what `app` works with, and not what later ones share with it."""
        self._now = _Generation(app, opened)
        self._before: list[_Generation] = []

    @property
    def app(self) -> App:
        """The app in force, for what needs no more than memory and configuration."""
        return self._now.app

    @contextlib.asynccontextmanager
    async def using(self) -> AsyncIterator[App]:
        """Work with the app in force; it stays open until the block ends, whatever replaces it."""
        mine = self._now
        mine.users += 1
        try:
            yield mine.app
        finally:
            mine.users -= 1
            await self._close_idle()

    def put(self, app: App, opened: contextlib.AsyncExitStack) -> Callable[[], Awaitable[None]]:
        """Put another app in force at once; return what closes the one before, now or once its work is over."""
        self._before.append(self._now)
        self._now = _Generation(app, opened)
        return self._close_idle

    async def close(self) -> None:
        """Close every app."""
        for generation in (*self._before, self._now):
            await generation.opened.aclose()
        self._before.clear()

    async def _close_idle(self) -> None:
        idle = [generation for generation in self._before if not generation.users]
        self._before = [generation for generation in self._before if generation.users]
        for generation in idle:
            await generation.opened.aclose()
