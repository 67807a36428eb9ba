"""Where telemetry listens to exchanges: one observer for the whole process, so that no call site has to know."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import httpx

from sidecar.transport.progress import Progress
from sidecar.transport.reading import Exchanged


class Observed(Protocol):
    """One exchange, as its observer sees it. Exactly one of `answered` and `failed` ends it."""

    @property
    def headers(self) -> dict[str, str]:
        """What is to be added to the request."""
        ...

    def answered(self, exchanged: Exchanged, progress: Progress) -> None:
        """Take note of status and headers."""
        ...

    def failed(self, error: BaseException) -> None:
        """Take note that none came."""
        ...


Observer = Callable[[str, httpx.URL], Observed | None]

_observers: list[Observer] = []


@contextlib.contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Show every exchange of the process to `observer`, by method and URL, until the end of the block."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def observe(method: str, url: httpx.URL) -> Observed | None:
    """Begin to show an exchange; None when nobody looks."""
    return _observers[-1](method, url) if _observers else None
