import asyncio
import contextvars

from sidecar.domain.event import FaultCaught
from sidecar.engine.supervisor import Supervisor
from sidecar.errors import AccessDenied
from tests.engine_clock.hearing import Hearing


async def test_submitted_work_runs_under_its_name() -> None:
    names: list[str | None] = []

    async def work() -> None:
        task = asyncio.current_task()
        names.append(task.get_name() if task else None)

    async with Supervisor(Hearing()) as supervisor:
        assert supervisor.submit("check one", work)
        assert await supervisor.drain(5) == ()
    assert names == ["check one"]


async def test_a_task_never_overlaps_itself_and_may_run_again_when_it_has_ended() -> None:
    release, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await release.wait()

    async def other() -> None:
        ended.set()

    async with Supervisor(Hearing()) as supervisor:
        assert supervisor.submit("a", work)
        assert not supervisor.submit("a", work)
        assert supervisor.submit("b", other)
        await ended.wait()
        release.set()
        async with asyncio.timeout(5):
            while "a" in supervisor.running:  # noqa: ASYNC110  # the supervisor offers no event for a task's end
                await asyncio.sleep(0)
        assert supervisor.submit("a", work)


async def test_a_fault_is_reported_without_its_text_and_the_others_go_on() -> None:
    hearing, done = Hearing(), asyncio.Event()

    async def broken() -> None:
        message = "https://user:secret@host/?apikey=secret"
        raise ValueError(message)

    async with Supervisor(hearing) as supervisor:
        supervisor.submit("broken", broken)
        await hearing.first(FaultCaught)

        async def fine() -> None:
            done.set()

        assert supervisor.submit("fine", fine)
        await asyncio.wait_for(done.wait(), 5)
    (fault,) = hearing.events
    assert isinstance(fault, FaultCaught)
    assert (fault.where, fault.error_type) == ("broken", "ValueError")
    assert "secret" not in fault.detail
    assert "test_supervisor.py" in fault.detail


async def test_a_fault_of_our_own_keeps_its_text_and_groups_are_named_by_their_leaves() -> None:
    hearing = Hearing()

    async def broken() -> None:
        raise ExceptionGroup("several", [AccessDenied("the service key was refused"), KeyError("x")])

    async with Supervisor(hearing) as supervisor:
        supervisor.submit("broken", broken)
        (fault,) = await hearing.first(FaultCaught)
    assert isinstance(fault, FaultCaught)
    assert fault.error_type == "AccessDenied, KeyError"
    assert "the service key was refused" in fault.detail


async def test_at_most_so_many_tasks_work_at_once() -> None:
    working, most = 0, 0
    release, full = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        nonlocal working, most
        working += 1
        most = max(most, working)
        if working == 2:
            full.set()
        await release.wait()
        working -= 1

    async with Supervisor(Hearing(), at_most=2) as supervisor:
        assert all(supervisor.submit(f"task {number}", work) for number in range(5))
        await full.wait()
        release.set()
        assert await supervisor.drain(5) == ()
    assert most == 2


async def test_stopping_takes_no_new_work_and_is_seen_by_running_work() -> None:
    checkpointed = asyncio.Event()
    supervisor = Supervisor(Hearing())

    async def work() -> None:
        await supervisor.stopping.wait()
        checkpointed.set()

    async with supervisor:
        supervisor.submit("run", work)
        supervisor.stop()
        assert not supervisor.submit("late", work)
        assert await supervisor.drain(5) == ()
    assert checkpointed.is_set()


async def test_draining_cancels_what_does_not_end_and_lets_it_write_its_last_word() -> None:
    last_words: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            last_words.append("checkpoint")

    async with Supervisor(Hearing()) as supervisor:
        supervisor.submit("run", work)
        assert await supervisor.drain(0) == ("run",)
        assert supervisor.running == ()
    assert last_words == ["checkpoint"]


async def test_a_task_that_swallows_its_cancellation_once_is_cancelled_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed += 1
        await asyncio.Event().wait()

    async with Supervisor(Hearing(), cancel_seconds=0.5) as supervisor:
        supervisor.submit("stubborn", stubborn)
        await asyncio.sleep(0)
        assert await supervisor.drain(0) == ("stubborn",)
        assert supervisor.running == ()
    assert swallowed == 1


async def test_draining_is_bounded_and_names_a_task_that_resists() -> None:
    hearing, free = Hearing(), asyncio.Event()

    async def stuck() -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    async with Supervisor(hearing, cancel_seconds=0.05) as supervisor:
        supervisor.submit("stuck", stuck)
        await asyncio.sleep(0)
        assert await supervisor.drain(0) == ("stuck",)
        (fault,) = hearing.events
        assert isinstance(fault, FaultCaught)
        assert (fault.where, fault.error_type) == ("stuck", "TaskStuck")
        free.set()


async def test_leaving_without_draining_cancels() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with Supervisor(Hearing()) as supervisor:
        supervisor.submit("work", work)
        await asyncio.sleep(0)
    assert cancelled.is_set()


async def test_work_starts_in_an_empty_context_so_that_its_span_is_a_root() -> None:
    surrounding: contextvars.ContextVar[str] = contextvars.ContextVar("surrounding", default="none")
    surrounding.set("a span of whoever submitted")
    seen: list[str] = []

    async def work() -> None:
        seen.append(surrounding.get())

    async with Supervisor(Hearing()) as supervisor:
        supervisor.submit("work", work)
        await supervisor.drain(5)
    assert seen == ["none"]
