"""What PostgREST says when it refuses, and how it turns a SQLSTATE into a status."""

import json
from collections.abc import Mapping

import psycopg
import psycopg_pool
from starlette.responses import Response

# PostgREST src/PostgREST/Error.hs, mapSQLtoHTTP: exact states first, then classes, else 400.
_STATUS_OF_STATE = {
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "21000": 500,
    "53400": 500,
    "57P01": 503,
    "P0001": 400,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
}
_STATUS_OF_CLASS = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "25": 500,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "53": 503,
    "54": 500,
    "55": 500,
    "57": 500,
    "58": 500,
    "F0": 500,
    "HV": 500,
    "P0": 500,
    "XX": 500,
}


class RestError(Exception):
    """A refusal, in the words and with the status of PostgREST."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: str | None = None,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep what the answer will say."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.hint = hint
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the answer's JSON."""
        told = {"code": self.code, "details": self.details, "hint": self.hint, "message": self.message}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()

    def response(self) -> Response:
        """Return the answer."""
        headers = {"Proxy-Status": f"PostgREST; error={self.code}", **self.headers}
        return Response(self.body(), self.status, headers, "application/json; charset=utf-8")


def malformed(subject: str, column: int, details: str) -> RestError:
    """Return the refusal of a query string that cannot be read. `column` counts from 1."""
    return RestError(400, "PGRST100", f'"{subject}" (line 1, column {column})', details=details)


def not_implemented(details: str) -> RestError:
    """Return the refusal of what the stand-in leaves out."""
    return RestError(400, "PGRST127", "Feature not implemented", details=details)


def from_postgres(error: psycopg.Error, *, anonymous: bool) -> RestError:
    """Translate an error of psycopg or its pool; `anonymous` says that the request ran as the anonymous role."""
    if isinstance(error, psycopg_pool.PoolTimeout):
        return RestError(504, "PGRST003", "Timed out acquiring connection from connection pool.")
    state = error.sqlstate
    if state is None and not isinstance(error, psycopg.DataError):
        message = "Database client error. Retrying the connection."
        return RestError(503, "PGRST001", message, headers={"Retry-After": "1"})
    if state is None:  # psycopg itself refuses text with a zero byte in it
        return RestError(400, "22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    message = error.diag.message_primary or ""
    status = _status(state, message, anonymous=anonymous)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "1"} if status == 503 else None
    return RestError(
        status, state, message, details=error.diag.message_detail, hint=error.diag.message_hint, headers=headers
    )


def _status(state: str, message: str, *, anonymous: bool) -> int:
    if state == "42501":
        return 401 if anonymous else 403
    if state == "22023" and message.startswith("role") and message.endswith("does not exist"):
        return 401
    if state.startswith("PT"):
        return int(state[2:]) if state[2:].isdigit() and state[2] in "2345" else 500
    return _STATUS_OF_STATE.get(state) or _STATUS_OF_CLASS.get(state[:2], 400)
