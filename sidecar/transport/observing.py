"""Where telemetry listens to exchanges: one observer for the whole process, so that no call site has to know."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeAlias

import httpx

from sidecar.transport.progress import Progress

Told: TypeAlias = Callable[[httpx.Response, Progress], None]
Observer: TypeAlias = Callable[[httpx.Request], AbstractContextManager[Told | None]]

_observers: list[Observer] = []


@contextlib.contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Wrap every exchange of the process in `observer`, which may add headers, until the end of the block."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def around(request: httpx.Request) -> AbstractContextManager[Told | None]:
    """Return what the exchange is to be wrapped in; it yields whom to tell of the answer."""
    return _observers[-1](request) if _observers else contextlib.nullcontext()
