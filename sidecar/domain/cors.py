"""Whether a server lets the right pages read its answers in a browser, and no others. Source: the Fetch standard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sidecar.domain.reasons import HttpReason

ALLOW_ORIGIN = "access-control-allow-origin"
ALLOW_METHODS = "access-control-allow-methods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Whose pages may read the answers, and a page whose must not. `methods` are asked for one by one."""

    allowed_origin: str
    foreign_origin: str
    methods: tuple[str, ...]


class CorsStep(StrEnum):
    """What a browser would do, in this order."""

    ALLOWED = "preflight of the allowed origin"
    FOREIGN = "preflight of a foreign origin"
    ERROR = "error answer to a foreign origin"
    NO_ORIGIN = "answer without an origin"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsAnswer:
    """One answer, as far as a browser would look at it. Header names are lower-case; `method` is the one asked for."""

    step: CorsStep
    status: int
    headers: Mapping[str, str]
    method: str = ""


@dataclass(frozen=True, slots=True)
class CorsFault:
    """What is wrong, in words that repeat nothing of the answer but its status."""

    reason: HttpReason
    detail: str


def judge_cors(cors: Cors, answers: Sequence[CorsAnswer]) -> CorsFault | None:
    """Return the worst fault: opening up to a foreign page is worse than shutting out one's own.

    An error answer that was none proves nothing: unknown, unless something else is wrong for certain.
    """
    faults = [fault for answer in answers if (fault := _fault(cors, answer)) is not None]
    order = (HttpReason.CORS_REFLECTS_FOREIGN_ORIGIN, HttpReason.CORS_REFUSED, HttpReason.CORS_ERROR_UNSEEN)
    return min(faults, key=lambda fault: order.index(fault.reason), default=None)


def _fault(cors: Cors, answer: CorsAnswer) -> CorsFault | None:
    opened_to = answer.headers.get(ALLOW_ORIGIN, "").strip()
    if answer.step is CorsStep.ALLOWED:
        return _refused(cors, answer, opened_to)
    if opened_to in ("*", "null", cors.foreign_origin):
        whom = "itself" if opened_to == cors.foreign_origin else "everybody"
        return CorsFault(HttpReason.CORS_REFLECTS_FOREIGN_ORIGIN, f"{answer.step}: opened to {whom}")
    if answer.step is CorsStep.ERROR and answer.status < 400:
        return CorsFault(HttpReason.CORS_ERROR_UNSEEN, f"{answer.step}: status {answer.status} is no error")
    return None


def _refused(cors: Cors, answer: CorsAnswer, opened_to: str) -> CorsFault | None:
    where = f"{answer.step}, {answer.method}"
    if not 200 <= answer.status < 300:
        return CorsFault(HttpReason.CORS_REFUSED, f"{where}: status {answer.status}")
    if opened_to != cors.allowed_origin:
        told = "nobody" if not opened_to else "everybody" if opened_to == "*" else "another origin"
        return CorsFault(HttpReason.CORS_REFUSED, f"{where}: opened to {told}")
    # What a page may always send needs no word: GET, HEAD and POST are safelisted.
    methods = {method.strip().upper() for method in answer.headers.get(ALLOW_METHODS, "").split(",")}
    if answer.method not in methods | {"GET", "HEAD", "POST"}:
        return CorsFault(HttpReason.CORS_REFUSED, f"{where}: the method is not allowed")
    return None
