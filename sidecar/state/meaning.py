"""What the database's errors mean for the memory."""

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from sidecar.errors import (
    AccessDenied,
    AnswerMalformed,
    SchemaMismatch,
    SidecarError,
    StateUnavailable,
    TransientError,
    WriteRejected,
)
from sidecar.sessions import error_of
from sidecar.state.premises import MEMORY, REMEDY

LOCK_NOT_AVAILABLE = "55P03"


class Busy(StateUnavailable):
    """Somebody kept a lock for longer than we wait."""


@contextlib.contextmanager
def unavailable() -> Iterator[None]:
    """Turn what the database says about the memory into StateUnavailable; bugs pass as they are.

    Our own errors that nothing of the database caused pass too: LeaseLost, ValueError.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _meaning(error_of(error), error) from error
    except SidecarError as error:
        if isinstance(error.__cause__, sa.exc.DBAPIError | sa.exc.TimeoutError | OSError):
            raise _meaning(error, error.__cause__) from error
        raise


def _meaning(error: SidecarError, cause: BaseException) -> BaseException:
    if isinstance(error, StateUnavailable):
        return error
    if isinstance(error, TransientError):
        kind = Busy if _sqlstate(cause) == LOCK_NOT_AVAILABLE else StateUnavailable
        return kind(f"{MEMORY}: {error}")
    if isinstance(error, AccessDenied | SchemaMismatch):
        return StateUnavailable(f"{MEMORY}: {error}; {REMEDY}")
    is_bug = isinstance(error, WriteRejected) or isinstance(cause, sa.exc.ProgrammingError)
    return (
        cause
        if is_bug and isinstance(error, WriteRejected | AnswerMalformed)
        else StateUnavailable(f"{MEMORY}: {error}")
    )


def _sqlstate(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)
