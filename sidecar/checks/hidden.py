"""What of a request nobody may see again when its answer repeats it: texts of its body, values of its query."""

from collections.abc import Iterator

import httpx
from pydantic import JsonValue

CHARACTERS_AT_LEAST = 8  # shorter ones are words that any answer may hold


def hidden_in(url: str, body: JsonValue) -> tuple[str, ...]:
    """Return them without repeats."""
    sent = [*_texts(body), *(value for _, value in httpx.URL(url).params.multi_items())]
    return tuple(dict.fromkeys(text for text in sent if len(text) >= CHARACTERS_AT_LEAST))


def _texts(body: JsonValue) -> Iterator[str]:
    match body:
        case str():
            yield body
        case dict():
            for value in body.values():
                yield from _texts(value)
        case list():
            for value in body:
                yield from _texts(value)
