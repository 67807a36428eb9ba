"""Tells people, by webhook, when a plan waits, a run ended or a guard refused. Delivers beside the work, not in it."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import httpx

from sidecar.config.settings import Notice, NotificationConfig
from sidecar.domain.decide import GuardName, Refuse
from sidecar.domain.event import CycleFinished, DamageRecurred, Event, PlanMade
from sidecar.domain.maintenance import Calendar
from sidecar.domain.masking import mask
from sidecar.domain.run import Outcome
from sidecar.errors import TargetUnreachable
from sidecar.ports import Clock
from sidecar.telemetry.lines import INFO, WARNING, Line
from sidecar.wire import Answer, exchange, open_client

QUEUE_AT_MOST: Final = 100
TRIES: Final = 3
TIMEOUT_SECONDS: Final = 5.0
BACKOFF_SECONDS: Final = (1.0, 5.0)  # before the second and the third try
WAIT_SECONDS_AT_MOST: Final = 30.0  # whatever Retry-After asks for
SILENCE_SECONDS: Final = 3600.0  # for the same notice about the same thing

_RETRIED: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_INTERRUPTS: Final = frozenset({Outcome.REFUSED, Outcome.UNKNOWN, Outcome.CANCELLED})  # the run can be taken up again
# Outcomes of a cycle that say nothing about whether a guard would refuse again.
_SAYS_NOTHING: Final = frozenset({Outcome.UNKNOWN, Outcome.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is told. `same` is equal for messages that say the same thing: ids and instants are not in it."""

    notice: Notice
    rule: str
    text: str
    same: str
    details: Mapping[str, object] = field(default_factory=dict)


class Notifications:
    """A listener of events, and the task that delivers what they amount to."""

    def __init__(
        self,
        webhooks: Sequence[NotificationConfig],
        *,
        clock: Clock,
        untraced: Callable[[], AbstractContextManager[None]],
        count: Callable[[str], None],
        write: Callable[[Line], None],
        calendar: Calendar | None = None,
    ) -> None:
        """Deliver to `webhooks`. `untraced` keeps their addresses, which are secrets, out of traces.

        `count` takes delivered, failed, dropped or repeated; `write` takes log lines. That a window of `calendar` keeps
        rules from writing was announced, so nobody is told.
        """
        self._calendar = calendar or Calendar()
        self._webhooks = tuple(webhooks)
        self._clock = clock
        self._untraced = untraced
        self._count = count
        self._write = write
        self._told: dict[tuple[str, Notice], tuple[str, float]] = {}
        self._closed = False
        # One place more than messages: the end (None) always finds room.
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue(QUEUE_AT_MOST + 1)

    def hear(self, event: Event) -> None:
        """Queue what somebody should be told about, if anybody listens and it was not just said."""
        match event:
            case PlanMade(waiting=True):
                self._offer(_plan_waits(event))
            case CycleFinished():
                self._hear_end(event)
            case DamageRecurred():
                self._offer(_damage_recurred(event))
            case _:
                pass

    def follow(self, webhooks: Sequence[NotificationConfig], calendar: Calendar) -> None:
        """Deliver to these from the next message on. What was said lately is not said again."""
        self._webhooks = tuple(webhooks)
        self._calendar = calendar

    def close(self) -> None:
        """Let `run` end once what is queued is delivered."""
        if not self._closed:
            self._closed = True
            self._queue.put_nowait(None)

    async def run(self) -> None:
        """Deliver until `close`; one message at a time, to all its webhooks at once."""
        async with open_client() as client:
            while (message := await self._queue.get()) is not None:
                async with asyncio.TaskGroup() as group:
                    for number, webhook in enumerate(self._webhooks, start=1):
                        if message.notice in webhook.events:
                            group.create_task(self._deliver(client, number, webhook, message), name=f"webhook {number}")

    def _hear_end(self, event: CycleFinished) -> None:
        if event.run_id is not None:
            self._offer(_run_ended(event))
        if event.refusal is not None:
            if not self._is_announced(event.refusal):
                self._offer(_guard_refused(event, event.refusal))
        elif event.outcome not in _SAYS_NOTHING:
            self._told.pop((event.rule, Notice.GUARD_REFUSED), None)  # it has changed: the next refusal is news
        if event.outcome not in _SAYS_NOTHING | {Outcome.PLANNED, Outcome.REFUSED}:
            self._told.pop((event.rule, Notice.PLAN_WAITING), None)

    def _is_announced(self, refusal: Refuse) -> bool:
        stops = {window.stop for window in self._calendar.freezing(self._clock.now())}
        return refusal.guard is GuardName.FROZEN and refusal.value in stops

    def _offer(self, message: Message) -> None:
        if not any(message.notice in webhook.events for webhook in self._webhooks):
            return
        about, now = (message.rule, message.notice), self._clock.monotonic()
        said, said_at = self._told.get(about, ("", 0.0))
        if said == message.same and now - said_at < SILENCE_SECONDS:
            self._count("repeated")
            return
        if self._closed or self._queue.qsize() >= QUEUE_AT_MOST:
            self._count("dropped")
            self._write(Line("notification.dropped", WARNING, {"notice": message.notice, "rule": message.rule}))
            return
        self._told[about] = (message.same, now)
        self._queue.put_nowait(message)

    async def _deliver(
        self, client: httpx.AsyncClient, number: int, webhook: NotificationConfig, told: Message
    ) -> None:
        fields: dict[str, object] = {"notice": told.notice, "rule": told.rule, "webhook": number}
        cause, tries = "", 0
        while tries < TRIES:
            tries += 1
            cause, wait_seconds = await self._try(client, webhook, told)
            if not cause:
                self._count("delivered")
                self._write(Line("notification.delivered", INFO, {**fields, "tries": tries}))
                return
            if wait_seconds is None:
                break
            if tries < TRIES:
                await self._clock.sleep(max(wait_seconds, BACKOFF_SECONDS[tries - 1]))
        self._count("failed")
        self._write(Line("notification.failed", WARNING, {**fields, "tries": tries, "cause": cause}))

    async def _try(
        self, client: httpx.AsyncClient, webhook: NotificationConfig, told: Message
    ) -> tuple[str, float | None]:
        """Return why it was not taken ('' when it was), and how long to wait at least (None: it never will be)."""
        content = json.dumps(_document(told, self._clock)).encode()
        try:
            with self._untraced():
                answer = await exchange(
                    client,
                    "POST",
                    webhook.url.reveal(),
                    timeout_seconds=TIMEOUT_SECONDS,
                    headers={"Content-Type": "application/json"},
                    content=content,
                    body_bytes_at_most=65_536,
                )
        except TargetUnreachable as error:
            return str(error.cause), 0.0
        return self._judge(answer)

    def _judge(self, answer: Answer) -> tuple[str, float | None]:
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return "", None
        cause = f"status {answer.status}"
        if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.status not in _RETRIED:
            return cause, None
        asked = answer.retry_after_seconds(self._clock.now()) or 0.0
        return cause, min(asked, WAIT_SECONDS_AT_MOST)


