"""The last line of defence: whatever looks like a secret or an e-mail is cut out of what leaves the process.

Events are made without secrets in the first place. This is for the day when one of them is not.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime

MASK = "[masked]"
CHARACTERS_AT_MOST = 2000  # of one value, so that one line stays one line
DEPTH_AT_MOST = 6

CHARACTERS_READ_AT_MOST = 20_000
TAIL_CHARACTERS = 400  # longer than any pattern below can be cut without being recognised

# Every repetition that can fail late is bounded, so that hostile text costs time in proportion to its length.
_PATTERNS = (
    re.compile(r"\beyJ[\w-]{2,}(?:\.[\w-]*){0,2}"),  # JWT: base64url of '{"', in three parts or cut short
    re.compile(r"\bsb_(?:secret|publishable)_[\w-]+|\bsb[a-z]{1,3}_[A-Za-z0-9]{12,}"),  # keys and access tokens
    re.compile(r"(?i)\bbearer[\s:=]{1,4}[^\s,;\"']{3,}|\bbasic\s{1,4}[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?i)\b(?:api_?key|authorization|passw(?:or)?d|secret|token)[\"']{0,2}\s{0,4}[:=]\s{0,4}[^\s,;&]{3,}"),
)
# E-mail, wide on purpose: anything around an @ that is no separator. It costs most, and most texts hold no @.
_EMAIL = re.compile(r"[^\s@<>\"'(),;:=/\\\[\]{}]{1,128}(?:@|%40)[^\s@<>\"'(),;:=/\\\[\]{}?&]{2,255}")
_USERINFO = re.compile(r"(?<=://)[^\s/?#\"'<>]{1,512}@")
_QUERY = re.compile(r"(://[^\s?#\"'<>]{1,2048})[?#][^\s\"'<>]+")


def mask_text(text: str) -> str:
    """Return `text` without what looks like a key, a password, an e-mail or a URL's query, and not too long."""
    cut = len(text) > CHARACTERS_READ_AT_MOST
    masked = _QUERY.sub(r"\1", _USERINFO.sub("", text[:CHARACTERS_READ_AT_MOST]))
    for pattern in _PATTERNS:
        masked = pattern.sub(MASK, masked)
    if "@" in masked or "%40" in masked:
        masked = _EMAIL.sub(MASK, masked)
    if cut:
        masked = masked[:-TAIL_CHARACTERS]  # where something may stand that was cut in two
    return masked[:CHARACTERS_AT_MOST] + "…" if cut or len(masked) > CHARACTERS_AT_MOST else masked


def mask(value: object, depth: int = 0) -> object:
    """Return `value` as plain data that JSON can hold, every text in it masked, keys included."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no NaN
    if isinstance(value, datetime):
        return value.isoformat()
    if depth >= DEPTH_AT_MOST:
        return MASK
    if isinstance(value, Mapping):
        return {mask_text(str(key)): mask(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(inner, depth + 1) for inner in value]
    return mask_text(str(value))
