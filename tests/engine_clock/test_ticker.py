import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent

from sidecar.domain.event import TickMissed, TickStarted
from sidecar.engine.supervisor import Supervisor, Work
from sidecar.engine.ticker import BACKOFF_SECONDS_AT_MOST, Tick, Ticker, _Every
from tests.engine_clock.hearing import Hearing


def a_tick(work: Work, *, every_seconds: float = 60.0, name: str = "backend", kind: str = "check") -> Tick:
    return Tick(kind=kind, name=name, every_seconds=every_seconds, work=work)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)


def a_ticker(supervisor: Supervisor, hearing: Hearing) -> Ticker:
    return Ticker(supervisor, hearing, rng=seeded(1))


async def nothing() -> None:
    await asyncio.sleep(0)


def next_at(ticker: Ticker, task: str = "check backend") -> datetime:
    found = ticker._scheduler.get_job(task).next_run_time
    assert isinstance(found, datetime)
    return found


async def test_a_tick_is_handed_over_and_its_lag_is_reported() -> None:
    hearing, worked = Hearing(), asyncio.Event()

    async def work() -> None:
        worked.set()

    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(work, every_seconds=0.05))
        ticker.start()
        (started, *_) = await hearing.first(TickStarted, count=3)
        ticker.stop()
    assert worked.is_set()
    assert isinstance(started, TickStarted)
    assert (started.kind, started.name) == ("check", "backend")
    assert 0 <= started.lag_seconds < 10


async def test_a_tick_whose_work_still_runs_is_an_overlap_and_starts_nothing() -> None:
    hearing, started = Hearing(), 0

    async def work() -> None:
        nonlocal started
        started += 1
        await asyncio.Event().wait()

    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(work, every_seconds=0.05))
        ticker.start()
        missed = await hearing.first(TickMissed, count=2)
        ticker.stop()
    assert {event.cause for event in missed if isinstance(event, TickMissed)} == {"overlap"}
    assert started == 1


async def test_a_tick_that_comes_too_late_is_a_misfire_and_starts_nothing() -> None:
    hearing, worked = Hearing(), asyncio.Event()

    async def work() -> None:
        worked.set()

    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(work))
        ticker.start()
        # As after a pause of the whole process: due 40 s ago, and only half an interval late is still of use.
        ticker._scheduler.modify_job("check backend", next_run_time=datetime.now(UTC) - timedelta(seconds=40))
        (missed,) = await hearing.first(TickMissed)
        ticker.stop()
    assert missed == TickMissed(kind="check", name="backend", cause="misfire")
    assert not worked.is_set()


async def test_ticks_that_piled_up_become_one() -> None:
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing))
        ticker.start()
        late = datetime.now(UTC) - timedelta(seconds=60 * 50 + 8)  # the last of fifty is 2 to 8 s late
        ticker._scheduler.get_job("check backend").trigger._start_at = late
        ticker._scheduler.modify_job("check backend", next_run_time=late)
        await hearing.first(TickStarted)
        for _ in range(20):
            await asyncio.sleep(0)
        ticker.stop()
        assert next_at(ticker) > datetime.now(UTC)
    assert len(hearing.events) == 1


async def test_a_hand_off_that_fails_is_an_error_and_the_clock_goes_on() -> None:
    class Broken(Supervisor):
        def submit(self, name: str, work: Work) -> bool:
            del name, work
            raise RuntimeError("no group")

    hearing = Hearing()
    async with Broken(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing, every_seconds=0.05))
        ticker.start()
        missed = await hearing.first(TickMissed, count=2)
        ticker.stop()
    assert {event.cause for event in missed if isinstance(event, TickMissed)} == {"error"}


async def test_the_clock_refusing_a_second_instance_counts_as_overlap() -> None:
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing))
        ticker._scheduler._dispatch_event(JobSubmissionEvent(EVENT_JOB_MAX_INSTANCES, "check backend", "default", []))
    assert hearing.events == [TickMissed(kind="check", name="backend", cause="overlap")]


async def test_first_ticks_are_spread_over_ten_seconds_at_most() -> None:
    hearing, now = Hearing(), datetime.now(UTC)
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        for number in range(40):
            ticker.add(a_tick(nothing, every_seconds=300, name=f"n{number}"))
        ticker._scheduler.start(paused=True)
        firsts = [(next_at(ticker, f"check n{number}") - now).total_seconds() for number in range(40)]
        ticker.stop()
    assert 0 <= min(firsts) < 2
    assert 8 < max(firsts) < 11