def _document(told: Message, clock: Clock) -> object:
    """Render what is posted. Every text of it goes through the mask: a person's reason may hold an e-mail."""
    return mask(
        {
            "notice": told.notice,
            "rule": told.rule,
            "text": told.text,
            "details": {name: value for name, value in told.details.items() if value not in (None, "")},
            "sent_at": clock.now(),
        }
    )


def _plan_waits(event: PlanMade) -> Message:
    text = f"{event.rule}: a plan of {event.rows} rows waits for a person. See: sidecar show {event.plan_id}"
    details = {"plan_id": event.plan_id, "rows": event.rows}
    same = f"{event.rows} rows"  # each cycle overtakes the plan of the one before with the same rows
    return Message(notice=Notice.PLAN_WAITING, rule=event.rule, text=text, same=same, details=details)


def _run_ended(event: CycleFinished) -> Message:
    counted = ", ".join(f"{rows} {result}" for result, rows in event.results.items() if rows) or "no rows"
    verb = "stopped" if event.outcome in _INTERRUPTS else "ended"
    details = {
        "run_id": event.run_id,
        "outcome": event.outcome,
        "results": {str(result): rows for result, rows in event.results.items() if rows},
        "detail": event.detail,
        "drift": event.drift,
    }
    return Message(
        notice=Notice.RUN_ENDED,
        rule=event.rule,
        text=f"{event.rule}: run {event.run_id} {verb}: {event.outcome} ({counted})",
        same=f"{event.run_id} {event.outcome}",
        details=details,
    )


def _damage_recurred(event: DamageRecurred) -> Message:
    users = f"{event.users} user{'' if event.users == 1 else 's'}"
    text = f"{event.rule}: {users} restored again and again, and left alone now: something undoes the repair. "
    hint = f"Find it, then see: sidecar quarantine {event.rule}"
    return Message(
        notice=Notice.DAMAGE_RECURRED,
        rule=event.rule,
        text=text + hint,
        same=users,
        details={"users": event.users},
    )


def _guard_refused(event: CycleFinished, refusal: Refuse) -> Message:
    text = f"{event.rule}: {refusal.guard} refused: {refusal.value}, limit {refusal.limit}. {refusal.hint}"
    details = {
        "guard": refusal.guard,
        "value": refusal.value,
        "limit": refusal.limit,
        "hint": refusal.hint,
        "run_id": event.run_id,
    }
    return Message(
        notice=Notice.GUARD_REFUSED,
        rule=event.rule,
        text=text,
        same=f"{refusal.guard} {refusal.value} {refusal.limit}",
        details=details,
    )
