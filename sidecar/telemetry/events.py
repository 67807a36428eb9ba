"""Hands each event to every listener. Never raises and never waits: whoever emits has something better to do."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from sidecar.domain.event import Event
from sidecar.telemetry.tracing import Tracing


class Listener(Protocol):
    """Takes note of events, at once."""

    def hear(self, event: Event) -> None:
        """Take note of one event."""
        ...


class Telemetry:
    """The reporter of the daemon (`sidecar.ports.Reporter`)."""

    def __init__(
        self, tracing: Tracing, listeners: Sequence[Listener], *, count_failure: Callable[[str], None]
    ) -> None:
        """Tell `listeners` in this order; tell `count_failure` the class name of one that failed."""
        self._tracing = tracing
        self._listeners = tuple(listeners)
        self._count_failure = count_failure

    def emit(self, event: Event) -> None:
        """Tell every listener. One that fails keeps neither the others nor the engine from going on."""
        for listener in self._listeners:
            try:
                listener.hear(event)
            except Exception:
                name = type(listener).__name__
                self._count_failure(name)
                logging.getLogger(__name__).exception("%s could not take %s", name, type(event).__name__)

    def span(self, name: str, **attributes: str | float | bool) -> AbstractContextManager[None]:
        """Open a span; HTTP calls made inside it become its children."""
        return self._tracing.span(name, **attributes)
