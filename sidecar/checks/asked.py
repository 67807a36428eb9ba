"""One request with its redirects, under one deadline: what was seen, and the answer to judge or why there is none."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.checks.clients import Clients
from sidecar.checks.connection_keys import Connection
from sidecar.checks.http_facts import certificate_facts, facts_of
from sidecar.checks.redirects import Forbidden, Request, redirected
from sidecar.domain.check import JSON
from sidecar.domain.reasons import BY_CAUSE, HttpReason
from sidecar.errors import TargetUnreachable, Unreached
from sidecar.ports import Clock
from sidecar.wire import Answer, Certificate, exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What to ask, and how far to go. `redirects_at_most` is None where none is followed."""

    request: Request
    connection: Connection
    redirects_at_most: int | None = None
    body_bytes_at_most: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look came to. Of several requests, `request` names the one that decided."""

    reason: HttpReason
    detail: str = ""
    condition: str | None = None
    request: str | None = None


@dataclass(slots=True)
class Sight:
    """What has been seen so far; what is known when the look fails halfway is still told."""

    answer: Answer | None = None
    certificate: Certificate | None = None
    address: str | None = None
    scheme: str | None = None
    redirects: int = 0
    latency_seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)

    def add(self, seen: Answer | TargetUnreachable) -> None:
        """Take note of an answer, or of how far it came without one."""
        if isinstance(seen, Answer):
            self.answer = seen
            self.latency_seconds += seen.duration_seconds
        self.certificate, self.address = seen.certificate, seen.address
        for name, seconds in seen.phases.items():
            self.phases[name] = self.phases.get(name, 0.0) + seconds

    def facts(self, secrets: Iterable[str] = ()) -> dict[str, JSON]:
        """Return what an observation tells of it; none of `secrets` is shown."""
        facts: dict[str, JSON] = {"redirects": self.redirects}
        if self.answer is not None:
            facts |= facts_of(self.answer, secrets)
        if self.address is not None:
            facts["address"] = self.address
        if self.scheme is not None:
            facts["final_url_scheme"] = self.scheme
        if self.certificate is not None:
            facts["certificate"] = certificate_facts(self.certificate)
        return facts

    def retry_after_seconds(self, now: datetime) -> float | None:
        """Return for how long a busy target asks to be left alone."""
        answer = self.answer
        return answer.retry_after_seconds(now) if answer and answer.status in (429, 503) else None


async def ask(asking: Asking, clients: Clients, clock: Clock, deadline: float, sight: Sight) -> Answer | Finding:
    """Send the request, follow where it leads, and return the answer to judge, or why there is none.

    Fills `sight` on the way. `deadline` is on the clock's monotonic scale and spans all redirects.
    """
    request, connection = asking.request, asking.connection
    while True:
        route = connection.home if request.is_home else connection.away
        remaining = deadline - clock.monotonic()
        if remaining <= 0:
            return Finding(BY_CAUSE[Unreached.TIMED_OUT], "timed_out: the deadline passed between redirects")
        sight.scheme = request.url.scheme
        try:
            answer = await exchange(
                await clients.of(route),
                request.method,
                str(request.url),
                timeout_seconds=remaining,
                headers=request.headers,
                content=request.content,
                body_bytes_at_most=asking.body_bytes_at_most,
            )
        except TargetUnreachable as error:
            sight.add(error)
            return Finding(BY_CAUSE[error.cause], str(error))
        sight.add(answer)
        if asking.redirects_at_most is None:
            return answer
        onward = redirected(request, answer, is_proxied=route.proxy_url is not None)
        if onward is None:
            return answer
        if isinstance(onward, Forbidden):
            return Finding(HttpReason.REDIRECT_REFUSED, onward.detail)
        if sight.redirects == asking.redirects_at_most:
            return Finding(HttpReason.TOO_MANY_REDIRECTS, f"more than {asking.redirects_at_most} redirects")
        sight.redirects += 1
        request = onward