def test_jitter_neither_stretches_the_interval_nor_makes_ticks_collide() -> None:
    start_at = datetime(2026, 1, 1, tzinfo=UTC)
    trigger = _Every(30.0, start_at, seeded(7))
    at = trigger.get_next_fire_time(None, start_at - timedelta(seconds=1))
    places: Counter[int] = Counter()
    for _ in range(1000):
        after = trigger.get_next_fire_time(at, at)
        assert 26.9 < (after - at).total_seconds() < 33.1
        at = after
        places[int((at - start_at).total_seconds() // 30)] += 1
    assert places == Counter(range(1, 1001))


async def test_a_backoff_leaves_ticks_out_without_counting_them_and_is_bounded() -> None:
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing))
        ticker.start()
        before = datetime.now(UTC)
        ticker.not_before("check", "backend", 120)
        assert next_at(ticker) >= before + timedelta(seconds=120)
        ticker.not_before("check", "backend", 10**9)
        assert next_at(ticker) <= datetime.now(UTC) + timedelta(seconds=BACKOFF_SECONDS_AT_MOST)
        ticker.not_before("check", "backend", -5)
        assert next_at(ticker) > before + timedelta(seconds=3000)
        ticker.stop()
    assert hearing.events == []


async def test_a_request_brings_the_next_tick_forward_but_not_into_a_backoff() -> None:
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing))
        ticker.add(a_tick(nothing, kind="rule", name="credits"))
        ticker.start()
        ticker.not_before("rule", "credits", 300)
        ticker.request_soon("rule", "credits")
        ticker.request_soon("check", "backend")
        (started,) = await hearing.first(TickStarted)
        assert started == TickStarted(kind="check", name="backend", lag_seconds=started.lag_seconds)  # type: ignore[union-attr]  # a TickStarted
        assert next_at(ticker, "rule credits") > datetime.now(UTC) + timedelta(seconds=290)
        with pytest.raises(KeyError):
            ticker.request_soon("check", "nobody")
        ticker.stop()


async def test_another_pace_holds_until_the_own_one_comes_back_on_its_own_grid() -> None:
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing, every_seconds=600))
        ticker.start()
        own = next_at(ticker)
        ticker.set_pace("check", "backend", 20)
        soon = next_at(ticker)
        assert timedelta(seconds=19) < soon - datetime.now(UTC) < timedelta(seconds=22.1)
        ticker.set_pace("check", "backend", 20)
        assert next_at(ticker) == soon, "asking twice moves nothing"
        ticker.set_pace("check", "backend", 600)
        grid = ticker._scheduler.get_job("check backend").trigger
        assert (grid._every_seconds, grid._start_at) == (600, own)
        ticker.stop()
    assert hearing.events == []


async def test_a_faster_pace_does_not_break_a_backoff_and_stays_after_it() -> None:
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing, every_seconds=600))
        ticker.start()
        ticker.not_before("check", "backend", 300)
        ticker.set_pace("check", "backend", 20)
        at = next_at(ticker)
        assert at > datetime.now(UTC) + timedelta(seconds=290)
        grid = ticker._scheduler.get_job("check backend").trigger
        assert timedelta(seconds=10) < grid.get_next_fire_time(at, at) - at < timedelta(seconds=23)
        ticker.stop()


async def test_ticks_at_another_pace_are_counted_as_any_and_none_is_lost() -> None:
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing, every_seconds=60))
        ticker.start()
        ticker.set_pace("check", "backend", 0.05)
        await hearing.first(TickStarted, count=4)
        ticker.stop()
    assert not [event for event in hearing.events if isinstance(event, TickMissed)]


async def test_what_was_removed_ticks_no_more_and_its_name_is_free() -> None:
    hearing, release = Hearing(), asyncio.Event()

    async def work() -> None:
        await release.wait()

    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(work, every_seconds=0.05))
        ticker.start()
        await hearing.first(TickStarted)
        ticker.remove("check", "backend")
        assert ticker._scheduler.get_job("check backend") is None
        assert supervisor.running == ("check backend",), "its work goes on"
        with pytest.raises(KeyError):
            ticker.set_pace("check", "backend", 1)
        ticker.add(a_tick(nothing))
        ticker.stop()
        release.set()


async def test_a_name_ticks_once() -> None:
    hearing = Hearing()
    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(nothing))
        with pytest.raises(ValueError, match="check backend ticks already"):
            ticker.add(a_tick(nothing))


async def test_stopping_the_clock_neither_cancels_handed_over_work_nor_reports_missed_ticks() -> None:
    hearing, release, finished = Hearing(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await release.wait()
        finished.set()

    async with Supervisor(hearing) as supervisor:
        ticker = a_ticker(supervisor, hearing)
        ticker.add(a_tick(work, every_seconds=0.05))
        ticker.start()
        await hearing.first(TickStarted)
        supervisor.stop()
        heard = len(hearing.events)
        await asyncio.sleep(0.12)  # two ticks' time: with nothing wanted, nothing is heard
        ticker.stop()
        ticker.stop()
        release.set()
        assert await supervisor.drain(5) == ()
        assert len(hearing.events) == heard
    assert finished.is_set()
