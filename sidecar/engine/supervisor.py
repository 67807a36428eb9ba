"""Owns every task of the daemon in one group: starts them, keeps their faults apart, and ends them in bounded time."""

import asyncio
import contextlib
import contextvars
import traceback
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeAlias

from sidecar.domain.event import FaultCaught
from sidecar.errors import SidecarError
from sidecar.ports import Reporter

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

CANCEL_SECONDS = 5.0  # for shielded final writes, after which a task counts as stuck
CANCELLATIONS = 10  # spread over that time: a task that swallowed one gets another


class Supervisor:
    """One task group. `stopping` is set once no new work is taken; long work looks at it to checkpoint early.

    Use as an async context manager. Leaving it stops and cancels whatever `drain` has not ended before.
    """

    def __init__(
        self, reporter: Reporter, *, at_most: int | None = None, cancel_seconds: float = CANCEL_SECONDS
    ) -> None:
        """Report faults to `reporter`; let `at_most` tasks work at once (None: no bound), others wait their turn.

        `cancel_seconds` is how long a cancelled task may take to end.
        """
        self.stopping = asyncio.Event()
        self._reporter = reporter
        self._cancel_seconds = cancel_seconds
        self._slots: contextlib.AbstractAsyncContextManager[object] = (
            contextlib.nullcontext() if at_most is None else asyncio.Semaphore(at_most)
        )
        self._group = asyncio.TaskGroup()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for task in self._tasks.values():
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    @property
    def running(self) -> tuple[str, ...]:
        """The names of tasks that have not ended, in the order they were submitted."""
        return tuple(self._tasks)

    def submit(self, name: str, work: Work) -> bool:
        """Start `work` as the task `name`, without waiting.

        Returns False, and starts nothing, while a task of that name still runs or once stopping has begun.
        """
        if self.stopping.is_set() or name in self._tasks:
            return False
        # An empty context makes the task's span a root span, whoever submitted it and inside whichever span.
        task = self._group.create_task(self._contain(name, work), name=name, context=contextvars.Context())
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))
        return True

    async def _contain(self, name: str, work: Work) -> None:
        try:
            async with self._slots:
                await work()
        except Exception as error:  # noqa: BLE001  # the boundary: a bug in one task must not end the others
            self._reporter.emit(describe_fault(name, error))

    def stop(self) -> None:
        """Take no more work, and tell running work so. Never waits."""
        self.stopping.set()

    async def drain(self, seconds: float) -> tuple[str, ...]:
        """Stop, give running tasks `seconds` to end by themselves, then cancel them; return the names cancelled.

        Takes at most `seconds` plus `cancel_seconds`. What resists even that is reported as a fault.
        """
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=max(0.0, seconds))
        cancelled = self.running
        for _ in range(CANCELLATIONS):
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=self._cancel_seconds / CANCELLATIONS)
        for name in self.running:
            detail = f"still running {self._cancel_seconds:g} s after its cancellation"
            self._reporter.emit(FaultCaught(where=name, error_type="TaskStuck", detail=detail))
        return cancelled


def describe_fault(where: str, error: BaseException) -> FaultCaught:
    """Name what broke and where in the code. Only our own errors may speak: another's text may hold a URL or a row."""
    leaves = list(_leaves(error))
    return FaultCaught(
        where=where,
        error_type=", ".join(dict.fromkeys(type(leaf).__name__ for leaf in leaves)),
        detail="; ".join(dict.fromkeys(_place(leaf) for leaf in leaves)),
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _place(error: BaseException) -> str:
    """Return where it was raised and, when that is in a library, where our code called it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/sidecar/" in frame.filename.replace("\\", "/")]
    shown = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in (*ours[-1:], *frames[-1:])
    ]
    place = " > ".join(dict.fromkeys(shown))
    return f"{place}: {error}" if isinstance(error, SidecarError) else place
