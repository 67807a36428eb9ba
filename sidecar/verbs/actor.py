"""Who asks for a change: a named token where tokens are configured, else the person at this machine's prompt."""

import getpass
import hmac
import os
from collections.abc import Mapping, Sequence

from sidecar.config.settings import Scope, Token
from sidecar.errors import AccessDenied, UsageError

TOKEN_VARIABLE = "SIDECAR_TOKEN"  # noqa: S105  # a variable's name


def actor_of(name: str | None, scope: Scope, tokens: Sequence[Token], environ: Mapping[str, str]) -> str:
    """Return the name under which a change is audited.

    With tokens configured, `--as NAME` must name one that has the scope, and its value stands in SIDECAR_TOKEN: a
    token on the command line would stand in the list of processes. Raises: UsageError, AccessDenied.
    """
    if not tokens:
        return name or _person()
    if name is None:
        raise UsageError(
            f"tokens are configured: say who you are with --as NAME and put the token into {TOKEN_VARIABLE}"
        )
    given = environ.get(TOKEN_VARIABLE, "").encode()
    known = next((token for token in tokens if token.name == name), None)
    value = known.value.reveal().encode() if known else b""
    matches = hmac.compare_digest(value, given)  # in constant time, also for a name that is not known
    if known is None or not matches or not given:
        raise AccessDenied(f"--as {name}: {TOKEN_VARIABLE} does not hold that token")
    if scope not in known.scopes:
        raise AccessDenied(f"--as {name}: the token lacks the scope {scope}")
    return name


def _person() -> str:
    """Name the user of this process; in a container it often has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
