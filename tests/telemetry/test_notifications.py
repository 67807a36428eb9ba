import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sidecar.config.settings import Notice, NotificationConfig
from sidecar.config.variables import Secret
from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.event import CycleFinished, PlanMade
from sidecar.domain.maintenance import Calendar, Once, Window
from sidecar.domain.run import Outcome, RowResult
from sidecar.serving import listen, serving
from sidecar.telemetry.lines import Line
from sidecar.telemetry.notifications import QUEUE_AT_MOST, SILENCE_SECONDS, WAIT_SECONDS_AT_MOST, Notifications
from sidecar.telemetry.tracing import open_tracing
from tests.telemetry.cast import AT, RULE, a_refusal, ended, one_of_each
from tests.telemetry.receiver import a_receiver
from tests.telemetry.test_logging import JWT

WAITING = PlanMade(rule=RULE, plan_id="p1", rows=3, waiting=True)
ALL = frozenset(Notice)


class SteppedClock:
    """Moves when told, and by what is slept."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return AT + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds
        await asyncio.sleep(0)


@dataclass
class Hook:
    """A webhook that answers from a script and keeps what it was sent."""

    answers: list[Response]
    url: str = ""
    taken: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        self.taken.append(json.loads(await request.body()))
        self.headers.append(dict(request.headers))
        return self.answers.pop(0) if self.answers else Response(status_code=204)


@asynccontextmanager
async def a_hook(*answers: Response) -> AsyncIterator[Hook]:
    hook = Hook(list(answers))
    app = Starlette(routes=[Route("/services/{rest:path}", hook.take, methods=["POST"])])
    async with serving(app, listen("127.0.0.1", 0)) as base:
        hook.url = f"{base}/services/T000/B000/very-secret-path"
        yield hook


@dataclass
class Told:
    notifications: Notifications
    counted: Counter[str]
    lines: list[Line]
    clock: SteppedClock

    async def deliver(self) -> None:
        """Deliver what is queued, and end."""
        self.notifications.close()
        async with asyncio.timeout(20):
            await self.notifications.run()


def telling(*webhooks: tuple[str, frozenset[Notice]], untraced: Callable[[], Any] = nullcontext) -> Told:
    counted: Counter[str] = Counter()
    lines: list[Line] = []
    clock = SteppedClock()
    notifications = Notifications(
        [NotificationConfig(url=Secret(url), events=events) for url, events in webhooks],
        clock=clock,
        untraced=untraced,
        count=lambda result: counted.update([result]),
        write=lines.append,
    )
    return Told(notifications, counted, lines, clock)


async def test_a_waiting_plan_an_ended_run_and_a_refusal_are_told_and_nothing_else_is() -> None:
    async with a_hook() as hook:
        told = telling((hook.url, ALL))
        told.notifications.hear(PlanMade(rule=RULE, plan_id="p0", rows=3, waiting=False))
        told.notifications.hear(ended(Outcome.NOTHING_TO_DO, run_id=None))
        told.notifications.hear(WAITING)
        told.notifications.hear(ended(Outcome.REPAIRED, results={RowResult.INSERTED: 3}, drift=0.0))
        told.notifications.hear(ended(Outcome.REFUSED, run_id=None, refusal=a_refusal()))
        await told.deliver()
    assert [taken["notice"] for taken in hook.taken] == ["plan_waiting", "run_ended", "guard_refused"]
    plan, run, refusal = hook.taken
    assert plan["details"] == {"plan_id": "p1", "rows": 3}
    assert run["details"]["results"] == {"inserted": 3}
    assert run["text"] == f"{RULE}: run r1 ended: repaired (3 inserted)"
    assert (refusal["details"]["guard"], refusal["details"]["limit"]) == ("max_rows", "500 rows")
    assert told.counted == {"delivered": 3}
    assert hook.headers[0]["content-type"] == "application/json"


async def test_each_webhook_hears_of_what_it_asked_for() -> None:
    async with a_hook() as plans, a_hook() as runs:
        told = telling((plans.url, frozenset({Notice.PLAN_WAITING})), (runs.url, frozenset({Notice.RUN_ENDED})))
        told.notifications.hear(WAITING)
        told.notifications.hear(ended())
        told.notifications.hear(ended(Outcome.REFUSED, run_id=None, refusal=a_refusal()))
        await told.deliver()
    assert [taken["notice"] for taken in plans.taken] == ["plan_waiting"]
    assert [taken["notice"] for taken in runs.taken] == ["run_ended"]


async def test_events_that_are_nobodys_business_are_ignored() -> None:
    told = telling()
    for event in one_of_each():
        told.notifications.hear(event)
    await told.deliver()
    assert told.counted == {}


async def test_a_webhook_that_stumbles_is_tried_three_times_with_pauses() -> None:
    async with a_hook(Response(status_code=503), Response(status_code=500)) as hook:
        told = telling((hook.url, ALL))
        told.notifications.hear(WAITING)
        await told.deliver()
    assert len(hook.taken) == 3
    assert told.clock.slept == [1.0, 5.0]
    assert told.counted == {"delivered": 1}
    assert [line.name for line in told.lines] == ["notification.delivered"]


async def test_a_webhook_that_stays_down_is_given_up_and_counted_without_its_address() -> None:
    bound = listen("127.0.0.1", 0)  # bound and not listening: refuses
    told = telling((f"http://127.0.0.1:{bound.getsockname()[1]}/services/very-secret-path", ALL))
    told.notifications.hear(WAITING)
    await told.deliver()
    bound.close()
    assert told.counted == {"failed": 1}
    (line,) = told.lines
    assert line.name == "notification.failed"
    assert line.fields == {
        "notice": "plan_waiting",
        "rule": RULE,
        "webhook": 1,
        "tries": 3,
        "cause": "connect_failed",
    }


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410])
async def test_a_webhook_that_says_no_is_not_asked_again(status: int) -> None:
    async with a_hook(Response(status_code=status, headers={"location": "http://127.0.0.1:1/"})) as hook:
        told = telling((hook.url, ALL))
        told.notifications.hear(WAITING)
        await told.deliver()
    assert len(hook.taken) == 1
    assert told.counted == {"failed": 1}
    assert told.lines[0].fields["cause"] == f"status {status}"


async def test_a_webhook_may_ask_for_more_time_but_not_for_ever() -> None:
    patient = Response(status_code=429, headers={"retry-after": "12"})
    greedy = Response(status_code=429, headers={"retry-after": "86400"})
    async with a_hook(patient, greedy) as hook:
        told = telling((hook.url, ALL))
        told.notifications.hear(WAITING)
        await told.deliver()
    assert told.clock.slept == [12.0, WAIT_SECONDS_AT_MOST]
    assert told.counted == {"delivered": 1}


async def test_one_webhook_that_fails_keeps_nothing_from_another() -> None:
    async with a_hook(Response(status_code=404)) as bad, a_hook() as good:
        told = telling((bad.url, ALL), (good.url, ALL))
        told.notifications.hear(WAITING)
        await told.deliver()
    assert len(good.taken) == 1
    assert told.counted == {"failed": 1, "delivered": 1}


def refused(value: str = "600 rows") -> CycleFinished:
    return ended(Outcome.REFUSED, run_id=None, refusal=a_refusal(value))


@pytest.mark.parametrize(
    ("story", "taken"),
    [
        ([refused(), refused()], 1),
        ([refused(), ended(Outcome.UNKNOWN, run_id=None), refused()], 1),
        ([refused(), refused("700 rows")], 2),
        ([refused(), ended(Outcome.NOTHING_TO_DO, run_id=None), refused()], 2),
        ([WAITING, PlanMade(rule=RULE, plan_id="p2", rows=3, waiting=True)], 1),
        ([WAITING, ended(Outcome.PLANNED, run_id=None), WAITING], 1),
        ([WAITING, PlanMade(rule=RULE, plan_id="p2", rows=4, waiting=True)], 2),
        ([WAITING, ended(Outcome.NOTHING_TO_DO, run_id=None), WAITING], 2),
        ([WAITING, PlanMade(rule="another", plan_id="p2", rows=3, waiting=True)], 2),
        ([ended(), ended()], 1),
    ],
)
async def test_the_same_is_told_once_while_nothing_changed(
    story: Sequence[PlanMade | CycleFinished], taken: int
) -> None:
    async with a_hook() as hook:
        told = telling((hook.url, ALL))
        for event in story:
            told.notifications.hear(event)
        await told.deliver()
    assert len(hook.taken) == taken
    assert (
        told.counted["repeated"]
        == sum(isinstance(e, PlanMade) or e.refusal is not None or e.run_id is not None for e in story) - taken
    )


async def test_the_same_is_told_again_after_an_hour() -> None:
    async with a_hook() as hook:
        told = telling((hook.url, ALL))
        told.notifications.hear(WAITING)
        told.clock.passed += SILENCE_SECONDS - 1
        told.notifications.hear(WAITING)
        told.clock.passed += 1
        told.notifications.hear(WAITING)
        await told.deliver()
    assert len(hook.taken) == 2


async def test_a_stop_that_was_announced_is_no_news_and_any_other_freeze_is() -> None:
    window = Window(name="move", span=Once(starts_at=AT, ends_at=AT + timedelta(hours=1)), freeze=True)
    announced = replace(a_refusal(), guard=GuardName.FROZEN, value=window.stop)
    by_hand = replace(announced, value="olga: migration")
    async with a_hook() as hook:
        told = telling((hook.url, ALL))
        told.notifications.follow(told.notifications._webhooks, Calendar((window,)))
        for refusal in (announced, by_hand):
            told.notifications.hear(ended(Outcome.REFUSED, run_id=None, refusal=refusal))
        told.clock.passed = 3600
        told.notifications.hear(ended(Outcome.REFUSED, run_id=None, refusal=announced))
        await told.deliver()
    assert [taken["details"]["value"] for taken in hook.taken] == ["olga: migration", window.stop]


async def test_the_queue_is_bounded_and_what_does_not_fit_is_counted() -> None:
    told = telling(("http://127.0.0.1:1/", ALL))
    for number in range(QUEUE_AT_MOST + 7):
        told.notifications.hear(PlanMade(rule=f"rule_{number}", plan_id="p", rows=1, waiting=True))
    told.notifications.close()
    told.notifications.close()
    told.notifications.hear(WAITING)
    assert told.counted == {"dropped": 8}
    assert {line.name for line in told.lines} == {"notification.dropped"}


async def test_what_a_person_wrote_is_masked() -> None:
    frozen = Refuse(
        guard=GuardName.FROZEN, value=f"by jane@example.com: see {JWT}", limit="not frozen", hint="sidecar unfreeze"
    )
    async with a_hook() as hook:
        told = telling((hook.url, ALL))
        told.notifications.hear(ended(Outcome.REFUSED, refusal=frozen, detail="apikey=sb_secret_abcdef"))
        await told.deliver()
    sent = json.dumps(hook.taken)
    for secret in ("jane", JWT, "sb_secret"):
        assert secret not in sent
    assert len(hook.taken) == 2


async def test_the_address_of_a_webhook_is_in_no_trace() -> None:
    async with a_receiver() as receiver, a_hook() as hook, open_tracing(receiver.url, service_name="x") as tracing:
        told = telling((hook.url, ALL), untraced=tracing.untraced)
        told.notifications.hear(WAITING)
        await told.deliver()
    assert len(hook.taken) == 1
    assert receiver.spans == []
