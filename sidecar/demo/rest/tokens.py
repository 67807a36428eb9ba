"""Read the token of a request as PostgREST does, and say as whom the request runs."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from sidecar.demo.rest.errors import RestError

_SKEW_SECONDS = 30
_TIMES = (("exp", "JWT expired"), ("nbf", "JWT not yet valid"), ("iat", "JWT issued at future"))


@dataclass(frozen=True, slots=True)
class Caller:
    """As whom a request runs: the role to assume and the claims, as JSON, that policies may read."""

    role: str
    claims: str


def caller(authorization: str | None, secret: str, anonymous_role: str) -> Caller:
    """Return who is calling. Whoever sends no bearer token is anonymous.

    Raises: RestError with PGRST301 or PGRST303.
    """
    scheme, _, token = (authorization or "").partition(" ")
    claims = {} if scheme.lower() != "bearer" else _verified(token.strip(), secret)
    role = claims.get("role", anonymous_role)
    role = role if isinstance(role, str) else json.dumps(role)
    return Caller(role, json.dumps({**claims, "role": role}))


def _verified(token: str, secret: str) -> Mapping[str, Any]:
    if not token:
        raise _refused("PGRST301", "Empty JWT is sent in Authorization header")
    parts = token.count(".") + 1
    if parts != 3:
        raise _refused("PGRST301", f"Expected 3 parts in JWT; got {parts}")
    try:
        raw = jwt.api_jws.decode(token, secret, algorithms=["HS256"])
    except jwt.InvalidSignatureError as error:
        details = "None of the keys was able to decode the JWT"
        raise _refused("PGRST301", "No suitable key or wrong key type", details) from error
    except jwt.InvalidAlgorithmError as error:
        raise _refused("PGRST301", "Wrong or unsupported encoding algorithm") from error
    except jwt.InvalidTokenError as error:
        raise _refused("PGRST301", "JWT cryptographic operation failed") from error
    try:
        claims = json.loads(raw)
    except ValueError as error:
        raise _refused("PGRST303", "Parsing claims failed") from error
    if not isinstance(claims, dict):
        raise _refused("PGRST303", "Parsing claims failed")
    _check_times(claims)
    return claims


def _check_times(claims: Mapping[str, Any]) -> None:
    now = int(time.time())
    for name, complaint in _TIMES:
        at = claims.get(name)
        if at is None:
            continue
        if isinstance(at, bool) or not isinstance(at, int | float):
            raise _refused("PGRST303", f"The JWT '{name}' claim must be a number")
        if (now - _SKEW_SECONDS > at) if name == "exp" else (now + _SKEW_SECONDS < at):
            raise _refused("PGRST303", complaint)


def _refused(code: str, message: str, details: str | None = None) -> RestError:
    challenge = f'Bearer error="invalid_token", error_description={json.dumps(message)}'
    return RestError(401, code, message, details=details, headers={"WWW-Authenticate": challenge})
