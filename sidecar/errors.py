"""Every exception Sidecar raises on purpose. Imports nothing of ours but what a certificate says.

    SidecarError
    ├─ ConfigError            carries every Problem; exit code 2 before anything starts
    ├─ UsageError             a command line that cannot be carried out; exit code 2
    ├─ TransientError         may work later: back off, try again in a later cycle
    │   ├─ TargetUnreachable    no complete answer arrived (carries `cause`)
    │   ├─ RateLimited          429 or 503 with Retry-After (carries `retry_after_seconds`)
    │   └─ StateUnavailable     Sidecar's own memory cannot be read or written
    └─ PermanentError         will not work without a person or an edit
        ├─ AnswerMalformed      an answer arrived and is not what the protocol promises
        ├─ AccessDenied         a key was refused
        ├─ SchemaMismatch       a table or column that a rule names does not exist
        ├─ PlanUnfit            PostgreSQL would read the evidence in a way that no table of size bears
        ├─ WriteRejected        the database refused a batch; nothing of it was written (carries `sqlstate`)
        ├─ PlanInvalid          a plan file that is not a plan, or was edited
        └─ LeaseLost            another holder has taken over; this one must stop writing

Refusals by a guard are not exceptions: they are values (`sidecar.domain.decide.Refuse`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sidecar.certificate import Certificate


class SidecarError(Exception):
    """The root of every error that Sidecar raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a configuration text.

    Units: `line` and `column` count from 1; 0 means that no place in the text is to blame.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """Render as `file:line:column: path: message (hint)`, as compilers do."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        return f"{place}: {path}{self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(SidecarError):
    """The configuration cannot be used. Carries every problem found, not only the first."""

    def __init__(self, problems: "tuple[Problem, ...]") -> None:
        """Keep `problems` in the order of the text."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class UsageError(SidecarError):
    """The command line asks for something that does not exist or does not fit."""


class TransientError(SidecarError):
    """May work later."""


class Unreached(StrEnum):
    """How an exchange ended without a complete answer."""

    RESOLVE_FAILED = "resolve_failed"  # the name does not exist
    RESOLVER_FAILED = "resolver_failed"  # the resolver did not answer: says nothing about the target
    NETWORK_UNREACHABLE = "network_unreachable"  # no route from here: says nothing about the target
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMED_OUT = "timed_out"
    CUT_OFF = "cut_off"  # the connection closed before the answer was whole
    PROTOCOL_BROKEN = "protocol_broken"  # what arrived is not HTTP
    BODY_TOO_LARGE = "body_too_large"
    LOCAL_FAULT = "local_fault"  # out of file descriptors and the like: our fault, not the target's


class TargetUnreachable(TransientError):
    """No complete answer arrived. What was learnt until then is told: phases in seconds, certificate, the peer."""

    def __init__(
        self,
        cause: Unreached,
        detail: str,
        *,
        phases: Mapping[str, float] | None = None,
        certificate: Certificate | None = None,
        address: str | None = None,
    ) -> None:
        """Name the `cause`; `detail` must hold no secret and no query string."""
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail
        self.phases: Mapping[str, float] = phases or {}
        self.certificate = certificate
        self.address = address


class RateLimited(TransientError):
    """The other side asked to be left alone for a while."""

    def __init__(self, detail: str, retry_after_seconds: float | None) -> None:
        """Keep what `Retry-After` said; None when it said nothing usable."""
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class StateUnavailable(TransientError):
    """Sidecar's own memory cannot be read or written."""


class PermanentError(SidecarError):
    """Will not work without a person or an edit."""


class AnswerMalformed(PermanentError):
    """An answer arrived, and it is not what the protocol promises."""


class AccessDenied(PermanentError):
    """A key was refused, or lacks a privilege."""


class SchemaMismatch(PermanentError):
    """A table or column that a rule names does not exist, or has another shape."""


class PlanUnfit(PermanentError):
    """PostgreSQL would carry out a detection row by row. It was not started."""


class WriteRejected(PermanentError):
    """The database refused a batch as a whole. Nothing of it was written."""

    def __init__(self, detail: str, sqlstate: str, status: int, constraint: str = "") -> None:
        """Keep the SQLSTATE (or PostgREST code), the HTTP status, and the name of the constraint where it was said."""
        super().__init__(detail)
        self.sqlstate = sqlstate
        self.status = status
        self.constraint = constraint


class PlanInvalid(PermanentError):
    """A plan file that is not a plan, or whose content no longer matches its hash."""


class LeaseLost(PermanentError):
    """Another holder has taken over. Whoever sees this must stop writing at once."""
