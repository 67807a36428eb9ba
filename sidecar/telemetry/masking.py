"""The last line of defence: whatever looks like a secret or an e-mail is cut out of what leaves the process.

Events are made without secrets in the first place. This is for the day when one of them is not.
"""

import re
from collections.abc import Mapping
from datetime import datetime

MASK = "[masked]"
CHARACTERS_AT_MOST = 2000  # of one value, so that one line stays one line
DEPTH_AT_MOST = 6

# Every repetition is bounded, so that hostile text costs time in proportion to its length and no more.
_PATTERNS = (
    re.compile(r"\beyJ[\w-]{2,}(?:\.[\w-]*){0,2}"),  # JWT: base64url of '{"', in three parts or cut short
    re.compile(r"\bsb[a-z]{0,3}_[A-Za-z0-9_-]{3,}"),  # Supabase keys and personal access tokens
    re.compile(r"(?i)\b(?:bearer|basic)[\s:=]{1,4}[^\s,;\"']{3,}"),
    re.compile(
        r"(?i)\b(?:apikey|api_key|authorization|password|passwd|secret|token)[\"']?\s{0,4}[:=]\s{0,4}[^\s,;&]{3,}"
    ),
    re.compile(
        r"[^\s@<>\"'(),;:=/\\\[\]{}]{1,128}(?:@|%40)[^\s@<>\"'(),;:=/\\\[\]{}?&]{2,255}"
    ),  # e-mail, wide on purpose
)
_USERINFO = re.compile(r"(?<=://)[^\s/?#\"'<>@]{1,512}@(?:[^\s/?#\"'<>@]{1,512}@)?")
_QUERY = re.compile(r"(://[^\s?#\"'<>]{1,2048})[?#][^\s\"'<>]{1,}")


def mask_text(text: str) -> str:
    """Return `text` without what looks like a key, a password, an e-mail or a URL's query, and not too long."""
    masked = _QUERY.sub(r"\1", _USERINFO.sub("", text))
    for pattern in _PATTERNS:
        masked = pattern.sub(MASK, masked)
    return masked if len(masked) <= CHARACTERS_AT_MOST else masked[:CHARACTERS_AT_MOST] + "…"


def mask(value: object, depth: int = 0) -> object:
    """Return `value` as plain data that JSON can hold, every text in it masked, keys included."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if depth >= DEPTH_AT_MOST:
        return MASK
    if isinstance(value, Mapping):
        return {mask_text(str(key)): mask(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(inner, depth + 1) for inner in value]
    return mask_text(str(value))
