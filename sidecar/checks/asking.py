"""One request of a role and the step it becomes: a status or a cause, and never an exception."""

import re
import uuid
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import httpx

from sidecar.domain.key_evidence import Step
from sidecar.errors import AnswerMalformed, TargetUnreachable, Unreached
from sidecar.ports import Clock
from sidecar.wire import Answer, exchange

REQUEST_SECONDS = 5.0  # of a single request; design 40-supabase.md C2
_PLAIN_BYTES_AT_MOST = 200
_RELEVANT = ("sb-project-ref", "sb-error-code", "sb-gateway-version", "proxy-status")


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks as one role. `deadline` is on the clock's monotonic scale; `phases` sums up what all requests took."""

    client: httpx.AsyncClient
    clock: Clock
    deadline: float
    phases: MutableMapping[str, float]

    async def ask(
        self,
        name: str,
        path: str,
        *,
        method: str = "GET",
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> tuple[Step, Answer | None]:
        """Send one request, and return its step with the answer it was made from."""
        remaining = min(REQUEST_SECONDS, self.deadline - self.clock.monotonic())
        if remaining <= 0:
            return Step(name=name, cause=Unreached.TIMED_OUT), None
        try:
            answer = await exchange(
                self.client,
                method,
                path,
                timeout_seconds=remaining,
                params=params,
                headers={"x-request-id": str(uuid.uuid4()), **(headers or {})},
                content=content,
            )
        except TargetUnreachable as error:
            return Step(name=name, cause=error.cause), None
        for phase, seconds in answer.phases.items():
            self.phases[phase] = self.phases.get(phase, 0.0) + seconds
        return step_of(name, answer, answer.retry_after_seconds(self.clock.now())), answer


def step_of(name: str, answer: Answer, retry_after_seconds: float | None) -> Step:
    """Read what the decision table needs from an answer: PostgREST's error body, GoTrue's, or the gateway's."""
    try:
        body: Any = answer.json()
    except AnswerMalformed:
        body = None
    error = body if isinstance(body, dict) else {}
    total = re.search(r"/(\d{1,18})$", answer.headers.get("content-range", ""))
    claimed = total.group(1) if total else answer.headers.get("x-total-count", "")
    return Step(
        name=name,
        status=answer.status,
        code=_text(error.get("error_code")) or _text(error.get("code")),  # GoTrue's `code` is the status again
        message=_text(error.get("message")) or _text(error.get("msg")) or _plain(answer),
        hint=_text(error.get("hint")),
        headers={header: answer.headers[header] for header in _RELEVANT if header in answer.headers},
        media=_media(answer),
        is_html=_is_html(answer),
        rows=len(body) if isinstance(body, list) else None,
        total=int(claimed) if re.fullmatch(r"[0-9]{1,18}", claimed) else None,
        retry_after_seconds=retry_after_seconds if answer.status in (429, 503) else None,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _media(answer: Answer) -> str:
    return answer.headers.get("content-type", "").split(";")[0].strip().lower()


def _plain(answer: Answer) -> str:
    """Return a short plain text, which is all that some gateways say."""
    return answer.text if _media(answer) == "text/plain" and len(answer.content) <= _PLAIN_BYTES_AT_MOST else ""


def _is_html(answer: Answer) -> bool:
    declared = answer.headers.get("content-type", "").lower().startswith(("text/html", "application/xhtml"))
    return declared or answer.content[:200].lstrip().lower().startswith((b"<!doctype", b"<html"))
